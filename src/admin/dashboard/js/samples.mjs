// From /stats to rates, and /history extended by them. Bounded: a window of samples, and as many points as /history has.
import { isNumber } from './format.mjs';

/** Samples that a rate is taken over: calm enough to read, quick enough to see. */
const WINDOW = 4;
/** More steps than these without a sample: the history is asked for again. */
const GAP_STEPS = 6;
export const POINTS_MAX = 720;
const POINTS_LEAST = 60;
export const SPANS = ['1h', '6h', '24h'];
const SAMPLED_TRANSPORTS = ['udp', 'tcp', 'tls'];

/** 401 and 438 are what every client gets on its way. */
const NO_ERRORS = new Set(['success', '401', '438']);

const sum = (counts) => Object.values(counts ?? {}).reduce((total, value) => total + (isNumber(value) ? value : 0), 0);

/** Counters and gauges of an answer of /stats by flat names; what /history has goes by its names. */
export function flatten(stats) {
  const counters = new Map();
  const gauges = new Map();
  for (const { transport, ...ways } of stats.traffic) {
    for (const way of ['to_peer', 'to_client']) {
      counters.set(`bits_per_s.${transport}.${way}`, ways[way].bytes * 8);
      counters.set(`packets_per_s.${transport}.${way}`, ways[way].packets);
    }
  }
  for (const transport of SAMPLED_TRANSPORTS) gauges.set(`allocations.${transport}`, stats.allocations[transport]);
  for (const [reason, value] of Object.entries(stats.drops)) counters.set(`drop.${reason}`, value);
  counters.set('drops_per_s', sum(stats.drops));
  let [requests, errors] = [0, 0];
  for (const { method, answer, count } of stats.turn_requests) {
    counters.set(`turn.${method}.${answer}`, count);
    requests += count;
    if (!NO_ERRORS.has(answer)) errors += count;
  }
  counters.set('turn_requests_per_s', requests);
  counters.set('turn_errors_per_s', errors);
  flattenProxy(stats.proxy, counters, gauges);
  for (const side of ['client', 'peer']) {
    for (const what of ['loss_ratio', 'jitter_ms', 'round_trip_ms']) gauges.set(`${what}.${side}`, stats.quality?.[side]?.[what] ?? null);
  }
  for (const worker of stats.workers) {
    counters.set(`worker.${worker.worker}.packets`, worker.packets);
    counters.set(`worker.${worker.worker}.bits`, worker.bytes * 8);
    counters.set(`worker.${worker.worker}.cpu`, worker.cpu_s);
  }
  counters.set('cpu_cores', stats.process.cpu_s);
  gauges.set('resident_bytes', stats.process.resident_bytes);
  gauges.set('relay_ports_used', stats.relay_ports.used);
  return { uptime: stats.uptime_s, counters, gauges };
}

function flattenProxy(proxy, counters, gauges) {
  counters.set('proxy_requests_per_s', sum(proxy.requests));
  counters.set('proxy_errors_per_s', sum(proxy.errors));
  for (const upstream of proxy.upstreams) counters.set(`upstream.${upstream.host}`, sum(upstream.requests));
  gauges.set('tunnels', proxy.tunnels);
  gauges.set('connections', proxy.connections);
}

function between(former, latter, name) {
  const [from, to] = [former.counters.get(name) ?? 0, latter.counters.get(name)];
  const elapsed = latter.uptime - former.uptime;
  // A counter that went back is another process's.
  return isNumber(to) && isNumber(from) && elapsed > 0 && to >= from ? (to - from) / elapsed : null;
}

/** The last samples, and rates between them. */
export class Live {
  #samples = [];

  add(stats) {
    const sample = flatten(stats);
    const last = this.#samples.at(-1);
    if (last && sample.uptime < last.uptime) this.#samples = [];
    this.#samples.push(sample);
    if (this.#samples.length > WINDOW) this.#samples.shift();
    return sample;
  }

  /** Per second over the window; null before there are two samples. */
  rate(name) {
    const [first, last] = [this.#samples[0], this.#samples.at(-1)];
    return this.#samples.length < 2 ? null : between(first, last, name);
  }

  sum(...names) {
    const rates = names.map((name) => this.rate(name));
    return rates.some(isNumber) ? rates.reduce((total, rate) => total + (rate ?? 0), 0) : null;
  }
}

/** One span of /history, moved on by samples. */
export class History {
  span = SPANS[0];
  step = 5;
  end = null;
  series = new Map();
  #last = null;
  #wanted = true;

  /** Another span: its points have to be asked for. */
  choose(span) {
    this.span = span;
    this.#wanted = true;
  }

  get wanted() {
    return this.#wanted;
  }

  want() {
    this.#wanted = true;
  }

  /** Takes an answer of /history; one of a span that is no longer asked for is thrown away. */
  load(answer) {
    if (answer.span !== this.span) return false;
    this.step = answer.step_s;
    this.end = answer.end;
    this.series = new Map(Object.entries(answer.series).map(([name, values]) => [name, values.slice(-POINTS_MAX)]));
    this.#wanted = false;
    this.#last = null;
    return true;
  }

  /** Moves on by a sample taken at `time`; tells whether there are other points. */
  add(sample, time) {
    if (this.end === null || this.#wanted) return false;
    const last = this.#last;
    this.#last ??= sample;
    const steps = Math.floor((time - this.end) / this.step);
    if (steps < 1) return false;
    if (steps > GAP_STEPS || (last && sample.uptime < last.uptime)) {
      this.#wanted = true;
      return false;
    }
    for (const [name, values] of this.series) {
      const value = sample.counters.has(name) ? last && between(last, sample, name) : sample.gauges.get(name);
      for (let step = 0; step < steps; step += 1) values.push(value ?? null);
      values.splice(0, values.length - Math.min(POINTS_MAX, values.length));
    }
    this.end += steps * this.step;
    this.#last = sample;
    return true;
  }

  get count() {
    return this.series.values().next().value?.length ?? 0;
  }

  values(name) {
    return this.series.get(name) ?? [];
  }

  /** Points from the first one that was measured, and POINTS_LEAST at least: a server that has just started shows more than a blank. */
  get known() {
    let first = this.count;
    for (const values of this.series.values()) {
      const index = values.findIndex(isNumber);
      if (index >= 0) first = Math.min(first, index);
    }
    return Math.min(this.count, Math.max(POINTS_LEAST, this.count - first));
  }
}
