// Pages with a vendor's SDK, from the npm packages: nothing of the vendors' is kept anywhere else.
import https from 'node:https';
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const HERE = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const MODULES = path.join(HERE, 'node_modules');

/** The file of each SDK that a page loads by a script tag. */
const FILES = {
  agora3: 'agora-rtc-sdk/AgoraRTCSDK.min.js',
  agora4: 'agora-rtc-sdk-ng/AgoraRTC_N-production.js',
  trtc4: 'trtc-js-sdk/trtc.js',
  trtc5: 'trtc-sdk-v5/trtc.js',
  watchrtc: '@testrtc/watchrtc-sdk/lib/index.js',
  livekit: 'livekit-client/dist/livekit-client.umd.js',
  opentok: '@opentok/client/dist/js/opentok.min.js',
  daily: '@daily-co/daily-js/dist/daily-iframe.js',
};

function modules() {
  if (!existsSync(MODULES)) throw new Error(`${MODULES} is missing: run "npm ci --ignore-scripts" in tests/vendors`);
  return MODULES;
}

/** The script of SDK `name`: a key of FILES, or azure-VERSION, which comes as modules and is bundled here. */
async function script(name) {
  if (FILES[name]) return readFileSync(path.join(modules(), FILES[name]));
  const version = /^azure-(.+)$/.exec(name)?.[1];
  if (!version) throw new Error(`no SDK is called ${name}`);
  modules();
  const { build } = createRequire(import.meta.url)('esbuild');
  const contents = `import * as calling from 'azure-calling-${version}';
    import { AzureCommunicationTokenCredential } from '@azure/communication-common';
    Object.assign(window, { calling, AzureCommunicationTokenCredential });`;
  const bundle = await build({ stdin: { contents, resolveDir: HERE }, bundle: true, write: false, logLevel: 'error' });
  return bundle.outputFiles[0].contents;
}

/** Keeps the candidates and the servers of every peer connection in `window.connections`, for an SDK shows neither. */
function watchConnections() {
  const Original = window.RTCPeerConnection;
  window.connections = [];
  class Watched extends Original {
    constructor(configuration, ...rest) {
      super(configuration, ...rest);
      const entry = { servers: configuration?.iceServers ?? [], policy: configuration?.iceTransportPolicy ?? 'all', candidates: [], errors: [] };
      window.connections.push(entry);
      this.addEventListener('icecandidate', ({ candidate }) => candidate?.candidate && entry.candidates.push({ text: candidate.candidate, url: candidate.url }));
      this.addEventListener('icecandidateerror', ({ url, errorCode, errorText }) => entry.errors.push(`${url} ${errorCode} ${errorText}`));
    }

    setConfiguration(configuration) {
      const entry = window.connections.at(-1);
      entry.servers = configuration?.iceServers ?? entry.servers;
      entry.policy = configuration?.iceTransportPolicy ?? entry.policy;
      return super.setConfiguration(configuration);
    }
  }
  window.RTCPeerConnection = Watched;
  window.webkitRTCPeerConnection = Watched;
}

/** Serves `/SDK` as a page that has loaded that SDK: over HTTPS, for some SDKs run nowhere else. Gives `origin` and `stop`. */
export async function servePages({ cert, key }) {
  const built = new Map();
  const server = https.createServer({ cert: readFileSync(cert), key: readFileSync(key) }, (request, answer) => {
    const name = request.url.slice(1).replace(/\.js$/, '');
    if (!request.url.endsWith('.js')) {
      const watch = `(${watchConnections})()`;
      answer.setHeader('content-type', 'text/html');
      answer.end(`<!doctype html><meta charset="utf-8"><title>${name}</title><body><script>${watch}</script><script src="/${name}.js"></script></body>`);
      return;
    }
    if (!built.has(name)) built.set(name, script(name));
    built.get(name).then(
      (text) => answer.setHeader('content-type', 'text/javascript').end(text),
      (error) => answer.writeHead(500).end(String(error)),
    );
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    origin: `https://127.0.0.1:${server.address().port}`,
    async stop() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
