// Axes: round numbers that people expect at the ticks. Pure.
import { KINDS, count, prefixFor } from './format.mjs';

const TIME_STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 14400, 21600, 43200, 86400];

/** 1, 2 or 5 times a power of ten, at least `least`. */
export function niceStep(least) {
  const power = 10 ** Math.floor(Math.log10(least));
  const factor = [1, 2, 5].find((candidate) => candidate * power >= least * (1 - 1e-9)) ?? 10;
  return factor * power;
}

/** From 0 to the first tick at or above `highest`: `{top, ticks: [{at, label}], unit}`, `top` and `at` in the values' own unit. */
export function valueAxis(kind, highest, wanted = 4) {
  const { unit, factor = 1, si, whole, least } = KINDS[kind];
  const high = Math.max(highest * factor, least);
  const [scale, prefix] = si ? prefixFor(high) : [1, ''];
  const step = Math.max(whole ? 1 : 0, niceStep(high / scale / wanted));
  const steps = Math.ceil(high / scale / step - 1e-9);
  const decimals = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  const ticks = Array.from({ length: steps + 1 }, (_, index) => ({ at: index * step * scale / factor, label: whole ? count(index * step) : (index * step).toFixed(decimals) }));
  return { top: ticks[steps].at, ticks, unit: (prefix + unit).trim() };
}

/** Moments between `start` and `end` (unix seconds) that are round by the wall clock; `zone` is the offset in seconds to add to UTC. */
export function timeTicks(start, end, wanted, zone = 0) {
  const span = end - start;
  const step = TIME_STEPS.find((candidate) => span / candidate <= wanted) ?? TIME_STEPS.at(-1);
  const ticks = [];
  for (let at = Math.ceil((start + zone) / step) * step - zone; at <= end; at += step) ticks.push(at);
  return { step, ticks };
}

// ---- points: `count` steps of `step` seconds, of which the last one ends at `end` and may be shorter: `lastStep` ----

/** The moment at which a point's step ends. */
export function pointEnd({ end, step, lastStep = step, count }, index) {
  return index >= count - 1 ? end : end - lastStep - (count - 2 - index) * step;
}

/** The moment at which the first point's step begins. */
export const plotStart = (points) => pointEnd(points, -1);

/** Where a point is between the start, 0, and the end, 1. */
export function pointPlace(points, index) {
  const start = plotStart(points);
  return points.end > start ? (pointEnd(points, index) - start) / (points.end - start) : 1;
}

/** The point that is nearest to a place. */
export function nearestPoint(points, place) {
  const { end, step, count } = points;
  const start = plotStart(points);
  const moment = start + place * (end - start);
  const index = Math.max(0, Math.min(count - 1, Math.round((moment - start) / step) - 1));
  return end - moment < Math.abs(pointEnd(points, index) - moment) ? count - 1 : index;
}
