// Agora: setProxyServer and setTurnServer of the real web SDKs 4.x and 3.x.
import { ADDRESS } from './lib/namespace.js';
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { until } from '../browser/lib/scratch.js';
import { LOGIN } from '../browser/lib/subject.js';
import { bySdk, allocations, relayTransports, startLab } from './lib/lab.js';
import { scene3, scene4 } from './lib/agora.js';
import { HOSTS, agora } from './stubs/agora.js';

const APP = '0123456789abcdef0123456789abcdef';
const CHANNEL = 'testchannel';

/** Runs in the browser: gathers candidates with the servers and the policy that the SDK gave to its own connection. */
async function gather() {
  const { servers, policy } = window.connections.find((one) => one.servers.length > 0);
  const connection = new RTCPeerConnection({ iceServers: servers, iceTransportPolicy: policy });
  connection.createDataChannel('data');
  await connection.setLocalDescription(await connection.createOffer());
}

const posted = (host, path) => (request) => request.host === host && request.method === 'POST' && request.url === path;

for (const [version, sdk, scene] of [['4.24.8', 'agora4', scene4], ['3.6.11', 'agora3', scene3]]) {
  const modern = sdk === 'agora4';
  describe(`Agora ${version} through relayd`, () => {
    let lab;
    let page;
    before(async () => {
      lab = await startLab(sdk, { hosts: HOSTS, stub: agora(), vendors: ['agora'] });
      page = await lab.open(sdk);
      page.start(scene, { authority: lab.authority, turn: lab.domain, app: APP, channel: CHANNEL, login: LOGIN, user: 1234 });
    });
    after(async () => {
      await page?.close();
      await lab?.stop();
    });

    test(`${version}: servers are chosen at the host in the query, which learns the client's address`, { timeout: 40000 }, async () => {
      const choice = await page.saw('the choice of servers', ({ url }) => url === '/api/v2/transpond/webrtc?v=2');
      assert.match(choice.host, /^webrtc2-.*\.(agora\.io|sd-rtn\.com)$/);
      assert.equal(choice.method, 'POST');
      assert.equal(choice.headers['x-user-address'], ADDRESS);
      assert.match(choice.headers['content-type'], /^multipart\/form-data; boundary=/);
      assert.ok(choice.body.includes(CHANNEL), 'the form arrives whole');
    });

    test(`${version}: the edge's WebSocket is opened at its own port and carries the join`, { timeout: 40000 }, async () => {
      const socket = await page.saw('the edge\'s WebSocket', ({ websocket }) => websocket);
      assert.match(socket.host, /^198-51-100-[78]\.edge\.(agora\.io|sd-rtn\.com):(4702|4714)$/);
      assert.equal(socket.url, '/');
      await until('the join', () => socket.frames.length > 0);
      const { _type, _message } = JSON.parse(socket.frames[0]);
      assert.match(_type, /^join/);
      assert.equal(_message.app_id, APP);
      assert.equal(_message.channel_name, CHANNEL);
      if (!modern) await page.reported('joined');
    });

    test(`${version}: statistics and logs arrive, and nothing goes past relayd`, { timeout: 60000 }, async () => {
      const statistics = await page.saw('statistics', ({ host, method, url }) => /statscollector/.test(host) && method === 'POST' && url.startsWith('/events/'), 30000);
      assert.ok(modern ? statistics.url === '/events/messages' : statistics.host.endsWith(':6443'), `${statistics.host}${statistics.url}`);
      const log = await page.saw('the upload of a log', posted('logservice.agora.io', modern ? '/upload/v1' : '/upload/v2'), 30000);
      assert.equal(log.status, 200);
      assert.ok(log.bytes > 0);
      assert.deepEqual(bySdk(lab.escapes.requests), []);
      assert.ok(lab.upstream.requests.every(({ method }) => method !== 'OPTIONS'), 'preflights are answered by relayd');
    });

    test(`${version}: setTurnServer leads to relay candidates from relayd`, { timeout: 60000 }, async () => {
      const transports = modern ? ['tcp', 'tls', 'udp'] : ['tcp', 'udp'];
      await page.connections('a connection with TURN servers', (all) => all.some(({ servers }) => servers.length > 0), 30000);
      // Agora's 4.x gathers when a real edge has told its own ICE parameters, which a stub has not.
      if (modern) page.start(gather);
      const connections = await page.connections(`relay candidates over ${transports}`, (all) => transports.every((one) => relayTransports(all).includes(one)), 30000);
      const { servers } = connections.find((one) => one.servers.length > 0);
      const urls = servers.flatMap((server) => server.urls ?? server.url);
      const expected = [`turn:${lab.domain}:3478?transport=tcp`, `turn:${lab.domain}:3478?transport=udp`, `turns:${lab.domain}:443?transport=tcp`];
      assert.deepEqual(urls.sort(), modern ? expected : expected.slice(0, 2));
      await until('allocations by transport in relayd\'s log', () => transports.every((one) => allocations(lab.relayd).has(one)));
    });
  });
}
