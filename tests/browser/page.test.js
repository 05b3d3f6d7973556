// The built-in page switched on in a configuration: the form is filled in, and its probes reach a stub of the vendors' hosts.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import https from 'node:https';
import { after, before, describe, test } from 'node:test';
import { launchChromium, launchFirefox } from './lib/browsers.js';
import { authority } from './lib/certs.js';
import { assertCalls, clientCode, finished, watchPolicy } from './lib/page.js';
import { scratch } from './lib/scratch.js';
import { LOGIN, startRelayd } from './lib/subject.js';
import { startUpstream } from './lib/upstream.js';

/** What the page's probes ask for, vendor by vendor. */
const HOSTS = ['go.trouter.communication.microsoft.com', 'webrtc2-ap-web-1.agora.io', 'yun.tim.qq.com', 'watchrtc-server.cyara.com'];

const work = scratch('page');
const ca = authority(work.dir);
let upstream;
let relayd;

before(async () => {
  upstream = await startUpstream(ca.leaf('vendors', HOSTS.map((host) => `DNS:${host}`)));
  const resolve = HOSTS.map((host) => `"${host}:443" = "${upstream.address}"`).join(', ');
  relayd = await startRelayd('page', {
    dir: work.dir,
    ...ca.leaf('relay.test', ['DNS:relay.test', 'DNS:localhost', 'IP:127.0.0.1']),
    proxy: ['test_page = true', 'vendors = ["azure", "agora", "trtc", "watchrtc"]', `ca_file = ${JSON.stringify(ca.ca)}`, `resolve = { ${resolve} }`],
  });
});

after(async () => {
  await relayd?.stop();
  await upstream?.stop();
  work.remove();
});

/** The headers of an answer to a request that another origin's page would make. */
function headersFor(path) {
  return new Promise((resolve, reject) => {
    const options = { ca: readFileSync(ca.ca), servername: 'localhost', headers: { origin: 'https://elsewhere.test' } };
    https.get(`${relayd.https}${path}`, options, (answer) => {
      answer.resume();
      answer.on('end', () => resolve({ status: answer.statusCode, ...answer.headers }));
    }).on('error', reject);
  });
}

test('the page can carry a credential, so no other origin may read it', async () => {
  const page = await headersFor('/');
  assert.equal(page.status, 200);
  assert.equal(page['access-control-allow-origin'], undefined);
  assert.equal(page['cross-origin-resource-policy'], 'same-origin');
  assert.equal(page['cache-control'], 'no-store');
  assert.match(page['content-security-policy'], /default-src 'none'.*frame-ancestors 'none'/);
  const proxied = await headersFor('/go.trouter.communication.microsoft.com/?check=1');
  assert.equal(proxied['access-control-allow-origin'], 'https://elsewhere.test', 'as everything from the proxy may be');
});

for (const [name, launch] of [
  ['chromium', launchChromium],
  ['firefox', () => launchFirefox({ ca: ca.ca, dark: true })],
]) {
  describe(`the page in ${name}`, () => {
    let browser;
    let violations;
    before(async () => {
      browser = await launch();
      violations = watchPolicy(browser);
    });
    after(() => browser?.close());

    test(`${name}: everything works after the form is filled in`, { timeout: 120000 }, async () => {
      await browser.open(`https://localhost:${relayd.tls}/`);
      assert.equal(await browser.evaluate(() => document.documentElement.dataset.state), 'waiting');
      assert.ok(!(await browser.evaluate(() => document.getElementById('relayd-data').textContent)).includes(LOGIN.credential), 'no password is in the page');
      const code = await clientCode(browser);
      assert.deepEqual(code.filter(({ title }) => /Web|JavaScript/.test(title)).map(({ title }) => title.split(':')[0]),
        ['Any WebRTC application', 'Azure Communication Services Calling', 'Agora', 'Agora', 'Tencent TRTC', 'Tencent TRTC', 'watchRTC']);
      for (const { title, text } of code) {
        assert.ok(text.includes(`relay.test:${relayd.tls}`) || /^Azure.*(iOS|Android|Windows)/.test(title), text);
        assert.ok(text.includes('YOUR_TURN_PASSWORD') || title.startsWith('watchRTC'), text);
      }
      await browser.fill('#username', LOGIN.username);
      await browser.fill('#credential', LOGIN.credential);
      await browser.click('#start');
      const { results, rows, overall, summary } = await finished(browser);
      await browser.screenshot(`page-${name}.png`);
      assertCalls(results);
      const probes = results.filter((result) => result.kind !== 'call');
      assert.deepEqual(probes.map((probe) => `${probe.vendor} ${probe.kind} ${probe.state}`),
        ['Azure fetch ok', 'Azure websocket ok', 'Agora fetch ok', 'TRTC fetch ok', 'watchRTC fetch ok'], JSON.stringify(probes, null, 1));
      assert.equal(overall, 'ok', summary);
      assert.ok(rows.every((row) => row.state === 'ok' && row.badge.includes('works')));
      assert.deepEqual([...new Set(upstream.requests.map((request) => request.host))].sort(), [...HOSTS].sort());
      assert.ok(!(await browser.text('#report-text')).includes(LOGIN.credential), 'no password is in the report');
      assert.deepEqual(violations, []);
    });

    test(`${name}: a wrong password is named as such`, { timeout: 120000 }, async () => {
      await browser.open(`https://localhost:${relayd.tls}/`);
      await browser.resize(390, 844);
      await browser.fill('#username', LOGIN.username);
      await browser.fill('#credential', 'not the password');
      await browser.click('#start');
      const { results, rows, overall } = await finished(browser);
      await browser.screenshot(`page-${name}-wrong-password-phone.png`);
      assert.equal(overall, 'failed');
      const calls = results.filter((result) => result.kind === 'call');
      assert.deepEqual(calls.map((call) => call.state), ['failed', 'failed', 'failed']);
      assert.ok(results.filter((result) => result.kind !== 'call').every((probe) => probe.state === 'ok'), 'the proxy does not mind');
      for (const row of rows.filter((one) => one.kind === 'call')) {
        assert.match(row.what, /No relayed address/);
        assert.notEqual(row.fix, '');
        // Firefox tells no code for a refused Allocate.
        if (name === 'chromium') assert.match(`${row.what} ${row.fix}`, /401.*credentials are not accepted/s);
      }
      const wide = await browser.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      assert.ok(wide <= 0, `nothing sticks out on a phone, but ${wide} px do`);
    });
  });
}
