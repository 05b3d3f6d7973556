// The vendors' hosts in one place: HTTPS and WebSockets on loopback, recording all that arrives and answering by a stub.
import http from 'node:http';
import https from 'node:https';
import { readFileSync } from 'node:fs';
import { WebSocketServer } from 'ws';

/** Bytes of a recorded body or frame that are kept as text. */
const KEPT = 65536;

/**
 * Starts a recorder on `ports` of loopback. `stub.http(request)` gives `{status, headers, body}`, a promise of it, or nothing for 404; `stub.ws(socket, request)`
 * talks; `stub.refuses(request)` is the status that a WebSocket handshake gets instead of 101.
 * Without `cors` no CORS header is sent, and what a page sees of CORS is the proxy's; with it, answers suit the request's origin, as
 * the vendors' own do.
 */
export async function startRecorder({ cert, key, ports = [0], stub = {}, cors = false }) {
  const requests = [];
  const note = (request) => {
    const entry = {
      method: request.method, host: request.headers.host, url: request.url, headers: request.headers, sni: request.socket.servername || null,
      at: Date.now(), websocket: false, body: '',
    };
    requests.push(entry);
    return entry;
  };
  const answer = async (request, reply) => {
    const entry = note(request);
    const parts = [];
    for await (const part of request) parts.push(part);
    const bytes = Buffer.concat(parts);
    entry.bytes = bytes.length;
    entry.body = bytes.subarray(0, KEPT).toString('latin1');
    const preflight = cors && request.method === 'OPTIONS' ? { status: 204 } : null;
    const { status = 200, headers = {}, body = '' } = preflight ?? (await stub.http?.(entry)) ?? { status: 404, body: 'no stub' };
    entry.status = status;
    const json = typeof body === 'object' && !Buffer.isBuffer(body);
    const payload = json ? JSON.stringify(body) : body;
    reply.writeHead(status, { ...(json ? { 'content-type': 'application/json' } : {}), 'content-length': Buffer.byteLength(payload), ...(cors ? permission(request) : {}), ...headers });
    reply.end(payload);
  };
  const handler = (request, reply) => {
    answer(request, reply).catch(() => reply.destroy());
  };
  const sockets = new WebSocketServer({ noServer: true, maxPayload: 32 << 20 });
  const upgrade = (request, socket, head) => {
    const entry = Object.assign(note(request), { websocket: true, frames: [], closed: false });
    socket.on('error', () => {});
    entry.status = stub.refuses?.(entry) ?? 101;
    if (entry.status !== 101) {
      socket.end(`HTTP/1.1 ${entry.status} ${http.STATUS_CODES[entry.status]}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`);
      return;
    }
    sockets.handleUpgrade(request, socket, head, (peer) => {
      peer.on('message', (data, binary) => entry.frames.push(binary ? Buffer.from(data) : data.toString().slice(0, KEPT)));
      peer.on('close', () => { entry.closed = true; });
      peer.on('error', () => {});
      stub.ws?.(peer, entry);
    });
  };
  const servers = ports.map(() => https.createServer({ cert: readFileSync(cert), key: readFileSync(key), ALPNProtocols: ['http/1.1'] }, handler));
  for (const [index, server] of servers.entries()) {
    server.on('upgrade', upgrade);
    server.on('tlsClientError', () => {});
    await new Promise((resolve, reject) => server.once('error', reject).listen(ports[index], '127.0.0.1', resolve));
  }
  return {
    requests,
    address: `127.0.0.1:${servers[0].address().port}`,
    async stop() {
      for (const peer of sockets.clients) peer.terminate();
      for (const server of servers) {
        server.closeAllConnections();
        await new Promise((resolve) => server.close(resolve));
      }
    },
  };
}

function permission(request) {
  const { origin = '*', 'access-control-request-method': method, 'access-control-request-headers': names } = request.headers;
  return {
    'access-control-allow-origin': origin, 'access-control-allow-credentials': 'true', 'access-control-expose-headers': 'Content-Length, ETag',
    ...(method ? { 'access-control-allow-methods': method } : {}), ...(names ? { 'access-control-allow-headers': names } : {}),
  };
}

/** One line for each request, equal ones counted. */
export function listing(requests) {
  const lines = new Map();
  for (const { method, websocket, host, url, status } of requests) {
    const line = `${websocket ? 'WS' : method} ${host}${url.slice(0, 160)} -> ${status ?? 'unanswered'}`;
    lines.set(line, (lines.get(line) ?? 0) + 1);
  }
  return [...lines].map(([line, times]) => `  ${times}x ${line}`).join('\n') || '  nothing';
}
