// A browser's fetch and WebSocket through the proxy, on the TLS port that also carries TURN.
import assert from 'node:assert/strict';
import http from 'node:http';
import { after, before, describe, test } from 'node:test';
import { launchChromium, launchFirefox } from './lib/browsers.js';
import { authority } from './lib/certs.js';
import { scratch } from './lib/scratch.js';
import { startRelayd } from './lib/subject.js';
import { startUpstream } from './lib/upstream.js';

const HOST = 'api.upstream.test';
const work = scratch('proxy');
const ca = authority(work.dir);
let upstream;
let relayd;
/** The application's own origin, another than relayd's: every request is a cross-origin one, as with a vendor's SDK. */
const app = http.createServer((_, answer) => answer.setHeader('content-type', 'text/html').end('<!doctype html><title>app</title>'));

before(async () => {
  upstream = await startUpstream(ca.leaf('upstream', [`DNS:${HOST}`]));
  relayd = await startRelayd('proxy', {
    dir: work.dir,
    ...ca.leaf('relay.test', ['DNS:relay.test', 'DNS:localhost', 'IP:127.0.0.1']),
    proxy: [`allow = ["${HOST}"]`, `ca_file = ${JSON.stringify(ca.ca)}`, `resolve = { "${HOST}:443" = "${upstream.address}" }`],
  });
  await new Promise((resolve) => app.listen(0, '127.0.0.1', resolve));
});

after(async () => {
  app.close();
  app.closeAllConnections();
  await relayd?.stop();
  await upstream?.stop();
  work.remove();
});

for (const [name, launch] of [['Chromium', launchChromium], ['Firefox', () => launchFirefox({ ca: ca.ca })]]) {
  describe(`${name} through the proxy`, () => {
    let browser;
    let base;
    before(async () => {
      base = `https://localhost:${relayd.tls}`;
      browser = await launch();
      await browser.open(`http://localhost:${app.address().port}/`);
    });
    after(() => browser?.close());

    test(`${name} fetches from an allowed host across origins, with credentials and headers of its own`, { timeout: 60000 }, async () => {
      const seen = await browser.evaluate(async (url) => {
        const answer = await fetch(url, { method: 'PUT', body: 'abc'.repeat(1000), credentials: 'include', headers: { authorization: 'Bearer x', 'x-ms-thing': '1' } });
        return { status: answer.status, method: answer.headers.get('x-seen-method'), length: answer.headers.get('content-length'), body: await answer.text() };
      }, `${base}/${HOST}/echo?a=%2Fb`);
      assert.deepEqual(seen, { status: 200, method: 'PUT', length: '3000', body: 'abc'.repeat(1000) });
      const request = upstream.requests.findLast((one) => one.method === 'PUT');
      assert.equal(request.host, HOST);
      assert.equal(request.url, '/echo?a=%2Fb');
      assert.equal(request.headers.authorization, 'Bearer x');
      assert.ok(!upstream.requests.some((one) => one.method === 'OPTIONS'), 'the preflight is answered by relayd');
    });

    test(`${name} can read why relayd refuses a host`, { timeout: 60000 }, async () => {
      const before_ = upstream.requests.length;
      const seen = await browser.evaluate(async (url) => {
        const answer = await fetch(url);
        return { status: answer.status, body: await answer.json() };
      }, `${base}/other.upstream.test/`);
      assert.equal(seen.status, 403);
      assert.equal(typeof seen.body.error, 'string');
      assert.equal(upstream.requests.length, before_);
    });

    test(`${name} opens a WebSocket with a subprotocol and gets every message back`, { timeout: 60000 }, async () => {
      const seen = await browser.evaluate((url) => new Promise((resolve, reject) => {
        const socket = new WebSocket(url, '2.0');
        socket.binaryType = 'arraybuffer';
        const got = [];
        socket.onerror = () => reject(new Error('the WebSocket failed'));
        socket.onopen = () => {
          socket.send('text');
          socket.send(new Uint8Array(1 << 20).fill(7));
        };
        socket.onmessage = ({ data }) => {
          got.push(typeof data === 'string' ? data : data.byteLength);
          if (got.length === 3) {
            socket.onclose = ({ code, wasClean }) => resolve({ got, protocol: socket.protocol, code, wasClean });
            socket.close(1000);
          }
        };
      }), `${base.replace('https:', 'wss:')}/${HOST}/v4/c?token=1`);
      assert.deepEqual(seen, { got: ['hello', 'text', 1 << 20], protocol: '2.0', code: 1000, wasClean: true });
      const request = upstream.requests.findLast((one) => one.url.startsWith('/v4/c'));
      assert.equal(request.url, '/v4/c?token=1');
      assert.equal(request.headers.origin, `http://localhost:${app.address().port}`);
    });
  });
}
