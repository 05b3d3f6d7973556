// A call of two connections in one page, whose descriptions go through the test: so that it can put a forwarder in the way.
import { until } from './scratch.js';

/** What a browser needs to be started with, so that pages get a camera and a microphone that are not there. */
export const FAKE_DEVICES = ['--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream'];

const RATES = { audio: 48000, video: 90000 };

/**
 * Calls. `caller` and `callee` are the configurations of the two connections; `rewrite.offer` and `rewrite.answer` get a description's
 * candidates, `[{address, port, type, protocol}]`, and give those that the other side is told. Resolves when media flows both ways.
 */
export async function call(browser, { caller, callee, rewrite }) {
  const offer = await browser.evaluate(makeOffer, { caller, callee });
  const answer = await browser.evaluate(makeAnswer, { offer: await rewritten(offer, rewrite.offer) });
  await browser.evaluate(takeAnswer, { answer: await rewritten(answer, rewrite.answer) });
  try {
    await until('media both ways', async () => {
      const ends = Object.values(await stats(browser));
      return ends.every(({ streams }) => ['audio', 'video'].every((kind) => streams.some((stream) => stream.kind === kind && stream.packets > 20)));
    }, 20000);
  } catch (error) {
    throw new Error(`${error.message}: ${JSON.stringify(await stats(browser))}\n${offer}\n${answer}`);
  }
}

/**
 * What getStats says at both ends, `{one, two}`: `streams` that it receives, with what the sender of each was told by RTCP, and the
 * round trip times of the checks of the pair in use. Times in milliseconds; what a browser does not tell is null.
 */
export function stats(browser) {
  return browser.evaluate(readStats);
}

/** No more media, both ways; the connections stay. */
export function silence(browser) {
  return browser.evaluate(async () => {
    for (const connection of [window.call.one, window.call.two]) await Promise.all(connection.getSenders().map((sender) => sender.replaceTrack(null)));
  });
}

export function hangUp(browser) {
  return browser.evaluate(() => {
    window.call?.close();
    delete window.call;
  });
}

/** Clock rates by the kind of a stream, as Opus and every video codec have them. */
export const rateOf = (kind) => RATES[kind];

/** The description with the candidates that `choose` makes of its own. */
async function rewritten(description, choose) {
  const lines = description.split('\r\n');
  const found = [];
  for (const line of lines) {
    const words = /^a=candidate:(\S+) 1 (\S+) \d+ (\S+) (\d+) typ (\S+)/.exec(line);
    if (words) found.push({ protocol: words[2].toLowerCase(), address: words[3], port: Number(words[4]), type: words[5] });
  }
  const told = (await choose(found)).map(({ address, port, type }, index) => {
    const related = type === 'relay' ? ' raddr 0.0.0.0 rport 9' : '';
    return `a=candidate:${index + 1} 1 udp ${2130706431 - index} ${address} ${port} typ ${type}${related}`;
  });
  const rest = lines.filter((line) => !/^a=(candidate:|end-of-candidates)/.test(line));
  // Behind the first media line's own: all streams share one transport.
  const at = rest.findIndex((line) => line.startsWith('a=ice-pwd:') && rest.slice(0, rest.indexOf(line)).some((earlier) => earlier.startsWith('m=')));
  return [...rest.slice(0, at + 1), ...told, ...rest.slice(at + 1)].join('\r\n');
}

/** Runs in the browser: makes both connections and their media; gives the offer with all of its candidates. */
async function makeOffer({ caller, callee }) {
  const shared = { bundlePolicy: 'max-bundle' };
  const one = new RTCPeerConnection({ ...shared, ...caller });
  const two = new RTCPeerConnection({ ...shared, ...callee });
  // A canvas is drawn when the page comes to it: jitter that is in no network. Chromium's fake devices are a flag, Firefox's this word.
  const media = await navigator.mediaDevices.getUserMedia({ audio: true, video: { width: 320, height: 240, frameRate: 25 }, fake: true });
  const sinks = [];
  for (const connection of [one, two]) {
    connection.ontrack = ({ track }) => {
      const sink = Object.assign(document.createElement(track.kind), { muted: true, srcObject: new MediaStream([track]) });
      sinks.push(sink);
      sink.play().catch(() => {});
    };
  }
  const close = () => {
    one.close();
    two.close();
    for (const track of media.getTracks()) track.stop();
    for (const sink of sinks) sink.srcObject = null;
  };
  const send = (connection) => media.getTracks().forEach((track) => connection.addTrack(track.clone(), media));
  const gathered = async (connection) => {
    const until = performance.now() + 10000;
    while (connection.iceGatheringState !== 'complete' && performance.now() < until) await new Promise((resolve) => setTimeout(resolve, 20));
    return connection.localDescription.sdp;
  };
  window.call = { one, two, send, gathered, close };
  send(one);
  await one.setLocalDescription(await one.createOffer());
  return gathered(one);
}

/** Runs in the browser. */
async function makeAnswer({ offer }) {
  const { two, send, gathered } = window.call;
  await two.setRemoteDescription({ type: 'offer', sdp: offer });
  send(two);
  await two.setLocalDescription(await two.createAnswer());
  return gathered(two);
}

/** Runs in the browser. */
async function takeAnswer({ answer }) {
  await window.call.one.setRemoteDescription({ type: 'answer', sdp: answer });
}

/** Runs in the browser. */
async function readStats() {
  const ms = (seconds) => (typeof seconds === 'number' ? seconds * 1000 : null);
  const read = async (connection) => {
    const entries = [...(await connection.getStats()).values()];
    const streams = [];
    const reports = [];
    const roundTrips = [];
    for (const entry of entries) {
      if (entry.type === 'inbound-rtp') {
        streams.push({ kind: entry.kind, ssrc: entry.ssrc, packets: entry.packetsReceived, lost: entry.packetsLost, jitterMs: ms(entry.jitter) });
      }
      if (entry.type === 'remote-inbound-rtp') {
        reports.push({ kind: entry.kind, ssrc: entry.ssrc, lost: entry.packetsLost ?? null, lossRatio: entry.fractionLost ?? null, jitterMs: ms(entry.jitter), roundTripMs: ms(entry.roundTripTime) });
      }
      if (entry.type === 'candidate-pair' && entry.nominated) roundTrips.push(ms(entry.currentRoundTripTime));
    }
    return { streams, reports, roundTripMs: roundTrips.find((value) => value !== null) ?? null, state: connection.iceConnectionState };
  };
  return { one: await read(window.call.one), two: await read(window.call.two) };
}
