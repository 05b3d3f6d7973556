// Azure Communication Services Calling: networkConfiguration.proxy and .turn of the real web SDK.
import { ADDRESS } from './lib/namespace.js';
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { until } from '../browser/lib/scratch.js';
import { LOGIN } from '../browser/lib/subject.js';
import { allocations, bySdk, relayTransports, startLab } from './lib/lab.js';
import { azureScene, azureSettings, createdAgent } from './lib/azure.js';
import { HOSTS, NODE, azure } from './stubs/azure.js';

const GROUP_CALL_HOST = 'api.flightproxy.skype.com';
const conversation = ({ host, method, url }) => host === GROUP_CALL_HOST && method === 'POST' && /^\/api\/v2\/[ce]pconv$/.test(url);
const on = (host, method, path) => (request) => request.host === host && request.method === method && request.url.startsWith(path);

for (const version of ['2.0.0', '1.36.1', '1.25.1']) {
  describe(`Azure ${version} through relayd`, () => {
    let lab;
    let page;
    before(async () => {
      lab = await startLab(`azure-${version}`, { hosts: HOSTS, stub: azure(), vendors: ['azure'] });
      page = await lab.open(`azure-${version}`);
      page.start(azureScene, azureSettings(lab, {
        turn: [`turn:${lab.domain}:3478?transport=udp`, `turn:${lab.domain}:3478?transport=tcp`, `turn:${lab.domain}:443?transport=tls`],
      }));
    });
    after(async () => {
      await page?.close();
      await lab?.stop();
    });

    test(`${version}: a call agent is created, its configuration fetched once past the double slash`, { timeout: 40000 }, async () => {
      await createdAgent(page);
      const config = await page.saw('the ECS configuration', on('ecs.communication.microsoft.com', 'GET', '/config/v1/'));
      assert.equal(config.sni, 'ecs.communication.microsoft.com');
      assert.ok(lab.upstream.requests.every(({ host, sni }) => host === sni), 'SNI and Host are the vendor\'s');
      assert.ok(lab.upstream.requests.every(({ method }) => method !== 'OPTIONS'), 'preflights are answered by relayd');
    });

    test(`${version}: a Trouter node is found and its WebSocket's frames pass both ways`, { timeout: 40000 }, async () => {
      const finding = version === '2.0.0' ? ['GET', '/?check='] : ['POST', '/v4/a?'];
      const found = await page.saw('the way to a Trouter node', on('go.trouter.communication.microsoft.com', ...finding));
      assert.equal(found.status, 200);
      const socket = await page.saw('a Trouter WebSocket', ({ websocket, host }) => websocket && /trouter/.test(host));
      assert.match(socket.url, /^\/(v4\/c|socket\.io\/1\/websocket\/sid-test)\?/);
      assert.match(socket.headers['sec-websocket-extensions'], /permessage-deflate/);
      await until('a frame from the SDK', () => socket.frames.length > 0);
    });

    test(`${version}: the agent registers with the token of its application`, { timeout: 40000 }, async () => {
      const registration = await page.saw('the registration', ({ method, host, url }) => method === 'POST' && /registrar/.test(host) && url.includes('/registrations'));
      assert.ok(registration.headers['x-skypetoken'] || registration.headers.authorization, JSON.stringify(registration.headers));
      // Known from the WebSocket's first event alone.
      const [{ path }] = JSON.parse(registration.body).transports.TROUTER;
      assert.ok(path.startsWith(NODE.surl), path);
    });

    test(`${version}: the group call is asked for at an address that the SDK has proxied twice`, { timeout: 60000 }, async () => {
      await page.reported('joining', 30000);
      const call = await page.saw('the conversation', conversation, 30000);
      assert.ok(call.headers['x-skypetoken'] || call.headers.authorization, JSON.stringify(call.headers));
      assert.equal(Number(call.headers['content-length']), call.bytes);
      assert.ok(JSON.parse(call.body), 'the body arrives whole');
      const asked = page.asked.map(({ url }) => url).find((url) => url.includes(`/${GROUP_CALL_HOST}/api/v2/`));
      assert.ok(asked.startsWith(`https://${lab.authority}/${lab.authority}/${GROUP_CALL_HOST}/`), asked);
    });

    test(`${version}: relay candidates come from relayd over UDP, TCP and TLS`, { timeout: 60000 }, async () => {
      const connections = await page.connections('relay candidates over udp, tcp and tls', (all) => relayTransports(all).length === 3, 30000);
      assert.deepEqual(relayTransports(connections), ['tcp', 'tls', 'udp']);
      const relayed = connections.flatMap(({ candidates }) => candidates).filter(({ text }) => text.includes(' typ relay '));
      assert.ok(relayed.every(({ text }) => text.split(' ')[4] === ADDRESS), JSON.stringify(relayed));
      const asking = connections.find(({ candidates }) => candidates.length > 0);
      assert.equal(asking.policy, 'relay');
      assert.ok(asking.servers.some(({ username }) => username === LOGIN.username), JSON.stringify(asking.servers));
      await until('allocations by transport in relayd\'s log', () => ['tcp', 'tls', 'udp'].every((transport) => allocations(lab.relayd).has(transport)));
    });

    test(`${version}: telemetry with credentials is not blocked`, { timeout: 60000 }, async () => {
      const telemetry = await page.saw('telemetry', ({ host, method, url }) => /events\.data/.test(host) && method === 'POST' && url.startsWith('/OneCollector/'), 40000);
      assert.equal(telemetry.status, 200);
      assert.ok(!page.complaints.some((text) => /blocked by CORS/.test(text) && text.includes(lab.authority)), page.complaints.join('\n'));
    });

    test(`${version}: hanging up follows a link of the conversation, dispose deletes the registration`, { timeout: 60000 }, async () => {
      await page.saw('the conversation', conversation, 30000);
      page.start(() => window.call.hangUp());
      const links = '/api/v2/cp/conv-usea-01.conv.skype.com/conv/test/';
      await page.saw('a link of the conversation', ({ host, url }) => host === GROUP_CALL_HOST && url.startsWith(links), 30000);
      await page.evaluate(() => window.agent.dispose());
      const gone = await page.saw('DELETE of the registration', ({ method, host }) => method === 'DELETE' && /registrar/.test(host));
      assert.match(gone.url, /\/registrations\/[^/]+$/);
      assert.ok(!page.complaints.some((text) => /blocked by CORS/.test(text) && text.includes(lab.authority)), page.complaints.join('\n'));
    });
  });
}

