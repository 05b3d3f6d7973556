// The dashboard in Chromium: against relayd with real calls, requests and tunnels, and against a stub in states that are hard to make.
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import WebSocket from 'ws';
import { launchChromium } from './lib/browsers.js';
import { holdCallInPage } from './lib/call.js';
import { authority } from './lib/certs.js';
import { accessibilityFaults, assertClean, overflow, plotsWithData, rows, shows, tabWalk, watch, watchPolicyOf } from './lib/dashboard.js';
import { scratch, until } from './lib/scratch.js';
import { startStub } from './lib/stub.js';
import { startRelayd } from './lib/subject.js';
import { startUpstream } from './lib/upstream.js';

const HOST = 'api.upstream.test';
const SECRET = 'a secret of the dashboard test, long enough';
const TOKEN = 'correct-horse-battery-staple';
/** A user's name is the client's to choose: it must stay text. */
const HOSTILE = '<img src=x onerror=alert(1)>';
const WIDE = { width: 1440, height: 900 };
const VIEWS = { overview: '', calls: 'calls', turn: 'turn', proxy: 'proxy', server: 'server' };

const work = scratch('dashboard');
const ca = authority(work.dir);
const blank = http.createServer((_, answer) => answer.setHeader('content-type', 'text/html').end('<!doctype html><title>call</title>'));
let upstream;
let relayd;
let guarded;
let origin;

before(async () => {
  writeFileSync(path.join(work.dir, 'secret'), SECRET, { mode: 0o600 });
  writeFileSync(path.join(work.dir, 'admin.token'), TOKEN, { mode: 0o600 });
  upstream = await startUpstream(ca.leaf('upstream', [`DNS:${HOST}`]));
  const options = {
    dir: work.dir, ...ca.leaf('relay.test', ['DNS:relay.test', 'DNS:localhost', 'IP:127.0.0.1']), turn: ['auth_secret = ["file:secret"]', 'relay_ports = "61000-65535"'],
    proxy: [`allow = ["${HOST}"]`, `ca_file = ${JSON.stringify(ca.ca)}`, `resolve = { "${HOST}:443" = "${upstream.address}" }`],
  };
  relayd = await startRelayd('dashboard', options);
  guarded = await startRelayd('dashboard-token', { ...options, admin: ['token = "file:admin.token"'] });
  origin = `http://${relayd.admin}`;
  await new Promise((resolve) => blank.listen(0, '127.0.0.1', resolve));
});

after(async () => {
  blank.close();
  blank.closeAllConnections();
  await guarded?.stop();
  await relayd?.stop();
  await upstream?.stop();
  work.remove();
});

/** A page of a browser that collects faults; `browser` is closed by the caller. */
async function open(options = {}) {
  const browser = await launchChromium({ viewport: WIDE, ...options });
  await watchPolicyOf(browser.page);
  return browser;
}

function proxied(path) {
  return new Promise((resolve, reject) => {
    https.get(`${relayd.https}/${HOST}${path}`, { rejectUnauthorized: false }, (answer) => answer.resume().on('end', () => resolve(answer.statusCode))).on('error', reject);
  });
}

/** A call of a user with a time-limited credential, in a page of its own. */
async function hold(browser, name) {
  const username = `${Math.floor(Date.now() / 1000) + 3600}:${name}`;
  const credential = createHmac('sha1', SECRET).update(username).digest('base64');
  const page = await browser.page.context().newPage();
  await page.goto(`http://127.0.0.1:${blank.address().port}/`);
  const result = await page.evaluate(holdCallInPage, { urls: `turn:127.0.0.1:${relayd.udp}?transport=udp`, username, credential, waitMs: 20000 });
  assert.equal(result, 'frames');
  return page;
}

