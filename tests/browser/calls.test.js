// Relay-only calls by real browsers over each transport. TURN_SUBJECT=coturn runs them against coturn.
import assert from 'node:assert/strict';
import http from 'node:http';
import { after, before, describe, test } from 'node:test';
import { launchChromium, launchFirefox } from './lib/browsers.js';
import { callInPage } from './lib/call.js';
import { authority } from './lib/certs.js';
import { scratch } from './lib/scratch.js';
import { LOGIN, SUBJECT, startTurn } from './lib/subject.js';

const TRANSPORTS = {
  udp: (server) => `turn:127.0.0.1:${server.udp}?transport=udp`,
  tcp: (server) => `turn:127.0.0.1:${server.tcp}?transport=tcp`,
  tls: (server) => `turns:localhost:${server.tls}?transport=tcp`,
};
/** Bytes of data channel messages: one fits a packet, the last takes many. */
const PAYLOADS = [1, 2, 3, 4, 100, 1100, 16000, 60000];
const FRAMES = 30;

const work = scratch('calls');
const ca = authority(work.dir);
let server;
/** An empty page on a loopback origin: what calls is evaluated in it. */
const blank = http.createServer((_, answer) => answer.setHeader('content-type', 'text/html').end('<!doctype html><title>call</title>'));

before(async () => {
  server = await startTurn(`calls-${SUBJECT}`, { dir: work.dir, ...ca.leaf('relay.test', ['DNS:relay.test', 'DNS:localhost', 'IP:127.0.0.1']) });
  await new Promise((resolve) => blank.listen(0, '127.0.0.1', resolve));
});

after(async () => {
  blank.close();
  blank.closeAllConnections();
  await server?.stop();
  work.remove();
});

for (const [name, launch] of [['Chromium', launchChromium], ['Firefox', () => launchFirefox({ ca: ca.ca })]]) {
  describe(`${name} against ${SUBJECT}`, () => {
    let browser;
    before(async () => {
      browser = await launch();
      await browser.open(`http://127.0.0.1:${blank.address().port}/`);
    });
    after(() => browser?.close());

    for (const [transport, url] of Object.entries(TRANSPORTS)) {
      test(`${name} calls with data and video over ${transport}`, { timeout: 90000 }, async () => {
        const result = await browser.evaluate(callInPage, { urls: url(server), ...LOGIN, payloads: PAYLOADS, frames: FRAMES, waitMs: 45000 });
        assert.equal(result.failed, undefined, JSON.stringify(result));
        assert.equal(result.intact, true, 'what came back is what was sent');
        assert.equal(result.echoed, PAYLOADS.length);
        assert.ok(result.frames >= FRAMES, `${result.frames} frames were decoded`);
        assert.ok(result.packets >= FRAMES, `${result.packets} packets for ${result.frames} frames`);
        assert.ok(result.lost <= result.packets / 50, `${result.lost} of ${result.packets} packets were lost`);
        for (const end of result.ends) {
          assert.equal(end.local, 'relay');
          assert.equal(end.remote, 'relay');
          assert.equal(end.relayProtocol, transport);
          assert.ok(end.bytesReceived > 70000, `${end.bytesReceived} bytes were received`);
        }
        assert.ok(result.candidates.every((candidate) => candidate.includes(' typ relay ')), result.candidates.join('\n'));
      });
    }

    test(`${name} gets no relay with a wrong password and the server lives on`, { timeout: 90000 }, async () => {
      const wrong = { username: LOGIN.username, credential: 'not the password' };
      const result = await browser.evaluate(callInPage, { urls: TRANSPORTS.udp(server), ...wrong, payloads: [1], frames: 1, waitMs: 4000 });
      assert.notEqual(result.failed, undefined);
      assert.deepEqual(result.candidates, []);
      assert.ok(server.alive());
    });
  });
}
