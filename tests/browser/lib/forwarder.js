// A bad network in one process: UDP that passes it is lost, late, out of order or doubled, as a test asks, and each packet is booked.
//
// The near side is whoever sends to `port`; the far side is `far`. Each near party gets a socket of its own towards the far side,
// as behind NAT. `framed`: the near side is a TURN client, so payloads are read out of TURN messages.
import dgram from 'node:dgram';
import { Account, kindOf, rtpHeader, turnPayload } from './rtp.js';

const LOOPBACK = '127.0.0.1';
/** The kernel grants what it may: a browser's burst must not be lost where nobody counts. */
const BUFFER_BYTES = 4 << 20;
/** How long a packet waits to be overtaken; then its stream has ended. */
const HELD_MS = 300;

/** What a direction does to packets: probabilities, and milliseconds. Jitter comes on top of the delay, evenly spread, and keeps the order. */
export const CLEAN = { loss: 0, reorder: 0, duplicate: 0, delayMs: 0, jitterMs: 0 };

/** Starts a forwarder in front of `far`, a port of loopback, which may be told later; it listens on `near`. The directions are `toFar` and `toNear`. */
export async function startForwarder({ far = null, near: address = LOOPBACK, framed = false, seed }) {
  const near = await socket(address);
  const random = mulberry32(seed);
  const payload = framed ? turnPayload : (datagram) => datagram;
  const directions = { toFar: new Direction(random, payload), toNear: new Direction(random, payload) };
  const flows = new Map();
  const parties = new Map();
  let allowed = null;
  let closed = false;

  /** The socket towards the far side of one near party. */
  const flow = async ({ address, port }) => {
    const name = `${address}:${port}`;
    if (flows.has(name)) return flows.get(name);
    const opening = socket();
    flows.set(name, opening);
    parties.set(opening, { address, port });
    const outer = await opening;
    if (closed) outer.close();
    outer.on('message', (datagram, from) => {
      if (from.port === far) directions.toNear.take(datagram, () => send(near, datagram, port, address));
    });
    return outer;
  };
  const send = (from, datagram, port, address) => {
    // A party that has hung up is no fault of the forwarder's.
    if (!closed) from.send(datagram, port, address, () => {});
  };
  near.on('message', async (datagram, from) => {
    if (far === null || (allowed !== null && (from.port !== allowed.port || from.address !== allowed.address))) return;
    const outer = await flow(from);
    directions.toFar.take(datagram, () => send(outer, datagram, far, LOOPBACK));
  });

  return {
    port: near.address().port,
    toFar: directions.toFar.account,
    toNear: directions.toNear.account,
    setFar: (port) => { far = port; },
    /** From now on, only this near party, `{address, port}`, is forwarded; gives the port by which the far side knows it. */
    async only(party) {
      allowed = party;
      return (await flow(party)).address().port;
    },
    /** From now on, only the near party that the far side knows by this port is forwarded. */
    async keep(farSees) {
      for (const [opening, party] of parties) if ((await opening).address().port === farSees) allowed = party;
      if (allowed === null) throw new Error(`nobody is known as port ${farSees}`);
    },
    /** From now on, what passes is treated like this; what is left out is left alone. */
    impair({ toFar = {}, toNear = {} }) {
      directions.toFar.manner = { ...CLEAN, ...toFar };
      directions.toNear.manner = { ...CLEAN, ...toNear };
    },
    /** Nothing waits, and for `ms` no RTP has left. */
    isQuiet: (ms) => Object.values(directions).every((direction) => direction.isQuiet(ms)),
    async close() {
      closed = true;
      for (const direction of Object.values(directions)) direction.stop();
      near.close();
      for (const outer of flows.values()) (await outer).close();
    },
  };
}

/** One direction: decides over each packet, and books what left and what did not. */
class Direction {
  constructor(random, payload) {
    Object.assign(this, { random, payload, manner: CLEAN, account: new Account() });
    this.queue = [];
    this.held = new Map();
    this.timer = null;
    this.lastDue = 0;
  }

  take(datagram, send) {
    const { loss, duplicate, delayMs, jitterMs } = this.manner;
    const payload = this.payload(datagram);
    if (this.random() < loss) {
      if (payload) this.account.dropped(payload);
      return;
    }
    const packet = { payload, send, copies: this.random() < duplicate ? 2 : 1 };
    if (delayMs === 0 && jitterMs === 0 && this.queue.length === 0) {
      this.release(packet);
      return;
    }
    packet.due = Math.max(this.lastDue, performance.now() + delayMs + this.random() * jitterMs);
    this.lastDue = packet.due;
    this.queue.push(packet);
    this.timer ??= setTimeout(() => this.work(), packet.due - performance.now());
  }

  work() {
    this.timer = null;
    while (this.queue.length > 0 && this.queue[0].due <= performance.now()) this.release(this.queue.shift());
    if (this.queue.length > 0) this.timer = setTimeout(() => this.work(), Math.max(1, this.queue[0].due - performance.now()));
  }

  /** Sends it, or holds it back until the next of its stream has left. */
  release(packet) {
    const ssrc = packet.payload && kindOf(packet.payload) === 'rtp' ? rtpHeader(packet.payload).ssrc : null;
    const before = ssrc === null ? undefined : this.held.get(ssrc);
    if (ssrc !== null && !before && this.random() < this.manner.reorder) {
      packet.timer = setTimeout(() => this.let(ssrc), HELD_MS);
      this.held.set(ssrc, packet);
      return;
    }
    this.leave(packet);
    if (before) this.let(ssrc);
  }

  let(ssrc) {
    const packet = this.held.get(ssrc);
    this.held.delete(ssrc);
    clearTimeout(packet.timer);
    this.leave(packet);
  }

  leave(packet) {
    for (let i = 0; i < packet.copies; i++) {
      if (packet.payload) this.account.left(packet.payload, performance.now());
      packet.send();
    }
  }

  isQuiet(ms) {
    return this.queue.length === 0 && this.held.size === 0 && performance.now() - this.account.lastRtpAt > ms;
  }

  stop() {
    clearTimeout(this.timer);
    for (const packet of this.held.values()) clearTimeout(packet.timer);
    this.queue = [];
    this.held.clear();
    this.timer = null;
  }
}

function socket(address = LOOPBACK) {
  return new Promise((resolve, reject) => {
    const made = dgram.createSocket({ type: 'udp4', recvBufferSize: BUFFER_BYTES, sendBufferSize: BUFFER_BYTES });
    made.once('error', reject);
    made.bind(0, address, () => {
      made.off('error', reject);
      made.on('error', () => {});
      resolve(made);
    });
  });
}

/** Numbers from 0 up to 1, the same for the same seed. */
export function mulberry32(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** The seed of this run: CALL_SEED, or a random one. Print it. */
export const SEED = Number(process.env.CALL_SEED ?? Math.floor(Math.random() * 2 ** 32));
