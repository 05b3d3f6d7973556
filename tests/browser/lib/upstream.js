// A vendor's host: HTTPS and WebSockets on loopback, recording what reaches it.
import https from 'node:https';
import { readFileSync } from 'node:fs';
import { WebSocketServer } from 'ws';

/**
 * Answers as Azure's, Agora's, TRTC's and watchRTC's hosts do where the page asks them, `/echo` with what it was sent, and echoes
 * WebSocket messages. `requests` holds method, host, url and headers of all that came.
 */
export async function startUpstream({ cert, key }) {
  const requests = [];
  const record = (request) => requests.push({ method: request.method, host: request.headers.host, url: request.url, headers: request.headers });
  const server = https.createServer({ cert: readFileSync(cert), key: readFileSync(key) }, (request, answer) => {
    record(request);
    const parts = [];
    request.on('data', (part) => parts.push(part));
    request.on('end', () => {
      const path = request.url.split('?')[0];
      answer.setHeader('content-type', 'text/plain');
      if (path === '/echo') answer.setHeader('x-seen-method', request.method).end(Buffer.concat(parts));
      else if (path === '/' && request.headers.host.startsWith('go.trouter.')) answer.end('Trouter');
      else if (path === '/healthcheck') answer.end('OK');
      else answer.writeHead(404).end('not here');
    });
  });
  // The first subprotocol offered is taken.
  const sockets = new WebSocketServer({ noServer: true, maxPayload: 32 << 20 });
  server.on('upgrade', (request, socket, head) => {
    record(request);
    socket.on('error', () => {});
    sockets.handleUpgrade(request, socket, head, (peer) => {
      // Sent with the 101: bytes that arrive this early must not be lost.
      peer.send('hello');
      peer.on('message', (data, binary) => peer.send(data, { binary }));
      peer.on('error', () => {});
    });
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    requests,
    address: `127.0.0.1:${server.address().port}`,
    async stop() {
      for (const peer of sockets.clients) peer.terminate();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
