// Vonage, Daily and LiveKit: their SDKs' proxy settings, as far as these lead without an account.
import './lib/namespace.js';
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { until } from '../browser/lib/scratch.js';
import { bySdk, startLab, token } from './lib/lab.js';
import { DAILY, LIVEKIT, SESSION, VONAGE, daily, livekit, vonage } from './stubs/others.js';

function staged(name, { hosts, stub, sdk, scene, argument }) {
  const stage = {};
  before(async () => {
    stage.lab = await startLab(name, { hosts, stub, vendors: [name] });
    stage.page = await stage.lab.open(sdk);
    stage.page.start(scene, { authority: stage.lab.authority, ...argument });
  });
  after(async () => {
    await stage.page?.close();
    await stage.lab?.stop();
  });
  return stage;
}

async function vonageScene({ authority, session, text }) {
  window.OT.setProxyUrl(`https://${authority}`);
  window.session = window.OT.initSession('12345', session);
  window.session.connect(text, (error) => window.report('answered', String(error?.message ?? '')));
}

async function dailyScene({ authority }) {
  const call = window.Daily.createCallObject({ dailyConfig: { proxyUrl: `https://${authority}` } });
  await call.join({ url: 'https://demo.daily.co/room' }).catch((error) => window.report('gave up', String(error?.errorMsg ?? error)));
}

async function livekitScene({ authority, text }) {
  const room = new window.LivekitClient.Room();
  await room.connect(`wss://${authority}/demo.livekit.cloud`, text).catch((error) => window.report('gave up', String(error)));
}

describe('Vonage 2.35.2 through relayd', () => {
  const grant = Buffer.from(`partner_id=12345&sig=nobody:session_id=${SESSION}&create_time=1700000000&nonce=1&role=publisher&expire_time=1999999999`);
  const stage = staged('vonage', {
    hosts: VONAGE, stub: vonage(), sdk: 'opentok', scene: vonageScene, argument: { session: SESSION, text: `T1==${grant.toString('base64')}` },
  });

  test('project configuration, session and log arrive at the hosts in their paths', { timeout: 40000 }, async () => {
    const config = await stage.page.saw('the configuration', ({ host }) => host === 'config.opentok.com');
    assert.equal(config.url.split('?')[0], '/project/12345/config.json');
    const session = await stage.page.saw('the session', ({ host, url }) => host === 'anvil.opentok.com' && url.includes('/session/'));
    assert.ok(session.url.includes(SESSION), session.url);
    assert.ok(session.headers['x-tb-token-auth'] || session.headers['x-opentok-auth'], JSON.stringify(session.headers));
    await stage.page.saw('a log', ({ host, method, url }) => host === 'hlg.tokbox.com' && method === 'POST' && url.startsWith('/prod/logging/'));
  });

  test('the messaging WebSocket is opened where the session says, and carries binary frames', { timeout: 40000 }, async () => {
    const socket = await stage.page.saw('the messaging WebSocket', ({ websocket }) => websocket);
    assert.equal(socket.host, 'mantis001-oregon.media.prod.tokbox.com');
    assert.match(socket.url, /^\/rumorwebsocketsv2/);
    await until('a frame', () => socket.frames.length > 0);
    assert.ok(Buffer.isBuffer(socket.frames[0]), 'the first frame is binary');
    assert.deepEqual(bySdk(stage.lab.escapes.requests), []);
  });
});

describe('Daily 0.87.0 through relayd', () => {
  const stage = staged('daily', { hosts: DAILY, stub: daily(), sdk: 'daily', scene: dailyScene });

  test('the SDK\'s own bundle is loaded through relayd and runs', { timeout: 40000 }, async () => {
    const bundle = await stage.page.saw('the bundle', ({ host, url }) => host === 'c.daily.co' && url.includes('/call-machine/'));
    assert.equal(bundle.status, 200);
    assert.match(bundle.url, /\.js(\?|$)/);
    await stage.page.reported('bundle has run');
    assert.deepEqual(bySdk(stage.lab.escapes.requests), []);
  });
});

describe('LiveKit 2.23.0 through relayd', () => {
  const text = token({ iss: 'APItest', sub: 'user', video: { room: 'room', roomJoin: true }, exp: 1999999999 });
  const stage = staged('livekit', { hosts: LIVEKIT, stub: livekit(), sdk: 'livekit', scene: livekitScene, argument: { text } });

  test('the signalling WebSocket arrives with its long query', { timeout: 40000 }, async () => {
    const socket = await stage.page.saw('the signalling WebSocket', ({ websocket }) => websocket);
    assert.equal(socket.host, 'demo.livekit.cloud');
    assert.match(socket.url, /^\/rtc(\/v1)?\?/);
    const query = new URL(socket.url, 'https://x').searchParams;
    assert.equal(query.get('access_token'), text);
    assert.ok(socket.url.length > 1000, `the target is ${socket.url.length} bytes long`);
    assert.deepEqual(bySdk(stage.lab.escapes.requests), []);
  });
});
