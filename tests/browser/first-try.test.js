// `relayd` without a file, as a person meets it first. It listens on its own ports, and its page looks up public names: so all of it
// runs in a network namespace that holds a loopback and no way out.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import tls from 'node:tls';
import { launchChromium, launchFirefox } from './lib/browsers.js';
import { assertCalls, clientCode, finished, watchPolicy } from './lib/page.js';
import { child, scratch } from './lib/scratch.js';
import { readiness, relaydBinary } from './lib/subject.js';

if (process.env.RELAYD_TEST_ALONE === '1') inside();
else outside();

/** Runs this file again in a namespace of its own and takes over its verdict. */
function outside() {
  test('a first try without a file works in a network without a way out', { timeout: 400000 }, () => {
    const script = 'ip link set lo up && exec "$0" "$@"';
    const again = [process.execPath, '--test-reporter=spec', fileURLToPath(import.meta.url)];
    const flags = process.getuid() === 0 ? ['--net'] : ['--user', '--map-root-user', '--net'];
    const { NODE_TEST_CONTEXT: _, ...env } = process.env;
    const run = spawnSync('unshare', [...flags, 'sh', '-c', script, ...again], { env: { ...env, RELAYD_TEST_ALONE: '1' }, encoding: 'utf8', timeout: 390000 });
    if (run.error?.code === 'ENOENT') throw new Error('unshare is missing: apt-get install util-linux iproute2');
    assert.equal(run.status, 0, `${run.error ?? ''}\n${run.stdout}\n${run.stderr}`);
    assert.match(run.stdout, /pass 3/, run.stdout);
  });
}

function inside() {
  const home = scratch('first-try');
  let relayd;
  let state;
  let port;

  before(async () => {
    relayd = child('first-try', relaydBinary(), [], { cwd: home.dir, env: { PATH: process.env.PATH, HOME: home.dir } });
    state = await readiness('127.0.0.1:9641', relayd);
    port = Number(state.tls[0].slice(state.tls[0].lastIndexOf(':') + 1));
  });
  after(async () => {
    await relayd?.stop();
    home.remove();
  });

  test('it prints the page to open and what to paste', () => {
    const printed = relayd.lines.join('\n');
    assert.match(printed, new RegExp(`https://[^\\s]+:${port}/`), printed);
    assert.match(printed, /turns?:/, printed);
    assert.match(printed, /--ignore-certificate-errors-spki-list=[A-Za-z0-9+/]{43}= /, printed);
  });

  for (const [name, launch] of [['chromium', launchTrusting], ['firefox', () => launchFirefox({ certificates: 'ignore', offline: true })]]) {
    describe(`the first page in ${name}`, () => {
      let browser;
      before(async () => {
        browser = await launch(port);
      });
      after(() => browser?.close());

      test(`${name} calls by all three transports and says why the proxy reaches nobody`, { timeout: 150000 }, async () => {
        const violations = watchPolicy(browser);
        await browser.open(`https://localhost:${port}/`);
        const { results, rows, overall } = await finished(browser);
        await browser.screenshot(`first-try-${name}.png`);
        assertCalls(results);
        const probes = rows.filter((row) => row.kind !== 'call');
        assert.ok(probes.length >= 5, `${probes.length} probes`);
        for (const probe of probes) {
          assert.equal(probe.state, 'failed');
          assert.match(probe.what, /^relayd answered 50[24]: The name of the upstream host/, JSON.stringify(probe));
          assert.match(probe.fix, /resolver/, JSON.stringify(probe));
        }
        assert.equal(overall, 'failed');
        const code = await clientCode(browser);
        assert.ok(code.length === 13, `${code.length} SDKs`);
        const [, password] = /password +(\S+)/.exec(relayd.lines.join('\n'));
        for (const { title, text } of code) assert.ok(text.includes(password) || title.startsWith('watchRTC'), text);
        assert.deepEqual(violations, []);
      });
    });
  }
}

/** Chromium as the page advises for a self-signed certificate: with the hash of its key, and strict about any other. */
async function launchTrusting(port) {
  const certificate = await new Promise((resolve, reject) => {
    const socket = tls.connect({ port, host: '127.0.0.1', servername: 'localhost', rejectUnauthorized: false }, () => {
      resolve(new X509Certificate(socket.getPeerCertificate().raw));
      socket.destroy();
    }).on('error', reject);
  });
  return launchChromium({ certificates: 'judge', trust: certificate.publicKey });
}
