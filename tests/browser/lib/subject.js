// The server under test: relayd, or coturn for the scenarios that do not care (TURN_SUBJECT=coturn), to prove the harness itself.
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import http from 'node:http';
import path from 'node:path';
import { ROOT, child, until } from './scratch.js';

export const SUBJECT = process.env.TURN_SUBJECT ?? 'relayd';
export const LOGIN = { username: 'alice', credential: 'wonderland-4711' };

/** The binary that cargo built: RELAYD_BIN, or the debug build. */
export function relaydBinary() {
  const binary = process.env.RELAYD_BIN ?? path.join(ROOT, 'target/debug/relayd');
  if (!existsSync(binary)) throw new Error(`${binary} does not exist: run "cargo build" or set RELAYD_BIN`);
  return binary;
}

/**
 * Starts relayd, on ports of the system's choice unless `listen` says which. `extra` is TOML that comes after the common tables; `proxy`,
 * `turn` and `admin` are lines of those tables.
 * Gives `{udp, tcp, tls}` ports, `https` (origin), `stop`, `alive`.
 */
export async function startRelayd(name, { dir, cert, key, proxy = [], turn = [], admin: adminLines = [], extra = '', domain = 'relay.test', listen = {} }) {
  const addresses = (kind) => JSON.stringify(listen[kind] ?? ['127.0.0.1:0']);
  const file = path.join(dir, `${name}.toml`);
  writeFileSync(file, `
[server]
domain = ${JSON.stringify(domain)}
drain_timeout = "0s"
[listen]
udp = ${addresses('udp')}
tcp = ${addresses('tcp')}
tls = ${addresses('tls')}
[tls]
cert = ${JSON.stringify(cert)}
key = ${JSON.stringify(key)}
[turn]
realm = ${JSON.stringify(domain)}
users = { ${LOGIN.username} = ${JSON.stringify(LOGIN.credential)} }
${turn.join('\n')}
[admin]
listen = "127.0.0.1:0"
${adminLines.join('\n')}
[log]
format = "json"
level = "info,relayd=debug"
[proxy]
${proxy.join('\n')}
${extra}
`);
  const relayd = child(name, relaydBinary(), ['--config', file]);
  try {
    const admin = await relayd.line(adminAddress, 'its admin address');
    const bound = await readiness(admin, relayd);
    const port = (list) => Number(list[0].slice(list[0].lastIndexOf(':') + 1));
    const ports = { udp: port(bound.udp), tcp: port(bound.tcp), tls: port(bound.tls) };
    return { ...ports, admin, https: `https://127.0.0.1:${ports.tls}`, stop: relayd.stop, alive: relayd.alive, lines: relayd.lines };
  } catch (error) {
    await relayd.stop();
    throw error;
  }
}

/** The field `admin` of a JSON log line. */
function adminAddress(text) {
  if (!text.startsWith('{')) return null;
  try {
    const line = JSON.parse(text);
    return line.admin ?? line.fields?.admin ?? null;
  } catch {
    return null;
  }
}

/** Asks /readyz until relayd says that it is ready. */
export function readiness(admin, relayd) {
  return until(`${admin}/readyz`, async () => {
    if (relayd && !relayd.alive()) throw new Error(`relayd ended:\n${relayd.lines.slice(-15).join('\n')}`);
    const body = await get(`http://${admin}/readyz`).catch(() => null);
    const state = body && JSON.parse(body);
    return state?.ready ? state : null;
  });
}

function get(url) {
  return new Promise((resolve, reject) => {
    http.get(url, (answer) => {
      let body = '';
      answer.on('data', (part) => { body += part; });
      answer.on('end', () => resolve(body));
      answer.on('error', reject);
    }).on('error', reject);
  });
}

async function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    }).on('error', reject);
  });
}

/** coturn cannot listen on port 0: free ports are looked up first, which is good enough for proving the harness. */
async function startCoturn(name, { dir, cert, key }) {
  const plain = await freePort();
  const tls = await freePort();
  const home = path.join(dir, 'coturn');
  mkdirSync(home, { recursive: true });
  const args = ['-n', '--listening-ip=127.0.0.1', '--relay-ip=127.0.0.1', `--listening-port=${plain}`, `--tls-listening-port=${tls}`, '--lt-cred-mech',
    `--user=${LOGIN.username}:${LOGIN.credential}`, '--realm=relay.test', `--cert=${cert}`, `--pkey=${key}`, '--allow-loopback-peers', '--cli-password=unused-4711',
    '--no-cli', '--no-dtls', '--log-file=stdout', `--pidfile=${home}/pid`, '--userdb=', '--no-rfc5780'];
  const coturn = child(name, 'turnserver', args, { cwd: home });
  await coturn.line((text) => /TLS 1\.2|TLS\/TCP listener opened|IPv4\. TLS.*opened/.test(text) || null, 'its TLS listener');
  return { udp: plain, tcp: plain, tls, stop: coturn.stop, alive: coturn.alive, lines: coturn.lines };
}

/** A TURN server, whichever. */
export function startTurn(name, options) {
  return SUBJECT === 'coturn' ? startCoturn(name, options) : startRelayd(name, options);
}