describe('Azure 2.0.0 through relayd, the long way round', () => {
  let lab;
  let page;
  before(async () => {
    lab = await startLab('azure-long-way', { hosts: HOSTS, stub: azure({ sockets: false, redirect: true }), vendors: ['azure'], proxy: ['prefixes = ["/azure"]'] });
    page = await lab.open('azure-2.0.0');
    page.start(azureScene, azureSettings(lab, { proxy: `https://${lab.authority}/azure` }));
  });
  after(async () => {
    await page?.close();
    await lab?.stop();
  });

  test('without WebSockets, Trouter falls back to long polls through relayd and the agent is created', { timeout: 40000 }, async () => {
    const refused = await page.saw('a WebSocket that the upstream refuses', ({ websocket, host }) => websocket && /trouter/.test(host));
    assert.equal(refused.status, 403);
    await page.saw('the allocation of a Trouter node', on('go.trouter.communication.microsoft.com', 'POST', '/v4/a?'));
    const poll = await page.saw('a long poll', ({ host, method, url }) => host.startsWith('pub-') && method === 'GET' && url.startsWith('/socket.io/1/xhr-polling/sid-test?'));
    assert.equal(poll.status, 200);
    await page.reported('agent', 30000);
  });

  test('without TURN servers of the application, the vendor\'s relay tokens come through a path prefix and a doubly proxied address', { timeout: 60000 }, async () => {
    const tokens = await page.saw('the relay tokens', on('edge.skype.com', 'GET', '/trap/tokens'), 30000);
    assert.equal(tokens.status, 200);
    assert.ok(tokens.headers['x-skypetoken'] || tokens.headers.authorization, JSON.stringify(tokens.headers));
    const servers = await page.connections('the vendor\'s TURN servers', (all) => all.some(({ servers: list }) => list.length > 0), 30000);
    const asked = servers.flatMap(({ servers: list }) => list);
    assert.ok(asked.some(({ username }) => username === 'vendor-relay-user'), 'the SDK could read the tokens');
    assert.ok(page.asked.some(({ url }) => url.startsWith(`https://${lab.authority}/azure/${lab.authority}/azure/edge.skype.com/`)), 'the address was doubly proxied');
  });

  test('a redirect of the conversation service is followed by relayd, with the whole body', { timeout: 60000 }, async () => {
    const first = await page.saw('the conversation', conversation, 30000);
    assert.equal(first.status, 307);
    const second = await page.saw('the redirected conversation', on('api-nam.flightproxy.skype.com', 'POST', '/api/v2/redirected/cpconv'), 30000);
    assert.equal(second.body, first.body);
    assert.equal(second.sni, 'api-nam.flightproxy.skype.com');
    assert.deepEqual(bySdk(lab.escapes.requests).filter(({ host }) => host.includes('flightproxy')), []);
  });
});
