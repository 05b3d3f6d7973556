// The forwarder that the call tests put in the way: what it says it did is what it did.
import assert from 'node:assert/strict';
import dgram from 'node:dgram';
import { after, test } from 'node:test';
import { SEED, startForwarder } from './lib/forwarder.js';
import { Account, kindOf, turnPayload } from './lib/rtp.js';
import { until } from './lib/scratch.js';

const open = [];
after(() => Promise.all(open.map((one) => one.close())));

test('loss is what it throws away, as often as asked', async (t) => {
  t.diagnostic(`seed ${SEED}`);
  const [sent, p] = [2000, 0.05];
  const { forwarder, got } = await pass(sent, { loss: p });
  const { thrown, lost, packets, reordered, duplicates } = forwarder.toFar.sums();
  assert.equal(packets + thrown, sent);
  assert.equal(got.length, packets);
  assert.deepEqual([reordered, duplicates], [0, 0]);
  // The last packets may be among the lost, and then nobody behind can know.
  assert.ok(lost <= thrown && lost >= thrown - 10, `${lost} gaps, ${thrown} thrown away`);
  // A binomial count lies further off than 5.5 standard deviations in 4 of 10^8 runs.
  assert.ok(Math.abs(thrown - sent * p) < 5.5 * Math.sqrt(sent * p * (1 - p)), `${thrown} of ${sent}`);
});

test('packets out of order and doubled ones are told from lost ones', async () => {
  const { forwarder, got } = await pass(1000, { reorder: 0.1, duplicate: 0.1 });
  const { lost, reordered, duplicates, expected } = forwarder.toFar.sums();
  assert.equal(lost, 0);
  assert.equal(expected, 1000);
  assert.equal(got.length, 1000 + duplicates);
  assert.ok(reordered > 40 && duplicates > 40, `${reordered} out of order, ${duplicates} doubled`);
  const numbers = got.map(({ sequence }) => sequence);
  assert.equal(numbers.filter((number, at) => number < Math.max(...numbers.slice(0, at)) && !numbers.slice(0, at).includes(number)).length, reordered);
});

test('nothing leaves before its delay, and jitter keeps the order', async () => {
  const { got } = await pass(200, { delayMs: 30, jitterMs: 20 });
  assert.deepEqual(got.map(({ sequence }) => sequence), [...Array(200).keys()]);
  for (const { sequence, at, sentAt } of got) assert.ok(at - sentAt >= 30, `packet ${sequence} took ${at - sentAt} ms`);
});

test('payloads are found in TURN messages and told apart', () => {
  assert.deepEqual([...turnPayload(Buffer.from([0x40, 0, 0, 2, 9, 8, 0, 0]))], [9, 8]);
  const indication = Buffer.from('0016001c2112a442000000000000000000000000' + '00120008000121125e12a443' + '00130002abcd0000' + '8022000400000000', 'hex');
  assert.deepEqual([...turnPayload(indication)], [0xab, 0xcd]);
  assert.equal(turnPayload(Buffer.from('000100002112a442000000000000000000000000', 'hex')), null);
  const kinds = [[0, 'stun'], [20, 'dtls'], [63, 'dtls'], [0x40, 'other'], [0x80, 'rtp'], [0xbf, 'rtp'], [0xc0, 'other']];
  for (const [first, kind] of kinds) assert.equal(kindOf(Buffer.alloc(20, 0).fill(first, 0, 1)), kind, `first byte ${first}`);
  assert.equal(kindOf(Buffer.from([0x80, 200, 0, 1, 0, 0, 0, 0])), 'rtcp');
});

test('sequence numbers that wrap, and jitter by the clock rate', () => {
  const account = new Account();
  // 20 ms apart by their timestamps; every second one is 10 ms late.
  for (let i = 0; i < 400; i++) account.left(rtp((65400 + i) & 0xffff, i * 960), i * 20 + (i % 2) * 10);
  const stream = account.streams.get(7);
  assert.deepEqual([stream.expected, stream.lost, stream.reordered], [400, 0, 0]);
  const jitter = stream.jitterMs(111, 48000, 2000);
  assert.ok(Math.abs(jitter - 10) < 0.01, `${jitter} ms`);
});

/** Sends so many packets through a forwarder; gives it, and what arrived with times. */
async function pass(count, manner) {
  const far = await bound();
  const near = await bound();
  const forwarder = await startForwarder({ far: far.address().port, seed: SEED });
  open.push(far, near, forwarder);
  forwarder.impair({ toFar: manner });
  const got = [];
  const sentAt = [];
  far.on('message', (packet) => got.push({ sequence: packet.readUInt16BE(2), at: performance.now(), sentAt: sentAt[packet.readUInt16BE(2)] }));
  for (let sequence = 0; sequence < count; sequence++) {
    sentAt.push(performance.now());
    near.send(rtp(sequence, sequence * 960), forwarder.port, '127.0.0.1');
    // No faster than it is read.
    if (sequence % 50 === 49) await until('what was sent', () => booked(forwarder) > sequence - 500);
  }
  await until('all of it', () => booked(forwarder) === count && forwarder.isQuiet(0));
  await until('its arrival', () => got.length === forwarder.toFar.sums().packets);
  return { forwarder, got };
}

/** What it has decided on. */
function booked(forwarder) {
  const { packets, duplicates, thrown } = forwarder.toFar.sums();
  return packets - duplicates + thrown;
}

function rtp(sequence, timestamp) {
  const packet = Buffer.alloc(60);
  packet.set([0x80, 111]);
  packet.writeUInt16BE(sequence, 2);
  packet.writeUInt32BE(timestamp >>> 0, 4);
  packet.writeUInt32BE(7, 8);
  return packet;
}

async function bound() {
  const made = dgram.createSocket({ type: 'udp4', recvBufferSize: 4 << 20 });
  await new Promise((resolve) => made.bind(0, '127.0.0.1', resolve));
  return made;
}
