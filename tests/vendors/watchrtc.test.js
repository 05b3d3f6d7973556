// watchRTC: proxyUrl of the real SDK.
import './lib/namespace.js';
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { until } from '../browser/lib/scratch.js';
import { bySdk, startLab } from './lib/lab.js';
import { endOfCall, watchedCall } from './lib/watchrtc.js';
import { HOST, HOSTS, watchrtc } from './stubs/watchrtc.js';

function staged(name, options) {
  const stage = {};
  before(async () => {
    stage.lab = await startLab(name, { hosts: HOSTS, stub: watchrtc(options), vendors: ['watchrtc'] });
    stage.page = await stage.lab.open('watchrtc');
    stage.page.start(watchedCall, { proxyUrl: `wss://${stage.lab.authority}/websocket` });
  });
  after(async () => {
    await stage.page?.close();
    await stage.lab?.stop();
  });
  return stage;
}

const posted = (path) => ({ host, method, url }) => host === HOST && method === 'POST' && url === path;

describe('watchRTC 1.43.1 through relayd', () => {
  const stage = staged('watchrtc', {});

  test('the WebSocket is opened with its subprotocol and carries the statistics of a call', { timeout: 40000 }, async () => {
    const socket = await stage.page.saw('the WebSocket', ({ websocket }) => websocket);
    assert.equal(socket.host, HOST);
    assert.equal(socket.headers['sec-websocket-protocol'], '2.0');
    assert.match(socket.url, /^\/\?apiKey=api-key-test&timestamp=\d+&apiVersion=v1&sessionId=\w+&newConnection=true/);
    await stage.page.reported('connected');
    await until('several messages on the WebSocket', () => socket.frames.length > 5);
  });

  test('errors are posted under the prefix and arrive without it', { timeout: 40000 }, async () => {
    const error = await stage.page.saw('an error report', posted('/error'));
    assert.match(error.headers['content-type'], /^application\/json/);
    assert.equal(error.status, 200);
    assert.ok(stage.page.asked.some(({ url }) => url === `https://${stage.lab.authority}/websocket/error`));
    const config = await stage.page.saw('the configuration of qualityRTC', ({ method, url }) => method === 'GET' && url.startsWith('/get-qualityrtc-config?'));
    assert.equal(config.url, '/get-qualityrtc-config?apiKey=api-key-test&run=Location');
    // The script of qualityRTC alone has a fixed address.
    assert.deepEqual(bySdk(stage.lab.escapes.requests).filter(({ host }) => host !== 'qualityrtc-sdk.s3.amazonaws.com'), []);
  });
});

describe('watchRTC 1.43.1 through relayd, without WebSockets', () => {
  const stage = staged('watchrtc-https', { sockets: false });

  test('a refused WebSocket falls back to HTTPS through relayd', { timeout: 60000 }, async () => {
    const refused = await stage.page.saw('a refused WebSocket', ({ websocket }) => websocket);
    assert.equal(refused.status, 503);
    await stage.page.reported('connected');
    stage.page.start(endOfCall);
    const trace = await stage.page.saw('statistics by HTTPS', posted('/trace'), 35000);
    assert.equal(trace.status, 200);
    assert.ok(trace.bytes > 0);
  });
});
