// Everything around an SDK: pages, Chromium, the proxy under test, and the vendors' hosts behind it.
//
// The browser finds every name: the proxy's at relayd, all others at the `escapes` recorder, so that what an SDK sends past the proxy
// is seen. The proxy finds the vendors' hosts at the `upstream` recorder. Nothing else exists in the namespace.
import { ADDRESS } from './namespace.js';
import { launchChromium } from '../../browser/lib/browsers.js';
import { authority } from '../../browser/lib/certs.js';
import { scratch, until } from '../../browser/lib/scratch.js';
import { startRelayd } from '../../browser/lib/subject.js';
import { startNames } from './names.js';
import { startNginx } from './nginx.js';
import { servePages } from './pages.js';
import { listing, startRecorder } from './recorder.js';

const DOMAIN = 'proxy.example.com';
const PORT = 8443;
/** nginx has no setting that sends a name to another port: the vendors' hosts then listen on their own. */
const NGINX_PORTS = [443, 4702, 4714];

const DISABLED = [
  'WebRtcHideLocalIpsWithMdns', 'OptimizationHints', 'MediaRouter', 'LocalNetworkAccessChecks', 'BlockInsecurePrivateNetworkRequests',
  'PrivateNetworkAccessSendPreflights',
];

/**
 * Starts all but a browser. `hosts` are the vendor's, as `host` or `host:port`; `vendors` the presets; `proxy` more lines of [proxy].
 * `domain` is the proxy's name; `subject` is 'relayd' or 'nginx'.
 */
