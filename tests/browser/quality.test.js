// The call quality that relayd tells, against a network that is known: real calls through forwarders that lose, delay, jumble and double
// packets on one side of relayd, and count what they do. Three figures are held together: the forwarder's, relayd's, the browser's.
//
// The caller has relay candidates only and reaches relayd through one forwarder (relayd's side `client`); the callee has none and reaches
// the relayed address through another (side `peer`). What the forwarder lets pass is what relayd gets, so counts must be equal. What is
// random is held to the binomial distribution of its count, at bounds that a right server misses in one of 10^9 runs.
import { ADDRESS } from '../vendors/lib/namespace.js';
import assert from 'node:assert/strict';
import http from 'node:http';
import { after, before, describe, test } from 'node:test';
import { launchChromium, launchFirefox } from './lib/browsers.js';
import { authority } from './lib/certs.js';
import { SEED, startForwarder } from './lib/forwarder.js';
import { FAKE_DEVICES, call, hangUp, rateOf, silence, stats } from './lib/lossy-call.js';
import { scratch, until } from './lib/scratch.js';
import { LOGIN, startRelayd } from './lib/subject.js';

const LOSS = 0.05;
/** Each way. */
const DELAY_MS = 60;
/** Packets of sound, 50 a second: relayd's latest figures are of about the last ten seconds. */
const SOUND_PACKETS = 500;
/** relayd's figures of now are of no shorter time. */
const WINDOW_S_MIN = 5;
const CHANCE = 1e-9;

const work = scratch('quality');
const ca = authority(work.dir);
const blank = http.createServer((_, answer) => answer.setHeader('content-type', 'text/html').end('<!doctype html><title>call</title>'));
let server;

before(async () => {
  const turn = ['relay_ports = "61000-65535"'];
  const extra = '[turn.peers]\nallow = ["127.0.0.0/8"]\n';
  server = await startRelayd('quality', { dir: work.dir, ...ca.leaf('relay.test', ['DNS:relay.test', 'DNS:localhost', 'IP:127.0.0.1']), turn, extra });
  await new Promise((resolve) => blank.listen(0, '127.0.0.1', resolve));
});

after(async () => {
  blank.close();
  blank.closeAllConnections();
  await server?.stop();
  work.remove();
});

