// Just enough of Vonage, Daily and LiveKit for their SDKs' first steps.

export const VONAGE = ['config.opentok.com', 'anvil.opentok.com', 'api.opentok.com', 'hlg.tokbox.com', 'mantis001-oregon.tokbox.com', 'mantis001-oregon.media.prod.tokbox.com'];
export const DAILY = ['c.daily.co', 'gs.daily.co', 'demo.daily.co', 'prod-ks.pluot.blue'];
export const LIVEKIT = ['demo.livekit.cloud'];

export const SESSION = '1_MX4xMjM0NX5-test';

export const vonage = () => ({
  http({ url }) {
    if (url.includes('/session/')) return { body: [session()] };
    if (url.endsWith('config.json')) return { body: {} };
    if (url.includes('/logging/')) return { headers: { 'content-type': 'text/plain' }, body: '' };
    return undefined;
  },
});

const session = () => ({
  session_id: SESSION,
  partner_id: '12345',
  messaging_server_url: 'mantis001-oregon.tokbox.com',
  messaging_url: 'wss://mantis001-oregon.media.prod.tokbox.com/rumorwebsocketsv2',
  media_server_hostname: 'mantis001',
  ice_server: null,
  ice_servers: [],
  session_status: 'INITIALIZED',
  properties: { p2p: { preference: { value: 'disabled' } } },
});

/** The SDK's bundle is a script that says that it has run. */
export const daily = () => ({
  http({ url }) {
    if (url.includes('/call-machine/')) return { headers: { 'content-type': 'text/javascript' }, body: 'window.report("bundle has run");' };
    return undefined;
  },
});

export const livekit = () => ({
  http: ({ url }) => (url.includes('/rtc') ? { status: 401, headers: { 'content-type': 'text/plain' }, body: 'refused by the stub' } : undefined),
});