export async function startLab(name, { hosts, stub, vendors, proxy = [], domain = DOMAIN, subject = 'relayd' }) {
  const work = scratch(name);
  const started = [];
  const stop = async () => {
    for (const part of started.reverse()) await part.stop();
    work.remove();
  };
  const keep = (part) => {
    started.push(part);
    return part;
  };
  try {
    const ca = authority(work.dir);
    const names = [...new Set(hosts.map((host) => host.split(':')[0]))];
    const ports = subject === 'nginx' ? NGINX_PORTS : [0];
    // relayd answers for CORS itself; behind nginx the vendor's own answers count.
    const upstream = keep(await startRecorder({ ...ca.leaf('upstream', names.map((host) => `DNS:${host}`)), stub, ports, cors: subject === 'nginx' }));
    const escapes = keep(await startRecorder({ ...ca.leaf('escapes', ['DNS:localhost']) }));
    const pages = keep(await servePages(ca.leaf('pages', ['IP:127.0.0.1'])));
    const certificate = ca.leaf(domain, [`DNS:${domain}`]);
    let relayd = null;
    if (subject === 'nginx') {
      const { address } = keep(await startNames({ [domain]: ADDRESS }));
      keep(await startNginx(`vendors-${name}`, { dir: work.dir, ...certificate, listen: `${ADDRESS}:${PORT}`, resolver: address }));
    } else {
      const resolve = [...new Set(hosts)].map((host) => `${JSON.stringify(host.includes(':') ? host : `${host}:443`)} = ${JSON.stringify(upstream.address)}`);
      relayd = keep(await startRelayd(`vendors-${name}`, {
        dir: work.dir,
        ...certificate,
        domain,
        listen: { udp: [`${ADDRESS}:3478`], tcp: [`${ADDRESS}:3478`], tls: [`${ADDRESS}:${PORT}`, `${ADDRESS}:443`] },
        turn: ['relay_ports = "61000-65535"'],
        proxy: [`vendors = ${JSON.stringify(vendors)}`, `ca_file = ${JSON.stringify(ca.ca)}`, `resolve = { ${resolve.join(', ')} }`, ...proxy],
      }));
    }
    return {
      upstream, escapes, relayd, stop, domain, authority: `${domain}:${PORT}`,
      /** Opens the page of SDK `sdk` in a browser of its own. */
      open: (sdk) => openPage({ pages, sdk, domain, upstream, escapes }),
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function openPage({ pages, sdk, domain, upstream, escapes }) {
  const browser = await launchChromium({
    extraFlags: [
      '--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream', `--disable-features=${DISABLED.join(',')}`,
      `--host-resolver-rules=MAP ${domain} ${ADDRESS}, MAP ${domain}. ${ADDRESS}, EXCLUDE 127.0.0.1, EXCLUDE localhost, EXCLUDE ${ADDRESS}, MAP * ${escapes.address}`,
    ],
  });
  try {
    const reports = [];
    const complaints = [];
    const asked = [];
    const answered = [];
    browser.page.on('response', (response) => { answered.push({ method: response.request().method(), url: response.url(), status: response.status() }); });
    browser.page.on('request', (request) => { asked.push({ method: request.method(), url: request.url() }); });
    browser.page.on('console', (message) => {
      if (message.type() === 'error' || message.type() === 'warning') complaints.push(message.text().slice(0, 1000));
    });
    browser.page.on('pageerror', (error) => complaints.push(`uncaught ${String(error).slice(0, 1000)}`));
    await browser.page.exposeFunction('report', (what, detail = null) => { reports.push({ what, detail }); });
    await browser.open(`${pages.origin}/${sdk}`);

    const story = () => [
      `the page reported: ${JSON.stringify(reports).slice(0, 4000)}`,
      `the browser complained: ${complaints.slice(-12).join('\n    ') || 'not at all'}`,
      `the upstream saw:\n${listing(upstream.requests)}`,
      `past the proxy went:\n${listing(bySdk(escapes.requests))}`,
    ].join('\n');
    const patiently = async (what, question, ms) => {
      const failed = () => reports.find((one) => one.what === 'failed');
      try {
        const found = await until(what, async () => (await question()) || failed(), ms);
        if (found !== failed()) return found;
      } catch (error) {
        throw new Error(`${error.message}\n${story()}`);
      }
      throw new Error(`waiting for ${what}, the page failed: ${failed().detail}\n${story()}`);
    };
    return {
      /** What the browser's console said as errors and warnings. */
      complaints,
      /** Method and URL of all that the page fetched, by whatever way; WebSockets are not among them. */
      asked,
      /** Of those, the ones that were answered, with the status. */
      answered,
      /** Starts `scene` in the page without waiting for its end; what it throws is reported as `failed`. */
      start(scene, argument) {
        browser.page.evaluate(scene, argument).catch((error) => reports.push({ what: 'failed', detail: String(error).slice(0, 500) }));
      },
      evaluate: browser.evaluate,
      /** The first report called `what`; a report called `failed` ends this and every other wait at once. */
      reported: (what, ms = 20000) => patiently(`the page's report "${what}"`, () => reports.find((one) => one.what === what), ms),
      /** The first request at the upstream that `test` accepts, once it is answered: its body and status are known then. */
      saw: (what, test, ms = 20000) => patiently(`${what} at the upstream`, () => upstream.requests.find((entry) => entry.status !== undefined && test(entry)), ms),
      /** Candidates of all peer connections as soon as `test` accepts them. */
      connections: (what, test, ms = 20000) => patiently(what, async () => {
        const all = await browser.evaluate(() => window.connections);
        return test(all) ? all : null;
      }, ms),
      close: browser.close,
    };
  } catch (error) {
    await browser.close();
    throw error;
  }
}

/** Of what went past the proxy, all but Chromium's own requests. */
export const bySdk = (requests) => requests.filter(({ host }) => !/(^|\.)(google|googleapis|gvt1|gstatic)\.com$/.test(host));

/** Transports over which the relayed candidates of `connections` were got. */
export function relayTransports(connections) {
  const relayed = connections.flatMap(({ candidates }) => candidates).filter(({ text }) => text.includes(' typ relay '));
  return [...new Set(relayed.map(({ url }) => (url.startsWith('turns:') ? 'tls' : /transport=(\w+)/.exec(url)?.[1] ?? 'udp')))].sort();
}

/** Transports over which clients have had allocations, as relayd's log tells. */
export function allocations(relayd) {
  const lines = relayd.lines.filter((text) => text.includes('allocation') && text.includes('"transport":'));
  return new Set(lines.map((text) => /"transport":"([^"]+)"/.exec(text)[1]));
}

/** A JSON web token whose signature nobody checks. */
export function token(claims) {
  const part = (value) => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');
  return `${part({ alg: 'RS256', kid: '1', typ: 'JWT' })}.${part(claims)}.${part('nobody checks this')}`;
}