for (const [name, launch] of [['Chromium', () => launchChromium({ extraFlags: FAKE_DEVICES })], ['Firefox', () => launchFirefox({ ca: ca.ca, offline: true })]]) {
  describe(name, () => {
    let browser;
    before(async () => {
      browser = await launch();
      await browser.open(`http://127.0.0.1:${blank.address().port}/`);
    });
    after(() => browser?.close());

    test(`${name}: what the client loses on its way to relayd is lost on the client's side alone`, { timeout: 60000 }, async (t) => {
      const seen = await measured(t, browser, { client: { toFar: { loss: LOSS } } });
      lostOn('client', seen);
      assert.throws(() => lostOn('client', swapped(seen)), 'the test would notice the wrong side');
      heardOf(seen.streams, 'client', seen.ends.two);
    });

    test(`${name}: what the peer loses on its way to relayd is lost on the peer's side alone`, { timeout: 60000 }, async (t) => {
      const seen = await measured(t, browser, { peer: { toFar: { loss: LOSS } } });
      lostOn('peer', seen);
      assert.throws(() => lostOn('peer', swapped(seen)), 'the test would notice the wrong side');
      heardOf(seen.streams, 'peer', seen.ends.one);
    });

    test(`${name}: a long way to the client is the client's round trip alone`, { timeout: 60000 }, async (t) => {
      const seen = await measured(t, browser, { client: { toFar: { delayMs: DELAY_MS }, toNear: { delayMs: DELAY_MS } } });
      farOn('client', seen);
      assert.throws(() => farOn('client', swapped(seen)), 'the test would notice the wrong side');
      noLoss(seen);
      // From the caller to the callee and back is both of relayd's ways together. Firefox measures it at the start alone, by checks
      // that were asked again meanwhile.
      const told = [...seen.ends.one.reports, ...seen.ends.two.reports].map(({ roundTripMs }) => roundTripMs);
      if (name === 'Chromium') told.push(seen.ends.one.roundTripMs, seen.ends.two.roundTripMs);
      const known = told.filter((value) => value !== null);
      assert.ok(known.length > 0, 'the browser knows a round trip');
      const relayed = seen.now.client.round_trip_ms + seen.now.peer.round_trip_ms;
      const nearest = Math.min(...known);
      assert.ok(nearest >= 2 * DELAY_MS && Math.abs(nearest - relayed) < DELAY_MS, `${relayed} ms by relayd, ${known.join(', ')} by the browser`);
    });

    // What is below is the same packet for packet, whoever calls.
    if (name !== 'Chromium') return;

    test('a clean call has no loss and nothing out of order, and both round trips are known', { timeout: 60000 }, async (t) => {
      const seen = await measured(t, browser, {});
      noLoss(seen);
      heardOf(seen.streams, 'client', seen.ends.two);
      heardOf(seen.streams, 'peer', seen.ends.one);
      for (const side of ['client', 'peer']) {
        assert.ok(seen.now[side].round_trip_ms !== null && seen.now[side].round_trip_from === 'stun', JSON.stringify(seen.now[side]));
        assert.ok(seen.now[side].bits_per_s > 10000, JSON.stringify(seen.now[side]));
      }
    });

    test('packets out of order and doubled ones are not lost ones', { timeout: 60000 }, async (t) => {
      const seen = await measured(t, browser, {}, { client: { toFar: { reorder: 0.05, duplicate: 0.05 } } });
      const { expected } = seen.client.sums();
      for (const [what, count] of [['reordered', seen.total.client.reordered], ['duplicates', seen.total.client.duplicates]]) {
        // Each packet is chosen by itself, but that none is held while another one of its stream is, and that all of it starts in the call.
        const [least, most] = spread(expected, 0.05);
        assert.ok(count >= least * 0.8 && count <= most, `${count} ${what} of ${expected}`);
        assert.equal(seen.total.peer[what], 0);
      }
      noLoss(seen);
    });

    test('jitter on the way of the peer is the peer\'s alone', { timeout: 60000 }, async (t) => {
      const jitterMs = 60;
      const seen = await measured(t, browser, { peer: { toFar: { jitterMs } } });
      noLoss(seen);
      const sound = (side) => seen.streams.find((stream) => stream.from === side && stream.payload_type === 111);
      const [client, peer] = [sound('client'), sound('peer')];
      const truth = seen.peer.streams.get(peer.ssrc).jitterMs(111, rateOf('audio'), 10000);
      const heard = seen.heard.one.streams.find(({ kind }) => kind === 'audio').jitterMs;
      t.diagnostic(`sound of the peer: ${truth} ms left the forwarder, ${peer.jitter_ms} by relayd, ${heard} by the browser; of the client: ${client.jitter_ms}`);
      // Two even spreads over J differ by J/3 in the mean, with a deviation of J/√18. The mean of 300 of them is within J/10 of that by 7
      // deviations. The browser tells no mean of ten seconds but RFC 3550's running one, of weight 1/16, which leaves 0.18 of the
      // deviation, and a little more since neighbours share a packet: 5 of these are J/4.
      assert.ok(Math.abs(peer.jitter_ms - truth) < jitterMs / 10, `${peer.jitter_ms} ms by relayd, ${truth} ms left the forwarder`);
      assert.ok(Math.abs(peer.jitter_ms - heard) < jitterMs / 10 + jitterMs / 4, `${peer.jitter_ms} ms by relayd, ${heard} by the browser`);
      assert.ok(client.jitter_ms < peer.jitter_ms, `${client.jitter_ms} ms of the client`);
    });

    test('what is lost behind relayd, on the way to the client, is not blamed on the peer', { timeout: 60000 }, async (t) => {
      const seen = await measured(t, browser, { client: { toNear: { loss: LOSS } } });
      noLoss(seen);
      const missed = seen.ends.one.streams.reduce((sum, { lost }) => sum + lost, 0);
      assert.ok(missed > 0, 'the caller missed packets');
    });

    test('of a call between two clients each allocation tells its own sides', { timeout: 60000 }, async (t) => {
      const seen = await measuredPair(t, browser, { toFar: { loss: LOSS } });
      // What the caller lost before relayd is what comes in short from the callee's peer.
      assertCounts(seen.caller.total.client, seen.callerSums);
      assertCounts(seen.callee.total.peer, seen.callerSums);
      assertCounts(seen.callee.total.client, seen.calleeSums);
      assertCounts(seen.caller.total.peer, seen.calleeSums);
      assert.ok(seen.callerSums.lost > 0 && seen.calleeSums.lost === 0, JSON.stringify(seen));
    });
  });
}

