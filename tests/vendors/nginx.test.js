// The same SDKs with the vendors' published nginx configurations in relayd's place: what breaks there, row by row.
import './lib/namespace.js';
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { until } from '../browser/lib/scratch.js';
import { LOGIN } from '../browser/lib/subject.js';
import { scene4 } from './lib/agora.js';
import { azureScene, azureSettings, createdAgent } from './lib/azure.js';
import { startLab } from './lib/lab.js';
import { watchedCall } from './lib/watchrtc.js';
import { HOSTS as AGORA, agora } from './stubs/agora.js';
import { HOSTS as AZURE, azure } from './stubs/azure.js';
import { HOSTS as WATCHRTC, watchrtc } from './stubs/watchrtc.js';

const SUBJECTS = ['nginx', 'relayd'];
const table = [];

/** Runs `scenario`, which gives an outcome by the name of its row, with each proxy. Gives rows of name, nginx, relayd. */
async function compare(name, options, scenario) {
  const seen = {};
  for (const subject of SUBJECTS) {
    const lab = await startLab(`${subject}-${name}`, { ...options, subject });
    const page = await lab.open(options.sdk);
    try {
      seen[subject] = await scenario(lab, page);
    } finally {
      await page.close();
      await lab.stop();
    }
  }
  const rows = Object.keys(seen.nginx).map((row) => [row, seen.nginx[row], seen.relayd[row]]);
  table.push(...rows);
  return rows;
}

/** What came of requests whose URL holds `part`: 'arrives', or what the browser was told. `arrived` tests what the upstream saw. */
function fate(page, lab, what, part, arrived) {
  const said = () => {
    if (lab.upstream.requests.some(arrived)) return 'arrives';
    const here = (text) => text.includes(`/${lab.authority}/`) && text.includes(part);
    if (page.complaints.some((text) => here(text) && text.includes('blocked by CORS policy'))) return 'blocked by CORS';
    const bad = page.answered.find(({ method, url, status }) => method !== 'OPTIONS' && here(url) && status >= 400);
    return bad ? `answered ${bad.status}` : null;
  };
  return until(what, said, 30000).catch(() => 'never seen');
}

const conversation = ({ host, url }) => host === 'api.flightproxy.skype.com' && /^\/api\/v2\/[ce]pconv$/.test(url);

test('Azure: telemetry and DELETE pass relayd, and are blocked by the browser with the published configuration', { timeout: 90000 }, async () => {
  const rows = await compare('azure', { hosts: AZURE, stub: azure(), vendors: ['azure'], sdk: 'azure-2.0.0' }, async (lab, page) => {
    page.start(azureScene, azureSettings(lab));
    await createdAgent(page);
    const call = await fate(page, lab, 'the group call', 'flightproxy', conversation);
    const telemetry = await fate(page, lab, 'telemetry', 'OneCollector', ({ host, url }) => /events\.data/.test(host) && url.startsWith('/OneCollector'));
    page.start(() => window.agent.dispose());
    const gone = await fate(page, lab, 'DELETE', 'registrations', ({ method }) => method === 'DELETE');
    return {
      'Azure: group call (an address proxied twice), relay named in .com': call,
      'Azure: telemetry, with credentials': telemetry,
      'Azure: DELETE of the registration at dispose': gone,
    };
  });
  assert.deepEqual(rows, [
    ['Azure: group call (an address proxied twice), relay named in .com', 'arrives', 'arrives'],
    ['Azure: telemetry, with credentials', 'blocked by CORS', 'arrives'],
    ['Azure: DELETE of the registration at dispose', 'blocked by CORS', 'arrives'],
  ]);
});

test('Azure: group calls pass relayd under any name, and the published configuration only under .com and .net', { timeout: 90000 }, async () => {
  const rows = await compare('azure-corp', { hosts: AZURE, stub: azure(), vendors: ['azure'], sdk: 'azure-2.0.0', domain: 'proxy.corp.io' }, async (lab, page) => {
    page.start(azureScene, azureSettings(lab));
    await createdAgent(page);
    return { 'Azure: group call, relay named proxy.corp.io': await fate(page, lab, 'the group call', 'flightproxy', conversation) };
  });
  assert.deepEqual(rows, [['Azure: group call, relay named proxy.corp.io', 'answered 404', 'arrives']]);
});

test('Agora: the query of the user account service and single slashes survive relayd', { timeout: 90000 }, async () => {
  const rows = await compare('agora', { hosts: AGORA, stub: agora(), vendors: ['agora'], sdk: 'agora4' }, async (lab, page) => {
    page.start(scene4, { authority: lab.authority, turn: lab.domain, app: '0123456789abcdef0123456789abcdef', channel: 'testchannel', login: LOGIN, user: 'user-one' });
    const account = await page.saw('the user account service', ({ host, url }) => /^sua-/.test(host) && url.startsWith('/api/v1'), 30000);
    const statistics = await page.saw('statistics', ({ host, url }) => host.startsWith('statscollector') && url.includes('events/messages'), 30000);
    return {
      'Agora 4.x: a user\'s name, asked for with action=stringuid': account.url,
      'Agora 4.x: statistics, for /events/messages': statistics.url,
    };
  });
  assert.deepEqual(rows, [
    ['Agora 4.x: a user\'s name, asked for with action=stringuid', '/api/v1', '/api/v1?action=stringuid'],
    ['Agora 4.x: statistics, for /events/messages', '//events/messages', '/events/messages'],
  ]);
});

test('watchRTC: reports by HTTPS arrive at their own path through relayd', { timeout: 90000 }, async () => {
  const rows = await compare('watchrtc', { hosts: WATCHRTC, stub: watchrtc(), vendors: ['watchrtc'], sdk: 'watchrtc' }, async (lab, page) => {
    page.start(watchedCall, { proxyUrl: `wss://${lab.authority}/websocket` });
    const error = await page.saw('an error report', ({ method, url }) => method === 'POST' && url.endsWith('/error'), 30000);
    return { 'watchRTC: a report of an error, for /error': error.url };
  });
  assert.deepEqual(rows, [['watchRTC: a report of an error, for /error', '//error', '/error']]);
});

after(() => {
  const head = ['what the SDK does', 'published nginx', 'relayd'];
  const width = (index) => Math.max(...[head, ...table].map((row) => row[index].length));
  const line = (row) => `| ${row.map((cell, index) => cell.padEnd(width(index))).join(' | ')} |`;
  console.log([line(head), `| ${head.map((_, index) => '-'.repeat(width(index))).join(' | ')} |`, ...table.map(line)].join('\n'));
});