test('its files are asked about each time, and nothing but themselves is let in', async () => {
  for (const path of ['/', '/dashboard.css', '/dashboard.js']) {
    const first = await fetch(origin + path);
    assert.equal(first.status, 200);
    assert.equal(first.headers.get('cache-control'), 'no-cache');
    assert.equal(first.headers.get('x-content-type-options'), 'nosniff');
    assert.equal(first.headers.get('referrer-policy'), 'no-referrer');
    assert.match(first.headers.get('content-security-policy'), /default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';.*frame-ancestors 'none'/);
    const again = await fetch(origin + path, { headers: { 'if-none-match': first.headers.get('etag') } });
    assert.equal(again.status, 304);
  }
  const foreign = await new Promise((resolve) => http.get(`${origin}/`, { headers: { host: 'evil.example' } }, (answer) => resolve(answer.resume().statusCode)));
  assert.equal(foreign, 403);
});

describe('with a server that works', () => {
  let browser;
  let page;
  let faults;
  let caller;
  let tunnel;
  before(async () => {
    browser = await open();
    page = browser.page;
    caller = await hold(browser, HOSTILE);
    for (let request = 0; request < 5; request += 1) assert.equal(await proxied('/echo'), 200);
    assert.equal(await proxied('/nothing'), 404);
    tunnel = new WebSocket(`wss://127.0.0.1:${relayd.tls}/${HOST}/socket`, { rejectUnauthorized: false });
    await new Promise((resolve, reject) => { tunnel.on('message', resolve); tunnel.on('error', reject); });
    faults = watch(page, origin);
    await page.bringToFront();
  });
  after(async () => {
    tunnel?.terminate();
    await caller?.close();
    await browser?.close();
  });

  test('calls, traffic and plots are shown', { timeout: 60000 }, async () => {
    await page.goto(`${origin}/`);
    await shows(page, '#state', 'Serving');
    await shows(page, '.tile:first-child .tile-value', /^2$/);
    await shows(page, '.tile:nth-child(2) .tile-value', /[1-9].*bit\/s/);
    await until('plots of traffic', async () => (await plotsWithData(page)).includes('Relayed traffic'), 30000);
    const plots = await plotsWithData(page);
    for (const title of ['Relayed traffic', 'Calls', 'Packets dropped', 'TURN requests', 'Relayed packets']) assert.ok(plots.includes(title), `${title} is among ${plots}`);
    const worst = await rows(page, 'Calls in most trouble');
    assert.equal(worst.length, 2);
    assert.ok(worst.every((cells) => cells[1].endsWith(HOSTILE)), 'a name is text');
    assert.equal(await page.locator('img').count(), 0);
    await browser.screenshot('dashboard-relayd.png');
  });

  test('requests by upstream are shown, and a tunnel is ended', { timeout: 60000 }, async () => {
    await page.goto(`${origin}/#/proxy`);
    await shows(page, 'table', HOST);
    const [first] = await rows(page, 'Requests by upstream');
    assert.equal(first[0], `${HOST}:443`);
    assert.deepEqual([first[2], first[4]], ['5', '1'], '2xx and 4xx');
    assert.match(first[8], /ms$/, 'a latency');
    const closed = new Promise((resolve) => tunnel.on('close', resolve));
    await page.getByRole('button', { name: /^End tunnel/ }).click();
    assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Cancel', 'the focus is where nothing happens');
    await page.getByRole('button', { name: 'End it' }).click();
    await closed;
    await shows(page, '#said', /Tunnel \d+ has been ended/);
    await shows(page, '.empty', 'No tunnel is open.');
    await browser.screenshot('dashboard-relayd-proxy.png');
  });

  test('the server’s own numbers are shown', { timeout: 30000 }, async () => {
    await page.goto(`${origin}/#/server`);
    await shows(page, '.facts', /dashboard\.toml/);
    await shows(page, '.facts', /1, in force since/);
    const certificates = await rows(page, 'Certificates');
    assert.match(certificates[0][0], /relay\.test/);
    assert.ok((await rows(page, 'Workers')).length >= 1);
    assert.ok((await rows(page, 'Relay ports by address')).length >= 1);
    await page.goto(`${origin}/#/turn`);
    await until('requests by answer', async () => (await rows(page, 'TURN requests, by method and answer')).some(([method, answer]) => /allocate/i.test(method) && answer === 'success'));
  });

  test('one call is looked at and ended, and then said to have ended', { timeout: 60000 }, async () => {
    await page.goto(`${origin}/#/calls`);
    await shows(page, '.pager', '1 to 2 of 2');
    await until('how the calls are', async () => (await rows(page, 'Calls')).every(([trouble]) => /^(Good|Fair|Bad) \d/.test(trouble)), 30000);
    await page.locator('.row-link').first().click();
    await shows(page, '#title', /^Call \d+$/);
    await shows(page, '.facts', HOSTILE);
    await until('what was measured of it', async () => {
      const measured = await plotsWithData(page);
      return ['Loss', 'Bitrate'].every((title) => measured.includes(title));
    }, 30000);
    assert.ok((await rows(page, 'RTP streams')).length >= 1);
    assert.equal((await rows(page, 'Channels')).length + (await rows(page, 'Permissions')).length > 0, true);
    await browser.screenshot('dashboard-relayd-call.png');
    await page.getByRole('button', { name: 'End this call' }).click();
    await page.keyboard.press('Escape');
    await page.locator('dialog').waitFor({ state: 'detached' });
    assert.equal(await page.evaluate(() => document.activeElement.textContent), 'End this call', 'the focus comes back');
    await page.getByRole('button', { name: 'End this call' }).click();
    await page.getByRole('button', { name: 'End it' }).click();
    await shows(page, '.fault', 'This call has ended.');
    assert.equal(await page.evaluate(() => document.activeElement.id), 'title');
    await page.reload();
    await shows(page, '.fault', 'Nothing of it is known any more.');
    const { total } = await (await fetch(`${origin}/allocations`)).json();
    assert.equal(total, 1);
  });

  test('nothing went wrong meanwhile', () => assertClean(page, faults));
});

test('a token is asked for, tried, kept for the tab and forgotten', { timeout: 60000 }, async () => {
  const browser = await open();
  try {
    const { page } = browser;
    const place = `http://${guarded.admin}`;
    const faults = watch(page, place);
    await page.goto(`${place}/`);
    await shows(page, 'h2', 'Token wanted');
    assert.equal(await page.evaluate(() => document.activeElement.id), 'token');
    assert.deepEqual(await accessibilityFaults(page), []);
    await page.keyboard.type('not the token');
    await page.keyboard.press('Enter');
    await shows(page, '#token-fault', 'This token is not accepted.');
    await browser.screenshot('dashboard-token.png');
    await page.fill('#token', TOKEN);
    await page.keyboard.press('Enter');
    await shows(page, '#state', 'Serving');
    await shows(page, '.tile:first-child .tile-value', /^0$/);
    assert.equal(await page.locator('#token-form').count(), 0);
    await page.reload();
    await shows(page, '#state', 'Serving');
    await page.click('#forget');
    await shows(page, 'h2', 'Token wanted');
    assert.equal(await page.evaluate(() => sessionStorage.length), 0);
    await assertClean(page, faults);
  } finally {
    await browser.close();
  }
});

describe('with ten thousand calls', () => {
  let stub;
  let browser;
  let page;
  let faults;
  before(async () => {
    stub = await startStub({ files: origin, calls: 10000, users: (id) => (id % 40 === 0 ? HOSTILE : `1795000000:agent-${id}`) });
    browser = await open();
    page = browser.page;
    faults = watch(page, stub.origin);
  });
  after(async () => {
    await browser?.close();
    await stub?.stop();
  });

  test('pages are fetched one at a time, forwards and back, in the order asked for', { timeout: 60000 }, async () => {
    await page.goto(`${stub.origin}/#/calls`);
    await shows(page, '.pager', '1 to 50 of 10,000');
    const trouble = async () => (await rows(page, 'Calls')).map(([text]) => Number(/\d+/.exec(text)[0]));
    const first = await trouble();
    assert.deepEqual(first, [...first].sort((a, b) => b - a), 'worst first');
    const link = page.locator('.row-link').first();
    assert.match(await link.textContent(), /^Bad \d+: (loss|jitter|round trip), (client|peer) side/, 'level, cause and side in words');
    assert.equal(await link.locator('.shape.bad').count(), 1, 'and a shape');
    await page.getByRole('button', { name: 'Next page' }).click();
    await shows(page, '.pager', '51 to 100 of 10,000');
    await page.getByRole('button', { name: 'Previous page' }).click();
    await shows(page, '.pager', '1 to 50 of 10,000');
    await page.getByRole('button', { name: 'User', exact: true }).click();
    await page.waitForFunction(() => document.querySelector('th[aria-sort=ascending]')?.textContent.startsWith('User'));
    await until('names from A', async () => (await rows(page, 'Calls'))[0][1] === '1795000000:agent-1');
    assert.ok(stub.requests.some((one) => one.includes('sort=user&order=asc')));
    assert.ok(stub.requests.every((one) => !one.includes('/allocations?') || one.includes('limit=50') || one.includes('limit=5')), 'never the whole list');
    await page.reload();
    await page.waitForFunction(() => document.querySelector('th[aria-sort=ascending]')?.textContent.startsWith('User'));
  });

  test('a filter is the server’s, and what it does not take is said', { timeout: 30000 }, async () => {
    await page.goto(`${stub.origin}/#/calls`);
    await page.fill('[name=user]', HOSTILE);
    await page.keyboard.press('Enter');
    await shows(page, '.pager', 'of 250');
    assert.ok((await rows(page, 'Calls')).every((cells) => cells[1] === HOSTILE));
    assert.equal(await page.locator('img').count(), 0);
    await page.selectOption('[name=transport]', 'tls');
    await page.getByRole('button', { name: 'Filter', exact: true }).click();
    await until('only TLS', async () => (await rows(page, 'Calls')).every((cells) => cells[2].endsWith('TLS')));
    await page.fill('[name=client]', 'not an address');
    await page.keyboard.press('Enter');
    await shows(page, '.fault', 'an IP address');
    await page.getByRole('button', { name: 'Clear' }).click();
    await shows(page, '.pager', 'of 10,000');
    assert.equal(await page.locator('.fault').isVisible(), false);
  });

  test('a call is ended by its row, and the focus is kept in the list', { timeout: 30000 }, async () => {
    await shows(page, '.pager', '1 to 50 of 10,000');
    const end = page.getByRole('button', { name: /^End call/ }).first();
    const name = await end.textContent();
    const id = /call (\d+)/.exec(name)[1];
    await end.focus();
    await page.keyboard.press('Enter');
    await shows(page, 'dialog', 'End this call?');
    await page.keyboard.press('Tab');
    await page.keyboard.press('Enter');
    await shows(page, '#said', `Call ${id} has been ended.`);
    await shows(page, '.pager', 'of 9,999');
    assert.ok(stub.requests.includes(`DELETE /allocations/${id}`));
    assert.equal(await page.locator(`tr[data-key="${id}"]`).count(), 0);
    assert.notEqual(await page.evaluate(() => document.activeElement.tagName), 'BODY', 'the focus is not lost');
  });

  test('one call shows both sides over its time, and its streams', { timeout: 30000 }, async () => {
    const { allocations } = await (await fetch(`${stub.origin}/allocations?sort=trouble&order=desc&limit=1`)).json();
    await page.goto(`${stub.origin}/#/allocation/${allocations[0].id}`);
    await until('its plots', async () => (await plotsWithData(page)).length === 4);
    assert.equal((await rows(page, 'RTP streams')).length, 4);
    assert.equal((await rows(page, 'Both sides'))[0].length, 3);
    await page.waitForTimeout(300);
    await browser.screenshot('dashboard-call.png');
    await page.goto(`${stub.origin}/#/allocation/999999999`);
    await shows(page, '.fault', 'This call has ended.');
  });

  test('a plot is read by its keys, its legend turns lines off, and its numbers are a table', { timeout: 30000 }, async () => {
    await page.goto(`${stub.origin}/#/`);
    await until('plots', async () => (await plotsWithData(page)).length >= 9);
    const plot = page.locator('.plot').first();
    const slider = plot.getByRole('slider', { name: 'Relayed traffic' });
    await slider.focus();
    await page.keyboard.press('ArrowLeft');
    await page.keyboard.press('ArrowLeft');
    assert.match(await slider.getAttribute('aria-valuetext'), /^\d\d:\d\d:\d\d: UDP to peer .*Mbit\/s, UDP to client/);
    assert.equal(await plot.locator('.dot').count(), 6);
    const key = plot.getByRole('button', { name: 'TLS to client' });
    await key.click();
    assert.equal(await key.getAttribute('aria-pressed'), 'false');
    assert.equal(await plot.locator('path.line:not(.legend-sample *)').count(), 5);
    await key.click();
    await plot.locator('summary').click();
    // The browser tells of an opened <details> a moment later.
    await until('the numbers', async () => (await plot.locator('tbody tr').count()) === 6);
    await plot.locator('summary').click();
    await page.getByRole('button', { name: '24 h' }).click();
    await until('the history of a day', () => stub.requests.some((one) => one.includes('span=24h')));
  });

  test('the page’s memory is bounded, and so is what it asks for', { timeout: 30000 }, async () => {
    const nodes = () => page.evaluate(() => document.querySelectorAll('*').length);
    await page.goto(`${stub.origin}/#/calls`);
    await shows(page, '.pager', '1 to 50');
    const before_ = await nodes();
    stub.requests.length = 0;
    await page.waitForTimeout(6500);
    assert.ok(await nodes() <= before_ + 20, `${before_} elements became ${await nodes()}`);
    assert.ok(stub.requests.length <= 8, `${stub.requests}`);
  });

  test('every view is accessible by axe, light and dark, and no wider than a phone', { timeout: 80000 }, async () => {
    const { allocations } = await (await fetch(`${stub.origin}/allocations?sort=trouble&order=desc&limit=1`)).json();
    for (const [name, view] of Object.entries({ ...VIEWS, call: `allocation/${allocations[0].id}` })) {
      await page.goto(`${stub.origin}/#/${view}`);
      await until(`${name} with data`, () => page.evaluate(() => document.querySelectorAll('tbody tr').length > 2));
      for (const scheme of ['light', 'dark']) {
        await page.emulateMedia({ colorScheme: scheme, reducedMotion: 'reduce' });
        await page.setViewportSize(WIDE);
        // Only colours differ.
        assert.deepEqual(await accessibilityFaults(page, scheme === 'dark' ? ['color-contrast'] : null), [], `${name}, ${scheme}`);
        if (['overview', 'calls'].includes(name)) await browser.screenshot(`dashboard-${name}-${scheme}.png`);
      }
      await page.setViewportSize({ width: 360, height: 740 });
      assert.ok(await overflow(page) <= 0, `${name} is ${await overflow(page)} px wider than a phone`);
      if (['overview', 'calls'].includes(name)) assert.deepEqual(await accessibilityFaults(page), [], `${name}, phone`);
      if (['overview', 'call'].includes(name)) await browser.screenshot(`dashboard-${name}-phone.png`);
    }
    await page.emulateMedia({ colorScheme: 'light', reducedMotion: null });
    await page.setViewportSize(WIDE);
  });

  test('nothing went wrong meanwhile', () => assertClean(page, faults));
});

describe('with a server in trouble', () => {
  let stub;
  let browser;
  let page;
  let faults;
  before(async () => {
    stub = await startStub({ files: origin, calls: 3 });
    browser = await open();
    page = browser.page;
    faults = watch(page, stub.origin);
    await page.goto(`${stub.origin}/`);
    await shows(page, '#state', 'Serving');
  });
  after(async () => {
    await browser?.close();
    await stub?.stop();
  });

  test('Tab reaches everything, each with a name and a mark that is seen', { timeout: 30000 }, async () => {
    await until('plots', async () => (await plotsWithData(page)).length >= 9);
    await page.evaluate(() => document.activeElement.blur());
    const reached = await tabWalk(page);
    assert.equal(reached[0].id, 'skip');
    for (const name of ['Pause', 'Overview', 'Calls', 'TURN', 'Proxy', 'Server', '24 h', 'All calls', 'UDP to peer']) assert.ok(reached.some((place) => place.name.replace('\u00a0', ' ').startsWith(name)), `${name} in ${reached.map((place) => place.name)}`);
    assert.ok(reached.every((place) => place.seen), JSON.stringify(reached.filter((place) => !place.seen)));
    const wanted = await page.evaluate(() => [...document.querySelectorAll('a[href], button, input, select, summary, [tabindex="0"]')].filter((one) => one.checkVisibility()).length);
    assert.equal(reached.length, wanted, 'everything that can be operated');
    await page.locator('#skip').focus();
    await page.keyboard.press('Enter');
    assert.equal(await page.evaluate(() => document.activeElement.id), 'title');
    await page.getByRole('link', { name: 'Calls', exact: true }).focus();
    await page.keyboard.press('Enter');
    await shows(page, '#title', 'Calls');
    assert.equal(await page.evaluate(() => document.activeElement.id), 'title');
    assert.equal(await page.title(), 'Calls – relayd');
    await page.goto(`${stub.origin}/#/`);
  });

  test('an end of silence is waited for, and what is old is said to be', { timeout: 60000 }, async () => {
    await shows(page, '.tile:first-child .tile-value', /^3$/);
    stub.set({ silent: true });
    await shows(page, '#link-text', 'The server does not answer. What is shown is old');
    await shows(page, '#state', 'No answer');
    assert.equal(await page.locator('.tile:first-child .tile-value').textContent(), '3');
    await shows(page, '#link-wait', /Trying again in [2-9] s/);
    await browser.screenshot('dashboard-silent.png');
    assert.deepEqual(await accessibilityFaults(page), []);
    stub.set({ silent: false, status: 503 });
    await page.getByRole('button', { name: 'Try now' }).click();
    await shows(page, '#link-text', 'The server says');
    stub.set({ status: null, calls: 4 });
    await page.getByRole('button', { name: 'Try now' }).click();
    await shows(page, '#state', 'Serving');
    await shows(page, '.tile:first-child .tile-value', /^4$/);
    assert.equal(await page.locator('#link').isVisible(), false);
  });

  test('certificates that run out, full ports, draining and an upgrade are said', { timeout: 30000 }, async () => {
    stub.set({
      draining: true, version: '0.2.0', portsUsed: 16000, quality: false,
      certificates: (time) => [
        { names: ['old.example.com'], issuer: 'Example CA', not_after: time - 3600, source: 'file' }, { names: ['relay.example.com'], issuer: 'Example CA', not_after: time + 6 * 86400 + 60, source: 'acme' },
        { names: ['localhost'], issuer: 'localhost', not_after: time + 86400, source: 'self_signed' },
      ],
    });
    await shows(page, '#notices', 'The certificate of old.example.com has expired');
    const notices = await page.locator('.notice').allTextContents();
    assert.equal(notices.length, 5, `${notices}`);
    for (const text of [/runs out: 6 days left/, /98.% of the relay ports 49152-65535/, /drains/, /relayd is 0\.2\.0 now and this page is 0\.1\.0/]) assert.ok(notices.some((notice) => text.test(notice)), `${text} in ${notices}`);
    await shows(page, '#state', 'Draining');
    await shows(page, 'table', 'Not measured');
    assert.deepEqual(await accessibilityFaults(page), []);
    await browser.screenshot('dashboard-notices.png');
  });

  test('Pause stops the asking, and the theme is chosen and kept', { timeout: 30000 }, async () => {
    await page.click('#pause');
    await shows(page, '#state', 'Paused');
    await page.waitForTimeout(500);
    stub.requests.length = 0;
    await page.waitForTimeout(3000);
    assert.deepEqual(stub.requests, []);
    await page.click('#pause');
    await until('asking goes on', () => stub.requests.length > 0);
    const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const light = await ground();
    await page.click('#theme');
    await page.click('#theme');
    await shows(page, '#theme', 'Theme: dark');
    assert.notEqual(await ground(), light);
    await page.reload();
    await shows(page, '#theme', 'Theme: dark');
    assert.notEqual(await ground(), light);
  });

  test('nothing went wrong meanwhile', () => assertClean(page, faults));
});
