// A whole call inside one page, written apart from the built-in page: it judges the server by a different caller.

/**
 * Runs in the browser: two connections with relay candidates only, a data channel that echoes `payloads`, and a canvas as video.
 * Gives what getStats says, or `{failed, errors}`.
 */
export async function callInPage({ urls, username, credential, payloads, frames, waitMs }) {
  const configuration = { iceServers: [{ urls, username, credential }], iceTransportPolicy: 'relay' };
  const one = new RTCPeerConnection(configuration);
  const two = new RTCPeerConnection(configuration);
  const errors = [];
  const candidates = [];
  const deadline = performance.now() + waitMs;
  const failed = (why) => ({ failed: why, errors, candidates, state: one.iceConnectionState });
  const poll = async (test) => {
    while (performance.now() < deadline) {
      const value = await test();
      if (value) return value;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    return null;
  };
  try {
    for (const [from, to] of [[one, two], [two, one]]) {
      from.onicecandidate = ({ candidate }) => {
        if (!candidate || !candidate.candidate) return;
        candidates.push(candidate.candidate);
        to.addIceCandidate(candidate);
      };
      from.onicecandidateerror = (event) => errors.push(`${event.errorCode} ${event.errorText}`);
    }
    const canvas = Object.assign(document.createElement('canvas'), { width: 640, height: 360 });
    const pen = canvas.getContext('2d');
    let drawn = 0;
    const timer = setInterval(() => {
      drawn += 1;
      pen.fillStyle = `rgb(${drawn % 256} ${(drawn * 5) % 256} 90)`;
      pen.fillRect(0, 0, 640, 360);
    }, 33);
    const media = canvas.captureStream(30);
    for (const track of media.getTracks()) one.addTrack(track, media);
    const video = Object.assign(document.createElement('video'), { muted: true });
    two.ontrack = ({ streams }) => { video.srcObject = streams[0]; video.play().catch(() => {}); };
    two.ondatachannel = ({ channel }) => {
      channel.binaryType = 'arraybuffer';
      channel.onmessage = ({ data }) => channel.send(data);
    };
    const channel = one.createDataChannel('data');
    channel.binaryType = 'arraybuffer';
    const echoed = [];
    channel.onmessage = ({ data }) => echoed.push(new Uint8Array(data));

    await one.setLocalDescription(await one.createOffer());
    await two.setRemoteDescription(one.localDescription);
    await two.setLocalDescription(await two.createAnswer());
    await one.setRemoteDescription(two.localDescription);
    if (!await poll(() => channel.readyState === 'open')) return failed('the data channel did not open');

    for (const [index, size] of payloads.entries()) {
      channel.send(Uint8Array.from({ length: size }, (_, at) => (at * 31 + index) & 0xff));
    }
    if (!await poll(() => echoed.length === payloads.length)) return failed(`${echoed.length} of ${payloads.length} payloads came back`);
    const intact = echoed.every((bytes, index) => bytes.length === payloads[index] && bytes.every((byte, at) => byte === ((at * 31 + index) & 0xff)));

    const decoded = async () => {
      for (const entry of (await two.getStats()).values()) if (entry.type === 'inbound-rtp' && entry.framesDecoded >= frames) return entry;
      return null;
    };
    const inbound = await poll(decoded);
    if (!inbound) return failed(`fewer than ${frames} frames were decoded`);
    clearInterval(timer);

    const ends = [];
    for (const connection of [one, two]) {
      const stats = await connection.getStats();
      let pair = null;
      for (const entry of stats.values()) {
        if (entry.type === 'transport' && entry.selectedCandidatePairId) pair = stats.get(entry.selectedCandidatePairId);
        if (entry.type === 'candidate-pair' && entry.selected) pair = entry;
      }
      if (!pair) return failed('no candidate pair is selected');
      // All pairs, since the selected one may have changed on the way.
      let bytesReceived = 0;
      for (const entry of stats.values()) if (entry.type === 'candidate-pair') bytesReceived += entry.bytesReceived || 0;
      const local = stats.get(pair.localCandidateId);
      const remote = stats.get(pair.remoteCandidateId);
      ends.push({
        local: local.candidateType, remote: remote.candidateType, relayProtocol: local.relayProtocol, address: local.address,
        bytesReceived,
      });
    }
    return { intact, echoed: echoed.length, packets: inbound.packetsReceived, lost: inbound.packetsLost, frames: inbound.framesDecoded, ends, errors, candidates };
  } finally {
    one.close();
    two.close();
  }
}

/** Runs in the browser: a relay-only call with a canvas as video that goes on until the page closes; resolves when frames are decoded. */
export async function holdCallInPage({ urls, username, credential, waitMs }) {
  const configuration = { iceServers: [{ urls, username, credential }], iceTransportPolicy: 'relay' };
  const [one, two] = [new RTCPeerConnection(configuration), new RTCPeerConnection(configuration)];
  for (const [from, to] of [[one, two], [two, one]]) from.onicecandidate = ({ candidate }) => { if (candidate?.candidate) to.addIceCandidate(candidate); };
  const canvas = Object.assign(document.createElement('canvas'), { width: 320, height: 180 });
  const pen = canvas.getContext('2d');
  let drawn = 0;
  setInterval(() => {
    drawn += 1;
    pen.fillStyle = `rgb(${drawn % 256} ${(drawn * 5) % 256} 90)`;
    pen.fillRect(0, 0, 320, 180);
  }, 33);
  const media = canvas.captureStream(30);
  for (const track of media.getTracks()) one.addTrack(track, media);
  const video = Object.assign(document.createElement('video'), { muted: true });
  two.ontrack = ({ streams }) => { video.srcObject = streams[0]; video.play().catch(() => {}); };
  await one.setLocalDescription(await one.createOffer());
  await two.setRemoteDescription(one.localDescription);
  await two.setLocalDescription(await two.createAnswer());
  await one.setRemoteDescription(two.localDescription);
  const deadline = performance.now() + waitMs;
  while (performance.now() < deadline) {
    for (const entry of (await two.getStats()).values()) if (entry.type === 'inbound-rtp' && entry.framesDecoded > 3) return 'frames';
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return `no frames; ${one.iceConnectionState}`;
}
