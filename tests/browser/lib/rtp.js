// What can be read of a packet on its way, and an account of what passed: written apart from relayd's, which it is held against.
//
// Media is encrypted, its RTP header is not (RFC 3711): version, payload type, sequence number, timestamp and SSRC are plain.

const COOKIE = 0x2112a442;
const SEND_INDICATION = 0x0016;
const DATA_INDICATION = 0x0017;
const DATA = 0x0013;

/** The payload of ChannelData, or of a Send or Data indication (RFC 8656 §11.6, §12.4); null of anything else. */
export function turnPayload(datagram) {
  if (datagram.length < 4) return null;
  if ((datagram[0] & 0xc0) === 0x40) return datagram.subarray(4, 4 + datagram.readUInt16BE(2));
  if (datagram.length < 20 || datagram.readUInt32BE(4) !== COOKIE) return null;
  const type = datagram.readUInt16BE(0);
  if (type !== SEND_INDICATION && type !== DATA_INDICATION) return null;
  for (let at = 20; at + 4 <= datagram.length;) {
    const length = datagram.readUInt16BE(at + 2);
    if (datagram.readUInt16BE(at) === DATA) return datagram.subarray(at + 4, at + 4 + length);
    at += 4 + length + ((4 - (length % 4)) % 4);
  }
  return null;
}

/** `rtp`, `rtcp`, `stun`, `dtls` or `other`, by the first bytes (RFC 7983, RFC 5761 §4). */
export function kindOf(payload) {
  if (payload.length === 0) return 'other';
  const first = payload[0];
  if (first <= 3) return 'stun';
  if (first >= 20 && first <= 63) return 'dtls';
  if (first < 128 || first > 191 || payload.length < 8) return 'other';
  if (payload[1] >= 192 && payload[1] <= 223) return 'rtcp';
  return payload.length >= 12 ? 'rtp' : 'other';
}

/** What the RTP header says, of a payload whose kind is `rtp`. */
export function rtpHeader(payload) {
  return { ssrc: payload.readUInt32BE(8), payloadType: payload[1] & 0x7f, sequence: payload.readUInt16BE(2), timestamp: payload.readUInt32BE(4) };
}

/** All that left in one direction: by kind, and each RTP stream by SSRC. */
export class Account {
  constructor() {
    this.kinds = { rtp: 0, rtcp: 0, stun: 0, dtls: 0, other: 0 };
    this.streams = new Map();
    this.lastRtpAt = -Infinity;
  }

  /** Books a payload that left at `now`, in milliseconds. */
  left(payload, now) {
    const kind = kindOf(payload);
    this.kinds[kind] += 1;
    if (kind !== 'rtp') return;
    this.lastRtpAt = now;
    const header = rtpHeader(payload);
    this.stream(header.ssrc).left(header, now);
  }

  /** Books a payload that was thrown away. */
  dropped(payload) {
    if (kindOf(payload) === 'rtp') this.stream(rtpHeader(payload).ssrc).thrown += 1;
  }

  stream(ssrc) {
    if (!this.streams.has(ssrc)) this.streams.set(ssrc, new Stream(ssrc));
    return this.streams.get(ssrc);
  }

  /** The sums over all streams. What is only seen in a row of packets is counted from a stream's second one on: one alone is no stream. */
  sums() {
    const sums = { packets: 0, thrown: 0, expected: 0, lost: 0, reordered: 0, duplicates: 0 };
    for (const stream of this.streams.values()) {
      sums.packets += stream.packets;
      sums.thrown += stream.thrown;
      if (stream.seen.size < 2) continue;
      for (const name of ['expected', 'lost', 'reordered', 'duplicates']) sums[name] += stream[name];
    }
    return sums;
  }
}

/** One RTP stream as who stands behind the forwarder gets it: RFC 3550 §6.4.1, appendices A.3 and A.8, by remembering every number. */
class Stream {
  constructor(ssrc) {
    Object.assign(this, { ssrc, packets: 0, reordered: 0, duplicates: 0, thrown: 0, payloadTypes: new Set() });
    this.seen = new Set();
    this.first = null;
    this.highest = null;
    // Of each payload type, since two of one stream may have two clocks.
    this.clocks = new Map();
  }

  get expected() {
    return this.first === null ? 0 : this.highest - this.first + 1;
  }

  get lost() {
    return this.expected - this.seen.size;
  }

  left({ sequence, payloadType, timestamp }, now) {
    this.packets += 1;
    this.payloadTypes.add(payloadType);
    this.passed(payloadType, timestamp, now);
    if (this.first === null) {
      // Far from 0, so that one from before the first stays positive.
      this.first = sequence + 0x10000;
      this.highest = this.first;
      this.seen.add(this.first);
      return;
    }
    const step = ((sequence - this.highest + 0x8000) & 0xffff) - 0x8000;
    const number = this.highest + step;
    if (this.seen.has(number)) {
      this.duplicates += 1;
      return;
    }
    this.seen.add(number);
    if (step < 0) this.reordered += 1;
    this.first = Math.min(this.first, number);
    this.highest = Math.max(this.highest, number);
  }

  passed(payloadType, timestamp, now) {
    if (!this.clocks.has(payloadType)) this.clocks.set(payloadType, { at: [], timestamps: [] });
    const clock = this.clocks.get(payloadType);
    clock.at.push(now);
    clock.timestamps.push(timestamp);
  }

  /** Interarrival jitter in milliseconds, of the packets that left with this payload type, whose clock runs at `rateHz`; its mean over the last `spanMs`. */
  jitterMs(payloadType, rateHz, spanMs = Infinity) {
    const { at, timestamps } = this.clocks.get(payloadType) ?? { at: [], timestamps: [] };
    let [jitter, sum, count] = [0, 0, 0];
    for (let i = 1; i < at.length; i++) {
      const ticks = (timestamps[i] - timestamps[i - 1]) | 0;
      jitter += (Math.abs(at[i] - at[i - 1] - (ticks * 1000) / rateHz) - jitter) / 16;
      if (at[i] < at.at(-1) - spanMs) continue;
      sum += jitter;
      count += 1;
    }
    return count === 0 ? null : sum / count;
  }
}
