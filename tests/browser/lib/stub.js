// A stub of the admin listener: /stats, /history, /allocations and /tunnels by their contracts, in states that are hard to make.
//
// `node tests/browser/lib/stub.js [calls]` serves the dashboard from its sources, for whoever works on it: no build between two looks.
import { existsSync, readFileSync } from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const SOURCES = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../../src/admin/dashboard');
const VERSION = '0.1.0';
const TRANSPORTS = ['udp', 'tcp', 'tls'];
const STEPS = { '1h': 5, '6h': 30, '24h': 120 };
const POINTS = 720;
const UPTIME_AT_START = 3120;

/** What can be changed while it answers: see `set`. */
const WORLD = {
  calls: 40, token: null, silent: false, status: null, draining: false, version: VERSION, quality: true, users: (id) => `user-${id % 97}`,
  certificates: (time) => [{ names: ['relay.example.com'], issuer: 'Example CA', not_after: time + 61 * 86400, source: 'acme' }], portsUsed: null,
};

/** `files`: the origin of a relayd whose dashboard files are passed on; none: the sources. Gives `{origin, requests, set, stop}`. */
export async function startStub({ files = null, port = 0, ...changes } = {}) {
  const world = { ...WORLD, ...changes, ended: new Set(), tunnelsEnded: new Set(), begun: Date.now() };
  const requests = [];
  const server = http.createServer(async (request, answer) => {
    requests.push(`${request.method} ${request.url}`);
    if (world.silent) return request.socket.destroy();
    const url = new URL(request.url, 'http://stub');
    answer.setHeader('cache-control', 'no-store');
    answer.setHeader('connection', 'close');
    if (url.pathname === '/' || url.pathname.startsWith('/dashboard.')) return files ? passOn(files, url.pathname, answer) : source(url.pathname, answer);
    if (world.status) return json(answer, world.status, fault('unavailable', 'the server is starting, stopping, or has too many requests like this one'));
    if (world.token && request.headers.authorization !== `Bearer ${world.token}`) return json(answer, 401, fault('unauthorized', 'send the token of admin.token'));
    const [status, body] = route(world, request.method, url);
    json(answer, status, body);
  });
  await new Promise((resolve) => server.listen(port, '127.0.0.1', resolve));
  return {
    origin: `http://127.0.0.1:${server.address().port}`,
    requests,
    set: (more) => Object.assign(world, more),
    async stop() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

const fault = (code, message) => ({ error: { code, message } });

function json(answer, status, body) {
  answer.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}

function passOn(origin, file, answer) {
  http.get(origin + file, (from) => {
    answer.writeHead(from.statusCode, from.headers);
    from.pipe(answer);
  });
}

/** As `src/admin/dashboard/mod.rs` joins them. */
function source(file, answer) {
  const read = (name) => readFileSync(path.join(SOURCES, name), 'utf8');
  const rust = read('mod.rs');
  const included = (pattern) => [...rust.matchAll(pattern)].map(([, name]) => read(name)).join('\n');
  const [type, text] = {
    '/': ['text/html', () => read('index.html').replace('{{version}}', VERSION)],
    '/dashboard.css': ['text/css', () => included(/include_str!\("(css\/[^"]+)"\)/g)],
    '/dashboard.js': ['text/javascript', () => included(/include_str!\("(js\/[^"]+)"\)/g).replace(/^import .*$/gm, '').replace(/^export /gm, '')],
  }[file];
  answer.writeHead(200, { 'content-type': `${type}; charset=utf-8`, 'content-security-policy': read('policy.txt').trim() }).end(text());
}

function route(world, method, url) {
  const [list, id, more] = url.pathname.slice(1).split('/');
  const time = Date.now() / 1000;
  const uptime = (Date.now() - world.begun) / 1000 + UPTIME_AT_START;
  const stamp = { time, uptime_s: uptime };
  if (more !== undefined) return [404, fault('not_found', 'no such path')];
  if (list === 'stats' && method === 'GET') return [200, { ...stamp, ...stats(world, time, uptime) }];
  if (list === 'history' && method === 'GET') return [200, { ...stamp, ...history(url.searchParams.get('span') ?? '1h', time, uptime) }];
  if (list !== 'allocations' && list !== 'tunnels') return [404, fault('not_found', 'no such path')];
  const ended = list === 'tunnels' ? world.tunnelsEnded : world.ended;
  const all = list === 'tunnels' ? tunnels(world) : allocations(world);
  if (id !== undefined) {
    const one = all.find((row) => row.id === Number(id));
    if (!one) return [404, fault('not_found', 'no such thing has this ID; it may have ended')];
    if (method === 'DELETE') {
      ended.add(one.id);
      return [200, { ended: 1 }];
    }
    return [200, { ...stamp, [list === 'tunnels' ? 'tunnel' : 'allocation']: list === 'tunnels' ? one : detail(one) }];
  }
  return page(list, all, url.searchParams, stamp);
}

// ---- lists ----
const KEYS = {
  id: (row) => row.id, age: (row) => row.age_s, user: (row) => row.user, client: (row) => row.client, trouble: (row) => row.quality?.trouble ?? -1,
  bytes: (row) => (row.to_peer ? row.to_peer.bytes + row.to_client.bytes : row.bytes_to_upstream), idle: (row) => row.idle_s,
};

function page(list, all, query, stamp) {
  const key = KEYS[query.get('sort') ?? 'id'];
  if (!key) return [400, fault('bad_request', `the parameter sort is not one of ${Object.keys(KEYS).join(', ')}`)];
  if (query.get('client') && !/^[0-9a-f.:[\]]+$/.test(query.get('client'))) return [400, fault('bad_request', 'client: an IP address, with a port or without, or a port')];
  const fits = all.filter((row) => ['user', 'transport'].every((name) => !query.get(name) || row[name] === query.get(name))
    && (!query.get('client') || row.client.includes(query.get('client'))));
  const way = query.get('order') === 'desc' ? -1 : 1;
  fits.sort((a, b) => (key(a) < key(b) ? -way : key(a) > key(b) ? way : (a.id - b.id) * way));
  const from = Number(query.get('cursor') ?? 0);
  const limit = Number(query.get('limit') ?? 100);
  return [200, { ...stamp, total: fits.length, [list]: fits.slice(from, from + limit), next: from + limit < fits.length ? String(from + limit) : null }];
}

/** The same for the same numbers: 0..1. */
function chance(...numbers) {
  let mixed = 2166136261;
  for (const number of numbers) mixed = Math.imul(mixed ^ Math.floor(number * 977), 16777619) >>> 0;
  mixed = Math.imul(mixed ^ (mixed >>> 15), 2246822519) >>> 0;
  return ((mixed ^ (mixed >>> 13)) >>> 0) / 2 ** 32;
}

function allocations(world) {
  const round = Math.floor(Date.now() / 4000);
  const rows = [];
  for (let id = 1; id <= world.calls; id += 1) if (!world.ended.has(id)) rows.push(allocation(world, id, round));
  return rows;
}

function allocation(world, id, round) {
  const transport = TRANSPORTS[chance(id, 1) < 0.7 ? 0 : chance(id, 2) < 0.5 ? 1 : 2];
  const age = 30 + chance(id, 3) * 3000;
  const [up, down] = [Math.floor(age * 60 * chance(id, 4)), Math.floor(age * 90 * chance(id, 5))];
  const peer = `203.0.113.${1 + id % 250}:${20000 + id % 9000}`;
  return {
    id, user: world.users(id), transport, client: `198.51.${id % 256}.${1 + (id >> 8)}:${1024 + id % 60000}`, server: '192.0.2.1:3478',
    relayed: [`192.0.2.1:${49152 + id % 16000}`], age_s: age, lifetime_left_s: 420, to_peer: { packets: up, bytes: up * 640 }, to_client: { packets: down, bytes: down * 900 },
    worker: id % 2, permission_count: 1, permissions: [{ ip: peer.split(':')[0], lifetime_left_s: 250 }], channel_count: 1,
    channels: [{ number: 0x4000 + id % 100, peer, lifetime_left_s: 480 }], quality: world.quality ? quality(id, round) : null,
  };
}

function quality(id, round) {
  if (id % 13 === 0) return null;
  const bad = chance(id, 6);
  const trouble = Math.min(100, Math.floor(bad > 0.85 ? 40 + 60 * chance(id, 7) + 3 * chance(id, round) : 25 * bad));
  const [at, cause] = [chance(id, 8) < 0.6 ? 'client' : 'peer', ['loss', 'jitter', 'round_trip'][id % 3]];
  const side = (name) => {
    const own = trouble > 25 && name === at;
    const packets = Math.floor(1000 + 9000 * chance(id, 9));
    return {
      packets: { rtp: packets, rtcp: Math.floor(packets / 90), stun: 44, dtls: 12, other: 0 },
      loss_ratio: own && cause === 'loss' ? trouble / 700 : 0.004 * chance(id, round, 1), jitter_ms: own && cause === 'jitter' ? trouble : 3 + 6 * chance(id, round, 2),
      bits_per_s: 3e5 + 9e5 * chance(id, 10, name.length), packets_per_s: 110, round_trip_ms: own && cause === 'round_trip' ? trouble * 6 : 24 + 20 * chance(id, round, 3),
      round_trip_from: name === 'client' ? 'stun' : 'rtcp', expected: packets, lost: own && cause === 'loss' ? Math.floor(packets * trouble / 700) : 3, reordered: 4, duplicates: 0, restarts: 0,
    };
  };
  return { trouble, trouble_side: trouble > 0 ? at : null, trouble_cause: trouble > 0 ? cause : null, client: side('client'), peer: side('peer') };
}

/** With what only one allocation's own page has. */
function detail(row) {
  if (!row.quality) return row;
  const points = 120;
  const sinceEnd = Math.min(4, row.age_s / 2);
  const step = (row.age_s - sinceEnd) / (points - 0.5);
  const lengths = { step_s: step, last_step_s: step / 2, age_s: sinceEnd };
  const series = (side, factor) => Array.from({ length: points }, (_, at) => (at < 2 ? null : factor * (0.8 + 0.4 * chance(row.id, at, side.bits_per_s))));
  const all = (side) => ({
    loss_ratio: series(side, side.loss_ratio), jitter_ms: series(side, side.jitter_ms), round_trip_ms: series(side, side.round_trip_ms), bits_per_s: series(side, side.bits_per_s),
  });
  const stream = (from, ssrc, type, rate) => ({
    from, peer: row.channels[0].peer, ssrc, payload_type: type, clock_rate_hz: rate, packets: 8123, bytes: 5123123, expected: 8140, lost: 17, reordered: 2, duplicates: 0, restarts: 0,
    loss_ratio: 0.002, jitter_ms: rate ? 4.2 : null, bits_per_s: type === 111 ? 32000 : 812000, packets_per_s: 50, idle_s: 0.02,
  });
  return {
    ...row,
    quality: {
      ...row.quality, streams: [stream('client', 0x1234abcd, 111, 48000), stream('client', 77, 96, 90000), stream('peer', 0xfeed, 111, 48000), stream('peer', 0xbeef, 102, null)],
      streams_forgotten: 0, history: { ...lengths, client: all(row.quality.client), peer: all(row.quality.peer) },
    },
  };
}

function tunnels(world) {
  return Array.from({ length: 7 }, (_, index) => ({
    id: index + 1, client: `198.51.100.${index + 1}:40000`, host: 'go.trouter.communication.microsoft.com:443', path: '/v4/c?epid=4f1c', age_s: 60 * (index + 1), idle_s: index * 3.2,
    bytes_to_upstream: 12000 * (index + 1), bytes_to_client: 88000 * (index + 1),
  })).filter(({ id }) => !world.tunnelsEnded.has(id));
}

// ---- numbers ----
const RATES = { udp: [9e6, 14e6], tcp: [1.4e6, 2.1e6], tls: [0.8e6, 1.1e6] };

function stats(world, time, uptime) {
  const flow = (bits) => ({ packets: Math.floor(bits * uptime / 8 / 700), bytes: Math.floor(bits * uptime / 8) });
  const requests = (factor) => ({ '1xx': Math.floor(uptime * 0.02 * factor), '2xx': Math.floor(uptime * 4 * factor), '3xx': Math.floor(uptime * 0.1 * factor), '4xx': Math.floor(uptime * 0.06 * factor), '5xx': Math.floor(uptime * 0.01 * factor) });
  const upstream = (host, factor) => ({ host, requests: requests(factor), errors: Math.floor(factor * 3), latency_ms: { mean: 40 / factor, p50: 31 / factor, p90: 88 / factor, p99: 240 / factor }, tunnels: Math.floor(factor * 4) });
  const calls = world.calls - world.ended.size;
  const ports = world.portsUsed ?? calls;
  return {
    version: world.version, draining: world.draining, configuration: { file: '/etc/relayd/relay.toml', generation: 3, loaded_at: time - 1800 },
    traffic: TRANSPORTS.map((transport) => ({ transport, to_peer: flow(RATES[transport][0]), to_client: flow(RATES[transport][1]) })),
    allocations: { udp: Math.ceil(calls * 0.7), tcp: Math.floor(calls * 0.2), tls: calls - Math.ceil(calls * 0.7) - Math.floor(calls * 0.2), total: calls, started: calls + 812, ended: { expired: 600, deleted: 200, by_operator: world.ended.size + 12 } },
    drops: { malformed: 3, no_permission: Math.floor(uptime * 0.4), no_channel: 17, peer_denied: 44, allocation_bandwidth: Math.floor(uptime * 1.1), oversized: 0 },
    turn_requests: [['allocate', 'success', 812], ['allocate', '401', 830], ['allocate', '486', 7], ['refresh', 'success', Math.floor(uptime * 0.9)], ['create_permission', 'success', 2400], ['create_permission', '403', 44],
      ['channel_bind', 'success', 1500], ['binding', 'success', Math.floor(uptime * 3)]].map(([method, answer, count]) => ({ method, answer, count })),
    relay_ports: { used: ports, total: 16384, range: '49152-65535', addresses: [{ ip: '192.0.2.1', used: ports, total: 16384 }, { ip: '2001:db8::1', used: 0, total: 16384 }] },
    workers: [0, 1].map((worker) => ({ worker, allocations: Math.floor(calls * (worker ? 0.44 : 0.56)), streams: 12, packets: Math.floor(uptime * 2000), bytes: Math.floor(uptime * 1.7e6), cpu_s: uptime * (0.11 + worker / 40) })),
    proxy: {
      connections: 31, requests_under_way: 2, tunnels: 7 - world.tunnelsEnded.size, requests: requests(1.8), errors: { upstream_timeout: 4, host_not_allowed: 61 },
      upstreams: [upstream('go.trouter.communication.microsoft.com:443', 1.2), upstream('api.example.com:443', 0.5), upstream('webrtc2-ap-web-1.agora.io:443', 0.1)], upstreams_forgotten: 0,
    },
    certificates: world.certificates(time),
    quality: { client: { loss_ratio: 0.012, jitter_ms: 9.1, round_trip_ms: 41 }, peer: { loss_ratio: 0.001, jitter_ms: 2.2, round_trip_ms: 17 } },
    process: { cpu_s: uptime * 0.31, resident_bytes: 48e6 + 1e5 * Math.sin(time), open_fds: calls + 84, fds_max: 524288, threads: 9 },
  };
}

function history(span, time, uptime) {
  const step = STEPS[span];
  const end = Math.floor(time / step) * step;
  const known = Math.floor(uptime / step);
  const wave = (mean, seed) => Array.from({ length: POINTS }, (_, index) => {
    if (POINTS - index > known) return null;
    const at = end - (POINTS - index) * step;
    return Math.max(0, mean * (1 + 0.35 * Math.sin(at / 700 + seed) + 0.25 * (chance(at, seed) - 0.5)));
  });
  const series = {};
  for (const [index, transport] of TRANSPORTS.entries()) {
    for (const [way, name] of ['to_peer', 'to_client'].entries()) {
      series[`bits_per_s.${transport}.${name}`] = wave(RATES[transport][way], index + way);
      series[`packets_per_s.${transport}.${name}`] = wave(RATES[transport][way] / 5600, index + way);
    }
    series[`allocations.${transport}`] = wave([28, 8, 4][index], index).map((value) => (value === null ? null : Math.round(value)));
  }
  const means = {
    drops_per_s: 1.5, turn_requests_per_s: 5, turn_errors_per_s: 0.4, proxy_requests_per_s: 7.4, proxy_errors_per_s: 0.03, 'proxy_latency_ms.mean': 44, 'proxy_latency_ms.p99': 260,
    tunnels: 7, connections: 31, 'loss_ratio.client': 0.012, 'loss_ratio.peer': 0.001, 'jitter_ms.client': 9, 'jitter_ms.peer': 2, 'round_trip_ms.client': 41, 'round_trip_ms.peer': 17,
    cpu_cores: 0.31, resident_bytes: 48e6, relay_ports_used: 40,
  };
  for (const [index, [name, mean]] of Object.entries(means).entries()) series[name] = wave(mean, index);
  return { span, step_s: step, end, series };
}

if (process.argv[1] === fileURLToPath(import.meta.url) && existsSync(SOURCES)) {
  const stub = await startStub({ port: 9642, calls: Number(process.argv[2] ?? 10000) });
  console.log(stub.origin);
}
