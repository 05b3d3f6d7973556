// What an application does with Agora's SDKs.

/** Runs in the browser: joins. Reports every `state`, and `joined` or `rejected`. */
export async function scene4({ authority, turn, app, channel, login, user }) {
  const { AgoraRTC } = window;
  AgoraRTC.setLogLevel(0);
  AgoraRTC.enableLogUpload();
  AgoraRTC.setParameter('NEW_FORCE_TURN', true);
  const client = AgoraRTC.createClient({ mode: 'rtc', codec: 'vp8' });
  client.on('connection-state-change', (now, before_, reason) => window.report('state', { now, reason }));
  client.setProxyServer(authority);
  client.setTurnServer([{ turnServerURL: turn, tcpport: 3478, udpport: 3478, username: login.username, password: login.credential, forceturn: true }]);
  await client.join(app, channel, null, user).then(() => window.report('joined'), (error) => window.report('rejected', String(error)));
}

/** 3.x makes a connection only to publish. */
export async function scene3({ authority, turn, app, channel, login, user }) {
  const { AgoraRTC } = window;
  AgoraRTC.Logger.setLogLevel(0);
  AgoraRTC.Logger.enableLogUpload();
  const client = AgoraRTC.createClient({ mode: 'rtc', codec: 'vp8' });
  client.setProxyServer(authority);
  client.setTurnServer({ turnServerURL: turn, tcpport: '3478', udpport: '3478', username: login.username, password: login.credential, forceturn: true });
  await new Promise((resolve, reject) => client.init(app, resolve, reject));
  await new Promise((resolve, reject) => client.join(null, channel, user, resolve, reject));
  await window.report('joined');
  const stream = AgoraRTC.createStream({ audio: true, video: false });
  await new Promise((resolve, reject) => stream.init(resolve, reject));
  client.publish(stream, (error) => window.report('not published', JSON.stringify(error)));
}
