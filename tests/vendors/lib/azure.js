// What an application does with Azure's calling SDK, and what these scenarios give it.
import { LOGIN } from '../../browser/lib/subject.js';
import { token } from './lab.js';

/** The argument of `azureScene`: `turn` are URLs of relayd's TURN; `proxy` is what the application configures, without it relayd's own. */
export function azureSettings(lab, { turn = [], proxy = `https://${lab.authority}` } = {}) {
  const now = Math.floor(Date.now() / 1000);
  const resource = '11111111-2222-3333-4444-555555555555';
  return {
    proxy,
    turn: turn.length === 0 ? null : { iceServers: [{ urls: turn, ...LOGIN }] },
    token: token({
      skypeid: `acs:${resource}_00000000-aaaa-bbbb-cccc-dddddddddddd`, scp: 1792, csi: String(now), iat: now, exp: now + 86000, rgn: 'amer',
      acsScope: 'chat,voip', resourceId: resource, resourceLocation: 'unitedstates',
    }),
  };
}

/** Runs in the browser: creates the agent, then joins a group call. Reports `agent`, `joining`, and every `state` of the call. */
export async function azureScene({ token: text, proxy, turn }) {
  const client = new window.calling.CallClient({
    networkConfiguration: { proxy: { url: proxy }, ...(turn ? { turn } : {}) },
    diagnostics: { appName: 'relayd-test', appVersion: '1', tags: [] },
  });
  window.agent = await client.createCallAgent(new window.AzureCommunicationTokenCredential(text), { displayName: 'relayd test' });
  await window.report('agent');
  const devices = await client.getDeviceManager();
  await devices.askDevicePermission({ audio: true, video: false });
  const call = window.agent.join({ groupId: 'aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee' }, { audioOptions: { muted: false } });
  window.call = call;
  call.on('stateChanged', () => window.report('state', { state: call.state, end: call.callEndReason ?? null }));
  await window.report('joining');
}

export const createdAgent = (page) => page.reported('agent', 30000);
