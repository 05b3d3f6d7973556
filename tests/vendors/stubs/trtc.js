// Just enough of Tencent RTC's schedule, log and signalling services.

/** Every host that the SDKs ask for in these scenarios. */
export const HOSTS = [
  'signaling.rtc.qq.com', 'yun.tim.qq.com', 'apisgp.my-imcloud.com', 'schedule.cloud-rtc.com', 'schedule.cloud-rtc.net', 'schedule.rtc-web.com',
  'schedule.rtc-web.io', 'schedule.rtc.tencentcloud.com', 'schedule.rtc.qcloud.com', 'signaling-main.rtc-web.com', 'signaling-backup.rtc-web.io',
];

/** Where the schedule sends the signalling. */
export const SIGNALLING = 'signaling-main.rtc-web.com';

/** With which code a join is refused. */
export const REFUSED = -100013;

/** The command of the answer to a join. */
const JOIN_RESULT = 20;

export const trtc = () => ({
  http({ url }) {
    if (url.includes('/AVQualityReportSvc/')) return { body: { code: 0 } };
    if (!url.startsWith('/api/v1/')) return undefined;
    const data = { domains: [SIGNALLING, 'signaling-backup.rtc-web.io'], iceServers: null, iceTransportPolicy: null, trtcAutoConf: null, config: {}, trtcCapability: {} };
    return { body: { code: 0, msg: 'ok', data } };
  },
  /** The server lets nobody in and says so, which the SDK tells its application. */
  ws(socket) {
    socket.on('message', (data) => {
      const { cmd } = JSON.parse(data.toString());
      if (/^join/.test(cmd)) socket.send(JSON.stringify({ cmd: JOIN_RESULT, code: REFUSED, message: 'refused by the stub', data: { publishers: [] } }));
    });
  },
});
