// Just enough of Azure Communication Services for the calling SDK to go on to its next request.

const TROUTER = 'pub-usea-01-t.trouter.communication.microsoft.com';

/** Every host that the SDK asks for in these scenarios. */
export const HOSTS = [
  'ecs.communication.microsoft.com', 'go.trouter.communication.microsoft.com', 'go-eu.trouter.communication.microsoft.com', TROUTER,
  'registrar.communication.microsoft.com', 'prod.registrar.skype.com', 'teams.microsoft.com', 'edge.skype.com', 'api.flightproxy.skype.com',
  'api-nam.flightproxy.skype.com', 'api.flightproxy.teams.microsoft.com', 'auth.relay.communication.microsoft.com', 'config.teams.microsoft.com',
  'browser.events.data.microsoft.com', 'ic3.events.data.microsoft.com', 'eu-ic3.events.data.microsoft.com', 'teams.events.data.microsoft.com',
  'eu-teams.events.data.microsoft.com', 'tb.events.data.microsoft.com', 'pf.events.data.microsoft.com',
  'prod.mediabroker.communications.svc.cloud.microsoft',
];

/** What the SDK learns of a Trouter node, and tells the registrar. */
export const NODE = {
  socketio: `https://${TROUTER}:443/`,
  surl: `https://${TROUTER}:3443/v4/f/AAAA/`,
  url: `https://${TROUTER}:8443/v4/f/AAAA/`,
  ttl: '586304',
  ccid: 'ccid-test',
  id: 'id-test',
  healthUrl: `https://${TROUTER}:443/h`,
  curlb: `https://${TROUTER}:3443`,
  registrarUrl: 'https://teams.microsoft.com/registrar/prod/V2/registrations',
  reconnectUrl: `https://${TROUTER}:443/v4/c`,
  connectparams: { sr: 'test', issuer: 'test', sp: 'connect', se: '1999999999999', st: '1700000000000', sig: 'test' },
};
const CONNECTED = JSON.stringify({ name: 'trouter.connected', args: [NODE] });
const LINKS = [
  'addParticipant', 'addParticipantAndModality', 'leave', 'notificationLinks', 'removeParticipant', 'keepAlive', 'addModality', 'removeModality',
  'contentSharingController', 'admit', 'mute', 'unmute', 'updateEndpointState', 'sendMessage', 'publishState',
];

/** `sockets`: whether WebSockets are accepted. `redirect`: whether the conversation service sends the first POST elsewhere by 307. */
export function azure({ sockets = true, redirect = false } = {}) {
  let polls = 0;
  const services = [
    [/^ecs\./, () => configuration()],
    [/trouter/, (request) => trouter(request)],
    [/registrar/, () => ({ status: 202, body: {} })],
    [/^edge\./, () => ({ body: { expires: 604800, realm: 'rtcmedia', ...RELAY, tokens: [{ realm: 'rtcmedia', ...RELAY }] } })],
    [/events\.data/, () => ({ body: { acc: 1 } })],
    [/flightproxy/, ({ url }) => conversation(url)],
  ];

  function trouter({ method, url }) {
    const text = (body) => ({ headers: { 'content-type': 'text/plain' }, body });
    if (/^\/(v4\/?)?\?check=/.test(url)) return text('Trouter');
    if (url.startsWith('/v4/a')) return { body: NODE };
    if (url.startsWith('/socket.io/1/?')) return text(`sid-test:60:60:${sockets ? 'websocket,xhr-polling' : 'xhr-polling'}`);
    if (!url.startsWith('/socket.io/1/xhr-polling')) return undefined;
    if (method === 'POST') return text('1');
    polls += 1;
    if (polls === 1) return text('1::');
    if (polls === 2) return text(`5:::${CONNECTED}`);
    // A long poll that has nothing to say: the browser ends it.
    return new Promise(() => {});
  }

  function conversation(url) {
    if (!/[ce]pconv/.test(url)) return { body: {} };
    if (redirect && !url.includes('/redirected/')) {
      return { status: 307, headers: { location: 'https://api-nam.flightproxy.skype.com/api/v2/redirected/cpconv' } };
    }
    const base = 'https://api.flightproxy.skype.com/api/v2/cp/conv-usea-01.conv.skype.com/conv/test';
    const link = (name) => `${base}/${name}?i=1&e=2`;
    return {
      status: 201,
      body: {
        conversationController: link('controller'),
        sequenceNumber: 1,
        links: Object.fromEntries(LINKS.map((name) => [name, link(name)])),
        roster: { type: 'Delta', sequenceNumber: 1, participants: {} },
        state: {},
        capabilities: {},
        properties: {},
        activeModalities: {},
      },
    };
  }

  return {
    http(request) {
      const service = services.find(([host]) => host.test(request.host));
      return service?.[1](request);
    },
    refuses: () => (sockets ? null : 403),
    /** socket.io 0.9 frames. */
    ws(socket, { url }) {
      if (!/socket\.io|\/v4\/c/.test(url)) return;
      socket.send('1::');
      if (url.includes('socket.io')) {
        socket.send(`5:::${CONNECTED}`);
        // A heartbeat, which socket.io clients answer.
        socket.send('2::');
      }
      socket.on('message', (data) => {
        const [, id, wantsAnswer, payload] = /^5:(\d+)?(\+)?::(.*)$/s.exec(data.toString()) ?? [];
        if (payload?.includes('"user.authenticate"')) socket.send(`5:1::${CONNECTED}`);
        if (id && wantsAnswer) socket.send(`6:::${id}+["pong"]`);
      });
    },
  };
}

const RELAY = { username: 'vendor-relay-user', password: 'dmVuZG9yLXBhc3M=' };

/** Without `enableCustomTurnUsage` the SDK ignores the application's TURN servers. */
function configuration() {
  const expires = new Date(Date.now() + 3600e3).toUTCString();
  const etag = '"etag-test"';
  return {
    headers: { etag, expires },
    body: {
      AcsCallingSDKWeb: { calling: { enableCustomTurnUsage: true } },
      SkypeWebMedia: {},
      TrouterJScriptClient: {},
      MDN_TRAP: {},
      TsCallAgent: {},
      Headers: { ETag: etag, Expires: expires, CountryCode: 'US', StatusCode: '200' },
      ConfigIDs: {},
    },
  };
}