/** Loss on this side: exactly what the forwarder threw away, as much now as it should be, and nothing on the other side. */
function lostOn(side, seen) {
  const other = side === 'client' ? 'peer' : 'client';
  const sums = seen[side].sums();
  const [least, most] = spread(sums.packets + sums.thrown, LOSS);
  assert.ok(sums.thrown >= least && sums.thrown <= most, `the forwarder threw away ${sums.thrown} of ${sums.packets + sums.thrown}`);
  assertCounts(seen.total[side], sums);
  assertCounts(seen.total[other], seen[other].sums());
  assert.equal(seen.total[other].lost, 0);
  assert.equal(seen.now[other].loss_ratio, 0);
  const { loss_ratio: ratio, packets_per_s: rate } = seen.now[side];
  const window = Math.floor(rate * WINDOW_S_MIN);
  const [fewest, mostOf] = spread(window, LOSS);
  assert.ok(ratio >= fewest / window && ratio <= mostOf / window, `${ratio} of about ${window} packets`);
  assert.deepEqual([seen.now.trouble_side, seen.now.trouble_cause], [side, 'loss'], JSON.stringify(seen.now));
  assert.ok(seen.history[side].loss_ratio.some((value) => value > 0), JSON.stringify(seen.history));
  assert.ok(seen.history[other].loss_ratio.every((value) => value === null || value === 0), JSON.stringify(seen.history));
}

/** A round trip of no less than what the forwarder delays, and less than half of it on the other side. */
function farOn(side, seen) {
  const other = side === 'client' ? 'peer' : 'client';
  const [far, near] = [seen.now[side].round_trip_ms, seen.now[other].round_trip_ms];
  assert.ok(far >= 2 * DELAY_MS && far < 3 * DELAY_MS, `${far} ms on the side ${side}, ${near} on the other`);
  assert.ok(near !== null && near < DELAY_MS, `${near} ms on the side ${other}`);
}

function noLoss(seen) {
  for (const side of ['client', 'peer']) {
    assertCounts(seen.total[side], seen[side].sums());
    assert.equal(seen.total[side].lost, 0, side);
    assert.equal(seen.now[side].loss_ratio, 0, side);
  }
}

/** What relayd counts is what left the forwarder. */
function assertCounts(side, { packets, expected, lost, reordered, duplicates }) {
  const { expected: ofAll, lost: missing, reordered: late, duplicates: doubled } = side;
  assert.deepEqual({ packets: side.packets.rtp, expected: ofAll, lost: missing, reordered: late, duplicates: doubled }, { packets, expected, lost, reordered, duplicates });
}

/**
 * What the other end of these streams says by getStats. It stands behind relayd, so it misses what relayd misses; a starved machine may
 * lose a little more for it. Its count of packets says nothing: Chromium's has what came again in another stream.
 */
function heardOf(streams, from, end) {
  for (const { ssrc, kind, lost, packets } of end.streams) {
    const stream = streams.find((one) => one.from === from && one.ssrc === ssrc);
    assert.ok(stream, `relayd knows the ${kind} ${ssrc} from the ${from}: ${JSON.stringify(streams)}`);
    assert.ok(lost >= stream.lost && lost <= stream.lost + 3 + packets / 100, `${kind}: ${lost} lost by the browser, ${stream.lost} by relayd`);
    assert.equal(stream.clock_rate_hz ?? rateOf(kind), rateOf(kind), kind);
  }
  assert.equal(end.streams.length, 2);
}

/** Calls through both forwarders, which treat packets as told, from the start or in the call, and gives every figure of it. */
async function measured(t, browser, manners, later = null) {
  t.diagnostic(`seed ${SEED}`);
  const client = await startForwarder({ far: server.udp, framed: true, seed: SEED });
  const peer = await startForwarder({ near: ADDRESS, seed: SEED + 1 });
  client.impair(manners.client ?? {});
  peer.impair(manners.peer ?? {});
  try {
    let relayed;
    await call(browser, {
      caller: relayOnly(client),
      callee: {},
      rewrite: {
        offer(candidates) {
          relayed = candidates.find(({ type }) => type === 'relay').port;
          peer.setFar(relayed);
          return [{ address: ADDRESS, port: peer.port, type: 'host' }];
        },
        async answer(candidates) {
          const host = candidates.find(({ protocol, address, type }) => protocol === 'udp' && address === ADDRESS && type === 'host');
          return [{ address: '127.0.0.1', port: await peer.only(host), type: 'host' }];
        },
      },
    });
    if (later) {
      client.impair(later.client ?? {});
      peer.impair(later.peer ?? {});
    }
    const during = await enough(browser, relayed);
    const heard = await stats(browser);
    const total = await settled(browser, relayed, [client, peer]);
    const seen = {
      now: during, total, streams: total.streams, history: total.history, client: client.toFar, peer: peer.toFar,
      heard, ends: await stats(browser),
    };
    t.diagnostic(JSON.stringify({ now: { client: during.client, peer: during.peer }, total: { client: total.client, peer: total.peer } }));
    return seen;
  } finally {
    await hangUp(browser);
    await client.close();
    await peer.close();
  }
}

