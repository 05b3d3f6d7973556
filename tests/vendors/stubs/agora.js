// Just enough of Agora's access points, edges, statistics and log services for the SDKs 4.x and 3.x.

export const EDGES = [{ ip: '198.51.100.7', port: 4702 }, { ip: '198.51.100.8', port: 4714 }];
const edgeName = ({ ip, port }, domain) => `${ip.replaceAll('.', '-')}.edge.${domain}:${port}`;

const numbered = (stem, domains) => [1, 2, 3, 4, 5, 6].flatMap((n) => domains.map((domain) => `${stem}-${n}.${domain}`));

/** Every host that the SDKs ask for in these scenarios. */
export const HOSTS = [
  ...numbered('webrtc2-ap-web', ['agora.io']), ...numbered('webrtc2', ['ap.sd-rtn.com']), ...numbered('webrtc2-ap-web', ['sd-rtn.com']),
  ...numbered('ap-web', ['agora.io', 'sd-rtn.com', 'agoraio.cn']), ...numbered('cds-ap-web', ['agora.io']), ...numbered('cds-web', ['ap.sd-rtn.com']),
  ...numbered('uap-ap-web', ['agora.io']), ...numbered('uap-web', ['ap.sd-rtn.com']), ...numbered('sua-ap-web', ['agora.io']), ...numbered('sua-web', ['ap.sd-rtn.com']),
  ...numbered('statscollector', ['agora.io', 'sd-rtn.com']), 'logservice.agora.io', 'logservice.sd-rtn.com',
  ...[1, 2, 3, 4].map((n) => `web-${n}.statscollector.sd-rtn.com:6443`),
  ...EDGES.flatMap((edge) => [edgeName(edge, 'agora.io'), edgeName(edge, 'sd-rtn.com')]),
];

/** What a service number of the choose-server request is answered by. */
const FLAGS = { 11: 4096, 20: 1048576, 26: 4194310, 32: 4194304 };

export const agora = () => ({
  http({ url, body }) {
    if (url.includes('/transpond/')) return chosenServers(body);
    if (url.startsWith('/api/v1')) return { body: { code: 0, uid: 4321, url: 'https://x', test_tags: {}, serverResponse: { code: 0, tracks: [] } } };
    if (url.startsWith('/upload/')) return { headers: { 'content-type': 'text/plain' }, body: 'OK' };
    if (url.startsWith('/event')) return { body: { code: 200 } };
    return undefined;
  },
  /** Edges let everybody in, and send no media. */
  ws(socket) {
    socket.on('message', (data) => {
      const { _id, _type } = JSON.parse(data.toString());
      const answer = (message) => socket.send(JSON.stringify({ _id, _result: 'success', _message: message }));
      if (_type === 'ping') answer({});
      if (/^join(_v\d)?$/.test(_type)) answer({ uid: 1234, vid: 12345, cid: 777, attributes: { userAttributes: {} }, ap: {}, rejoin_token: 'test' });
    });
  },
});

/** `body` is a form whose one field is JSON. */
function chosenServers(body) {
  const request = JSON.parse(/\r\n\r\n(\{.*\})\r\n--/s.exec(body)?.[1] ?? '{}');
  const answers = (request.request_bodies ?? []).flatMap(({ buffer }) => (buffer.service_ids ?? []).map((service) => ({
    uri: 23,
    buffer: {
      code: 0, flag: FLAGS[service] ?? service, cert: 'certificate-test', cid: 777, uid: buffer.uid || 1234, cname: buffer.cname,
      detail: { 1: '1.2.3.4', 8: '12345' }, edges_services: EDGES,
    },
  })));
  return { headers: { http3: '0' }, body: { enter_ts: Date.now(), leave_ts: Date.now(), opid: request.opid, detail: { 502: '1.2.3.4' }, response_body: answers } };
}
