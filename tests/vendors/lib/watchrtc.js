// What an application does under watchRTC's eyes.

/** Runs in the browser: a call inside the page, a failing getUserMedia, a network test. Reports `connected`. */
export async function watchedCall({ proxyUrl }) {
  const { watchRTC } = window;
  watchRTC.init({ rtcApiKey: 'api-key-test', rtcRoomId: 'room1', rtcPeerId: 'peer1', keys: { k: 'v' }, logLevel: 'error', proxyUrl });
  const one = new RTCPeerConnection({ iceServers: [] });
  const two = new RTCPeerConnection();
  for (const [from, to] of [[one, two], [two, one]]) from.onicecandidate = ({ candidate }) => candidate && to.addIceCandidate(candidate);
  const media = await navigator.mediaDevices.getUserMedia({ audio: true });
  for (const track of media.getTracks()) one.addTrack(track, media);
  const connected = new Promise((resolve) => {
    one.onconnectionstatechange = () => one.connectionState === 'connected' && resolve();
  });
  await one.setLocalDescription(await one.createOffer());
  await two.setRemoteDescription(one.localDescription);
  await two.setLocalDescription(await two.createAnswer());
  await one.setRemoteDescription(two.localDescription);
  await connected;
  await window.report('connected');
  await navigator.mediaDevices.getUserMedia({ audio: { deviceId: { exact: 'no such device' } } }).catch(() => {});
  window.calls = [one, two];
  watchRTC.qualityrtc?.run({ options: { run: 'Location' }, progressCallback() {} });
}

/** Runs in the browser after `watchedCall`. */
export async function endOfCall() {
  for (const call of window.calls) call.close();
  await window.watchRTC.setUserRating(4, 'well enough');
}