/** The same with relay candidates on both sides: the caller's forwarder treats packets as told. */
async function measuredPair(t, browser, manner) {
  t.diagnostic(`seed ${SEED}`);
  const forwarders = [await startForwarder({ far: server.udp, framed: true, seed: SEED }), await startForwarder({ far: server.udp, framed: true, seed: SEED + 1 })];
  const [caller, callee] = forwarders;
  caller.impair(manner);
  try {
    const relayed = [];
    // A browser has an allocation for each of its addresses, and may change between them: all but the first are cut off.
    const first = (forwarder) => async (candidates) => {
      const candidate = candidates.find(({ type }) => type === 'relay');
      relayed.push(candidate.port);
      const { client } = await allocation(candidate.port);
      await forwarder.keep(Number(client.slice(client.lastIndexOf(':') + 1)));
      return [candidate];
    };
    await call(browser, { caller: relayOnly(caller), callee: relayOnly(callee), rewrite: { offer: first(caller), answer: first(callee) } });
    await enough(browser, relayed[0]);
    const totals = [await settled(browser, relayed[0], forwarders), await quality(relayed[1])];
    return { caller: { total: totals[0] }, callee: { total: totals[1] }, callerSums: caller.toFar.sums(), calleeSums: callee.toFar.sums() };
  } finally {
    await hangUp(browser);
    for (const forwarder of forwarders) await forwarder.close();
  }
}

const relayOnly = (forwarder) => ({ iceServers: [{ urls: `turn:127.0.0.1:${forwarder.port}?transport=udp`, ...LOGIN }], iceTransportPolicy: 'relay' });

/** relayd's figures while media still flows, after so much sound both ways, and with both round trips known. */
async function enough(browser, relayed) {
  await until('enough sound', async () => {
    const ends = Object.values(await stats(browser));
    return ends.every(({ streams }) => streams.some(({ kind, packets, lost }) => kind === 'audio' && packets + lost >= SOUND_PACKETS));
  }, 30000);
  return until('both round trips', async () => {
    const now = await quality(relayed);
    return now.client.round_trip_ms !== null && now.peer.round_trip_ms !== null ? now : null;
  });
}

/** relayd's figures after the last packet. */
async function settled(browser, relayed, forwarders) {
  await silence(browser);
  await until('silence', () => forwarders.every((forwarder) => forwarder.isQuiet(300)));
  return quality(relayed);
}

/** `quality` of the allocation with this relayed port. */
async function quality(relayed) {
  const found = await allocation(relayed);
  return (await asked(`/allocations/${found.id}`)).allocation.quality;
}

async function allocation(relayed) {
  const { allocations } = await asked('/allocations');
  const found = allocations.find((one) => one.relayed.includes(`127.0.0.1:${relayed}`));
  assert.ok(found, `the allocation of port ${relayed}`);
  return found;
}

async function asked(path) {
  const answer = await fetch(`http://${server.admin}${path}`);
  assert.equal(answer.status, 200, path);
  return answer.json();
}

/** What it would be if relayd took one side for the other. */
function swapped(seen) {
  const swap = (both) => ({ ...both, client: both.peer, peer: both.client });
  return { ...seen, now: swap(seen.now), total: swap(seen.total), history: swap(seen.history) };
}

/** The least and the most of so many that are taken each with this probability, but for a chance of 10^-9 on either end. */
function spread(count, probability) {
  let term = (1 - probability) ** count;
  let [sum, least, most] = [0, null, count];
  for (let taken = 0; taken <= count; taken++) {
    sum += term;
    if (least === null && sum > CHANCE) least = taken;
    if (1 - sum < CHANCE) {
      most = taken;
      break;
    }
    term *= ((count - taken) / (taken + 1)) * (probability / (1 - probability));
  }
  return [least, most];
}
