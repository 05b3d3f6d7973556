// Just enough of watchRTC's server: a configuration over the WebSocket, and 200 for what comes by HTTPS.

export const HOST = 'watchrtc-server.cyara.com';
export const HOSTS = [HOST];

/** `sockets`: whether WebSockets are accepted. */
export const watchrtc = ({ sockets = true } = {}) => ({
  http: () => ({ body: { ok: true } }),
  refuses: () => (sockets ? null : 503),
  ws(socket) {
    socket.send(JSON.stringify({ projectId: 'project-test', collectionInterval: 1000, sendInterval: 1, interval: 1000 }));
  },
});
