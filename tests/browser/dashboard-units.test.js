// The dashboard's numbers and axes, without a browser.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { age, bits, bytes, count, digits, duration, milliseconds, percent, shown } from '../../src/admin/dashboard/js/format.mjs';
import { History, Live, POINTS_MAX } from '../../src/admin/dashboard/js/samples.mjs';
import { nearestPoint, niceStep, plotStart, pointEnd, pointPlace, timeTicks, valueAxis } from '../../src/admin/dashboard/js/scale.mjs';

const plain = (text) => text.replaceAll('\u00a0', ' ');

test('numbers have two digits that matter, and their unit', () => {
  assert.deepEqual([0, 0.004, 0.5, 1.25, 9.96, 42.4, 1234].map(digits), ['0', '<0.01', '0.5', '1.3', '10', '42', '1,234']);
  assert.deepEqual([percent(0.0123), milliseconds(41.2), bits(2.5e6), bytes(48e6), count(10000)].map(plain), ['1.2 %', '41 ms', '2.5 Mbit/s', '48 MB', '10,000']);
  assert.deepEqual([shown('rate', 3), shown('rate', 4100), shown('packets', 3100)].map(plain), ['3/s', '4.1k/s', '3.1k packets/s']);
  assert.deepEqual([45, 125, 7500, 270000].map(duration).map(plain), ['45 s', '2 min 5 s', '2 h 5 min', '3 d 3 h']);
  assert.deepEqual([125, 2645].map(age).map(plain), ['2 min 5 s', '44 min']);
});

test('what was not measured is a dash and never a zero', () => {
  for (const text of [percent(null), bits(undefined), milliseconds(NaN), count(null), duration(null), shown('count', null)]) assert.equal(text, '–');
  assert.equal(plain(percent(0)), '0 %');
});

test('axes begin at 0, end at or above the highest value, and have round ticks', () => {
  for (const kind of ['bits', 'ms', 'ratio', 'count', 'bytes', 'rate', 'cores']) {
    for (const highest of [0, 0.003, 0.7, 1, 3.3, 47, 99.9, 12345, 8.1e7, 4.4e12]) {
      const axis = valueAxis(kind, highest);
      assert.equal(axis.ticks[0].at, 0);
      assert.ok(axis.top >= highest * (1 - 1e-9), `${kind} ${highest}: ${axis.top}`);
      assert.ok(axis.ticks.length >= 2 && axis.ticks.length <= 7, `${kind} ${highest}: ${axis.ticks.length} ticks`);
      assert.equal(new Set(axis.ticks.map(({ label }) => label)).size, axis.ticks.length, `${kind} ${highest}: labels differ`);
    }
  }
  assert.deepEqual(valueAxis('bits', 9e6).ticks.map(({ label }) => label), ['0', '5', '10']);
  assert.equal(valueAxis('bits', 9e6).unit, 'Mbit/s');
  assert.deepEqual([0.9, 1.1, 3, 7].map(niceStep), [1, 2, 5, 10]);
});

test('times are round by the wall clock of the reader', () => {
  const { step, ticks } = timeTicks(1000, 4600, 6, 3600);
  assert.equal(step, 600);
  assert.ok(ticks.every((at) => (at + 3600) % 600 === 0 && at >= 1000 && at <= 4600));
  assert.ok(timeTicks(0, 86400, 5).ticks.length <= 6);
});

/** An answer of /stats after so many seconds, at 1000 bytes a second by UDP. */
function stats(uptime) {
  const flow = (bytes) => ({ packets: uptime, bytes });
  return {
    time: 1e9 + uptime, uptime_s: uptime, traffic: [{ transport: 'udp', to_peer: flow(uptime * 1000), to_client: flow(0) }], allocations: { udp: 3, tcp: 0, tls: 0 }, drops: { malformed: uptime * 2 },
    turn_requests: [{ method: 'allocate', answer: 'success', count: uptime }, { method: 'allocate', answer: '401', count: uptime }, { method: 'allocate', answer: '486', count: uptime / 2 }],
    proxy: { requests: { '2xx': uptime }, errors: {}, upstreams: [], tunnels: 1, connections: 2 }, quality: null, workers: [], process: { cpu_s: uptime / 4, resident_bytes: 5 }, relay_ports: { used: 3 },
  };
}

test('rates are differences over uptime, errors are not the challenges, and a restart is no negative rate', () => {
  const live = new Live();
  live.add(stats(100));
  assert.equal(live.rate('bits_per_s.udp.to_peer'), null, 'one sample is no rate');
  live.add(stats(110));
  assert.equal(live.rate('bits_per_s.udp.to_peer'), 8000);
  assert.equal(live.rate('turn_errors_per_s'), 0.5);
  assert.equal(live.rate('drops_per_s'), 2);
  live.add(stats(2));
  assert.equal(live.rate('drops_per_s'), null);
});

test('the history moves on by samples, keeps as many points as it may, and is asked for again after a gap', () => {
  const history = new History();
  const live = new Live();
  const names = ['bits_per_s.udp.to_peer', 'allocations.udp', 'proxy_latency_ms.mean'];
  const answer = { span: '1h', step_s: 5, end: 1e9, series: Object.fromEntries(names.map((name) => [name, Array(POINTS_MAX).fill(null)])) };
  assert.equal(history.load({ ...answer, span: '6h' }), false, 'an answer for another span');
  assert.equal(history.load(answer), true);
  for (let uptime = 0; uptime <= 20000; uptime += 2) history.add(live.add(stats(uptime)), 1e9 + uptime);
  assert.equal(history.wanted, false);
  assert.equal(history.count, POINTS_MAX);
  assert.ok(history.end > 1e9 + 19990 && history.end <= 1e9 + 20000);
  assert.equal(history.values('bits_per_s.udp.to_peer').length, POINTS_MAX);
  assert.equal(history.values('bits_per_s.udp.to_peer').at(-1), 8000);
  assert.equal(history.values('allocations.udp').at(-1), 3);
  assert.equal(history.values('proxy_latency_ms.mean').at(-1), null, 'what /stats cannot tell is left out');
  history.add(live.add(stats(20400)), 1e9 + 20400);
  assert.equal(history.wanted, true);
  history.load(answer);
  history.add(live.add(stats(3)), 1e9 + 3);
  history.add(live.add(stats(1)), 1e9 + 9);
  assert.equal(history.wanted, true, 'another process');
});

test('points stand at the ends of their steps, of which the last one may be shorter', () => {
  const whole = { end: 1000, step: 10, count: 5 };
  assert.deepEqual([0, 1, 4].map((index) => pointEnd(whole, index)), [960, 970, 1000]);
  assert.deepEqual([plotStart(whole), pointPlace(whole, 0), pointPlace(whole, 4)], [950, 0.2, 1]);
  const partial = { ...whole, lastStep: 2 };
  assert.deepEqual([0, 3, 4].map((index) => pointEnd(partial, index)), [968, 998, 1000]);
  assert.equal(plotStart(partial), 958);
  for (const points of [whole, partial]) {
    for (let index = 0; index < points.count; index += 1) assert.equal(nearestPoint(points, pointPlace(points, index)), index);
    assert.deepEqual([nearestPoint(points, -1), nearestPoint(points, 2)], [0, 4]);
  }
  assert.deepEqual([plotStart({ end: 9, step: 10, count: 0 }), pointPlace({ end: 9, step: 10, lastStep: 0, count: 1 }, 0)], [9, 1]);
});
