// Reading the built-in page as a person and as a machine.
import assert from 'node:assert/strict';

/** The finished results, and the rows as they are shown. */
export async function finished(browser) {
  const results = await browser.evaluate(() => window.relaydResult);
  const rows = await browser.evaluate(() => [...document.querySelectorAll('.row')].map((row) => ({
    kind: row.dataset.kind,
    transport: row.dataset.transport ?? '',
    state: row.dataset.state,
    badge: row.querySelector('.badge').textContent,
    what: row.querySelector('.what').textContent,
    fix: row.querySelector('.fix').textContent,
  })));
  const overall = await browser.evaluate(() => document.documentElement.dataset.state);
  return { results, rows, overall, summary: await browser.text('#summary') };
}

/** What each entry of "Code for your client" shows, and what its button copied or marked. */
export async function clientCode(browser) {
  const shown = await browser.evaluate(() => [...document.querySelectorAll('#client-code details')].map((entry) => {
    entry.open = true;
    return { title: entry.querySelector('summary').textContent, text: entry.querySelector('pre').textContent };
  }));
  const said = await browser.evaluate(async () => {
    const button = document.querySelector('#client-code button');
    button.click();
    const until = performance.now() + 5000;
    while (button.textContent === 'Copy' && performance.now() < until) await new Promise((resolve) => setTimeout(resolve, 50));
    return { said: button.textContent, marked: String(getSelection()) };
  });
  assert.match(said.said, /^(Copied|Marked)/);
  if (said.said.startsWith('Marked')) assert.equal(said.marked.trim(), shown[0].text);
  return shown;
}

/** All three transports carried a call, and by getStats each by its own. */
export function assertCalls(results) {
  for (const transport of ['udp', 'tcp', 'tls']) {
    const call = results.find((result) => result.transport === transport);
    assert.ok(call, `${transport} was tried`);
    assert.equal(call.state, 'ok', JSON.stringify(call));
    assert.equal(call.relay_protocol, transport);
    assert.ok(call.packets_received > 0 && call.frames_decoded > 0, JSON.stringify(call));
    assert.match(call.relayed, /^127\.0\.0\.1:\d+$/);
  }
}

/** Collects violations of the page's own policy, and what its script did not catch. Firefox tells refused WebSockets in the same way. */
export function watchPolicy(browser) {
  const violations = [];
  browser.page.on('console', (message) => {
    if (/Content.Security.Policy/i.test(message.text())) violations.push(message.text());
  });
  browser.page.on('pageerror', (error) => {
    if (!/establish a connection to the server at wss:/.test(String(error))) violations.push(String(error));
  });
  return violations;
}
