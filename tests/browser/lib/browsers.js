// Chromium by playwright-core, Firefox by puppeteer-core over BiDi: one face for both.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { chromium } from 'playwright-core';
import puppeteer from 'puppeteer-core';
import { OUT, scratch } from './scratch.js';

const CHROMIUM = process.env.CHROMIUM_BIN ?? '/usr/bin/chromium';
const FIREFOX = process.env.FIREFOX_BIN ?? '/usr/bin/firefox-esr';

const CHROMIUM_FLAGS = [
  '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync',
  '--allow-loopback-in-peer-connection', '--disable-features=WebRtcHideLocalIpsWithMdns', '--autoplay-policy=no-user-gesture-required',
  // Only localhost is looked up; WebRTC asks for names with a final dot.
  '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE [::1], EXCLUDE localhost, EXCLUDE localhost.',
];

const CLOSED = 'http://127.0.0.1:9';
const FIREFOX_PREFERENCES = {
  'media.peerconnection.ice.loopback': true,
  'media.peerconnection.ice.obfuscate_host_addresses': false,
  'media.peerconnection.default_iceservers': '[]',
  'media.autoplay.default': 0,
  'network.captive-portal-service.enabled': false,
  'network.connectivity-service.enabled': false,
  'media.gmp-manager.updateEnabled': false,
  'media.gmp-provider.enabled': false,
  'app.normandy.enabled': false,
  'app.update.enabled': false,
  'extensions.update.enabled': false,
  'browser.safebrowsing.malware.enabled': false,
  'browser.safebrowsing.phishing.enabled': false,
  'datareporting.policy.dataSubmissionEnabled': false,
  'toolkit.telemetry.server': CLOSED,
  'services.settings.server': CLOSED,
  'network.dns.disablePrefetch': true,
  'network.trr.mode': 5,
  'security.OCSP.enabled': 0,
};

function demand(binary, what) {
  if (!existsSync(binary)) throw new Error(`${binary} is missing: apt-get install ${what}`);
}

/**
 * Starts Chromium. `certificates`: 'ignore' takes any, 'judge' judges them as a person's browser does, but takes those of the public
 * key `trust`. `colorScheme` and `viewport` are for screenshots. Of a flag that is in `extraFlags` too, the extra one counts.
 */
export async function launchChromium({ certificates = 'ignore', trust, colorScheme = 'light', viewport = { width: 1100, height: 900 }, extraFlags = [] } = {}) {
  demand(CHROMIUM, 'chromium');
  const flags = certificates === 'ignore' ? [...CHROMIUM_FLAGS, '--ignore-certificate-errors'] : [...CHROMIUM_FLAGS];
  flags.push(...extraFlags);
  if (trust) {
    const key = trust.export({ type: 'spki', format: 'der' });
    flags.push(`--ignore-certificate-errors-spki-list=${createHash('sha256').update(key).digest('base64')}`);
  }
  // Chromium honours the list of keys only with a profile directory of its own.
  const profile = scratch('chromium');
  const context = await chromium.launchPersistentContext(profile.dir, { executablePath: CHROMIUM, args: flags, headless: true, colorScheme, viewport });
  const page = await context.newPage();
  return {
    name: 'chromium',
    version: context.browser()?.version(),
    page,
    open: (url) => page.goto(url),
    evaluate: (fn, argument) => page.evaluate(fn, argument),
    text: (selector) => page.textContent(selector),
    fill: (selector, text) => page.fill(selector, text),
    click: (selector) => page.click(selector),
    screenshot: (name) => page.screenshot({ path: path.join(OUT, name), fullPage: true }),
    resize: (width, height) => page.setViewportSize({ width, height }),
    async close() {
      await context.close();
      profile.remove();
    },
  };
}

/**
 * Starts Firefox with a fresh profile that trusts `ca`, a PEM file: it takes TURN over TLS from no other authority.
 * `offline`: for a machine without a default route, where Firefox calls only from pages that may use the camera.
 */
export async function launchFirefox({ ca, offline = false, dark = false, certificates = 'judge', viewport = { width: 1100, height: 900 } } = {}) {
  demand(FIREFOX, 'firefox-esr');
  const profile = scratch('firefox');
  if (ca) {
    try {
      execFileSync('certutil', ['-N', '-d', `sql:${profile.dir}`, '--empty-password'], { stdio: 'pipe' });
      execFileSync('certutil', ['-A', '-d', `sql:${profile.dir}`, '-n', 'relayd test authority', '-t', 'C,,', '-i', ca], { stdio: 'pipe' });
    } catch (error) {
      profile.remove();
      if (error.code === 'ENOENT') throw new Error('certutil is missing: apt-get install libnss3-tools');
      throw error;
    }
  }
  const preferences = { ...FIREFOX_PREFERENCES, 'layout.css.prefers-color-scheme.content-override': dark ? 0 : 1 };
  if (offline) Object.assign(preferences, { 'permissions.default.camera': 1, 'permissions.default.microphone': 1 });
  const browser = await puppeteer.launch({
    browser: 'firefox', executablePath: FIREFOX, headless: true, userDataDir: profile.dir, extraPrefsFirefox: preferences,
    acceptInsecureCerts: certificates === 'ignore', defaultViewport: viewport, protocolTimeout: 120000,
  });
  const page = await browser.newPage();
  const fill = async (selector, text) => {
    await page.$eval(selector, (element) => { element.value = ''; });
    await page.type(selector, text);
  };
  return {
    name: 'firefox',
    version: await browser.version(),
    page,
    open: (url) => page.goto(url),
    evaluate: (fn, argument) => page.evaluate(fn, argument),
    text: (selector) => page.$eval(selector, (element) => element.textContent),
    fill,
    click: (selector) => page.click(selector),
    screenshot: (name) => page.screenshot({ path: path.join(OUT, name), fullPage: true }),
    resize: (width, height) => page.setViewport({ width, height }),
    async close() {
      await browser.close();
      profile.remove();
    },
  };
}
