// Tencent RTC: the proxy options of enterRoom (v5) and setProxyServer (v4) of the real web SDKs.
import './lib/namespace.js';
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { until } from '../browser/lib/scratch.js';
import { bySdk, startLab } from './lib/lab.js';
import { HOSTS, REFUSED, SIGNALLING, trtc } from './stubs/trtc.js';

const APP = 1400000001;
const USER = 'user_1';

/** Runs in the browser. Reports `rejected` if the SDK gives the room up; the stub never lets it in. */
async function scene5({ proxy, app, user }) {
  const trtc5 = window.TRTC.create();
  window.trtc = trtc5;
  await window.report('joining');
  await trtc5.enterRoom({ roomId: 8888, scene: 'rtc', sdkAppId: app, userId: user, userSig: 'nobody-checks-this', proxy }).then(() => window.report('joined'), (error) => window.report('rejected', String(error)));
}

async function scene4({ proxy, app, user }) {
  const client = window.TRTC.createClient({ mode: 'rtc', sdkAppId: app, userId: user, userSig: 'nobody-checks-this' });
  client.setProxyServer(proxy);
  await window.report('joining');
  await client.join({ roomId: 8888 }).then(() => window.report('joined'), (error) => window.report('rejected', String(error)));
}

/** The frame that asks to be let in, once it has arrived. */
async function joining(socket) {
  await until('the join on the signalling WebSocket', () => socket.frames.length > 0);
  return JSON.parse(socket.frames[0]);
}

const report = (host) => (request) => request.host === host && request.method === 'POST' && request.url.startsWith('/v5/AVQualityReportSvc/C2S?');

/** Starts a lab and a page for every test of a suite, with `proxy` made of the lab's authority. */
function staged(name, { sdk, scene, vendors, proxy, prefixes = [] }) {
  const stage = {};
  before(async () => {
    stage.lab = await startLab(name, { hosts: HOSTS, stub: trtc(), vendors, proxy: [`prefixes = ${JSON.stringify(prefixes)}`] });
    stage.page = await stage.lab.open(sdk);
    stage.page.start(scene, { proxy: proxy(stage.lab.authority), app: APP, user: USER });
  });
  after(async () => {
    await stage.page?.close();
    await stage.lab?.stop();
  });
  return stage;
}

const VERSIONS = [['v5 5.17.1', 'trtc5', scene5], ['v4 4.15.22', 'trtc4', scene4]];

for (const [version, sdk, scene] of VERSIONS) {
  describe(`TRTC ${version} through relayd, with the documented options`, () => {
    const stage = staged(sdk, {
      sdk, scene, vendors: ['trtc'], proxy: (authority) => ({ websocketProxy: `wss://${authority}/ws/`, loggerProxy: `https://${authority}/logger/` }),
    });

    test(`${version}: the signalling WebSocket carries the join, and its answer reaches the application`, { timeout: 40000 }, async () => {
      const socket = await stage.page.saw('the signalling WebSocket', ({ websocket, host }) => websocket && host === 'signaling.rtc.qq.com');
      const query = new URL(socket.url, 'https://x').searchParams;
      assert.ok(socket.url.startsWith('/?'), socket.url);
      assert.equal(socket.sni, 'signaling.rtc.qq.com');
      assert.equal(query.get('sdkAppId'), String(APP));
      assert.equal(query.get('userId'), USER);
      const { cmd, data } = await joining(socket);
      assert.match(cmd, /^join/);
      assert.equal(data.roomId, '8888');
      const { detail } = await stage.page.reported('rejected');
      assert.match(detail, new RegExp(String(REFUSED)));
    });

    test(`${version}: logs arrive past the double slash, and nothing goes past relayd`, { timeout: 40000 }, async () => {
      const log = await stage.page.saw('a log', report('yun.tim.qq.com'), 30000);
      assert.equal(log.status, 200);
      assert.ok(log.bytes > 0);
      assert.equal(new URL(log.url, 'https://x').searchParams.get('sdkappid'), String(APP));
      assert.ok(stage.page.asked.some(({ url }) => url.startsWith(`https://${stage.lab.authority}/logger//v5/`)), 'the SDK doubled the slash');
      assert.deepEqual(bySdk(stage.lab.escapes.requests), []);
    });
  });

  describe(`TRTC ${version} through relayd, by one setting`, () => {
    const stage = staged(`${sdk}-unified`, {
      sdk, scene, vendors: ['trtc'], prefixes: ['/trtc'], proxy: (authority) => ({ unifiedProxy: `${authority}/trtc` }),
    });

    test(`${version}: unifiedProxy brings schedule, signalling and logs to the hosts that they name`, { timeout: 40000 }, async () => {
      const schedule = await stage.page.saw('the schedule', ({ host, method, url }) => /^schedule\./.test(host) && method === 'POST' && url === '/api/v1/config');
      assert.match(schedule.headers['content-type'], /^multipart\/form-data; boundary=/);
      const socket = await stage.page.saw('the signalling WebSocket', ({ websocket, host }) => websocket && host === SIGNALLING);
      assert.match(socket.url, version.startsWith('v5') ? /^\/v2\/ws\?/ : /^\/\?/);
      assert.equal(new URL(socket.url, 'https://x').searchParams.get('sdkAppId'), String(APP));
      assert.match((await joining(socket)).cmd, /^join/);
      await stage.page.reported('rejected');
      await stage.page.saw('a log', report('yun.tim.qq.com'), 30000);
      assert.deepEqual(bySdk(stage.lab.escapes.requests), []);
    });
  });
}

describe('TRTC v5 through relayd, by the schedule', () => {
  const stage = staged('trtc5-schedule', {
    sdk: 'trtc5', scene: scene5, vendors: ['trtc'], proxy: (authority) => ({ scheduleProxy: `${authority}/schedule`, loggerProxy: `https://${authority}/logger/` }),
  });

  test('scheduleProxy reaches the schedule, and the SDK can read which host it names', { timeout: 40000 }, async () => {
    const schedule = await stage.page.saw('the schedule', ({ host, method, url }) => host === 'schedule.cloud-rtc.com' && method === 'POST' && url === '/api/v1/config');
    assert.equal(schedule.status, 200);
    // Without websocketProxy the signalling goes straight to that host.
    await until(`the SDK to ask for ${SIGNALLING}`, () => stage.lab.escapes.requests.some(({ websocket, host }) => websocket && host === SIGNALLING));
  });
});

describe('TRTC v5 through relayd, international', () => {
  const stage = staged('trtc5-international', {
    sdk: 'trtc5', scene: scene5, vendors: ['trtc-international'], proxy: (authority) => ({ websocketProxy: `wss://${authority}/ws/`, loggerProxy: `https://${authority}/logger/` }),
  });

  test('the international preset brings logs to the international service', { timeout: 40000 }, async () => {
    await stage.page.saw('a log', report('apisgp.my-imcloud.com'), 30000);
    assert.ok(!stage.lab.upstream.requests.some(({ host }) => host === 'yun.tim.qq.com'));
  });
});
