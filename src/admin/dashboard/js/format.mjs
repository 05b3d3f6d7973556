// Numbers as people read them. What could not be measured is a dash, never a zero.

export const NONE = '–';
const PREFIXES = [[1e12, 'T'], [1e9, 'G'], [1e6, 'M'], [1e3, 'k']];
const GROUPED = new Intl.NumberFormat('en-GB', { maximumFractionDigits: 0 });
const TIME = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });
const HOUR = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit' });
const DAY = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short', year: 'numeric' });
const SHORT_DAY = new Intl.DateTimeFormat('en-GB', { weekday: 'short', hour: '2-digit', minute: '2-digit' });

/** What of a value each kind shows: factor to the unit, SI prefixes or not, and the least height of an axis. */
export const KINDS = {
  bits: { unit: 'bit/s', si: true, least: 1000 },
  packets: { unit: '\u00a0packets/s', si: true, least: 10 },
  rate: { unit: '/s', si: true, least: 1 },
  count: { unit: '', whole: true, least: 4 },
  ratio: { unit: '%', factor: 100, least: 1 },
  ms: { unit: 'ms', least: 10 },
  bytes: { unit: 'B', si: true, least: 1e6 },
  cores: { unit: 'cores', least: 0.1 },
};

export const isNumber = (value) => typeof value === 'number' && Number.isFinite(value);

/** Two digits that matter, and whole numbers: 0.12, 3.4, 56, 789, 1,234. */
export function digits(value) {
  const size = Math.abs(value);
  if (size === 0) return '0';
  if (size < 0.01) return '<0.01';
  if (size < 1) return trimmed(value.toFixed(2));
  if (size < 10) return trimmed(value.toFixed(1));
  return GROUPED.format(value);
}

const trimmed = (text) => text.replace(/\.?0+$/, '');

/** The factor and letter for values up to `highest`. */
export function prefixFor(highest) {
  return PREFIXES.find(([factor]) => highest >= factor) ?? [1, ''];
}

/** A value of one of the KINDS with its unit. */
export function shown(kind, value) {
  if (!isNumber(value)) return NONE;
  const { unit, factor = 1, si, whole } = KINDS[kind];
  if (whole) return count(value);
  const [scale, prefix] = si ? prefixFor(Math.abs(value)) : [1, ''];
  const number = digits(value * factor / scale);
  // 3/s, 3k packets/s; 3 ms, 3 Mbit/s.
  return /^[\u00a0/]/.test(unit) ? `${number}${prefix}${unit}` : `${number}\u00a0${prefix}${unit}`;
}

export function count(value) {
  return isNumber(value) ? GROUPED.format(value) : NONE;
}

export const percent = (ratio) => shown('ratio', ratio);
export const milliseconds = (value) => shown('ms', value);
export const bytes = (value) => shown('bytes', value);
export const bits = (value) => shown('bits', value);

/** The two greatest units: 3 d 4 h, 2 h 5 min, 45 s. */
export function duration(seconds) {
  if (!isNumber(seconds)) return NONE;
  const whole = Math.max(0, Math.floor(seconds));
  const parts = [[Math.floor(whole / 86400), 'd'], [Math.floor(whole / 3600) % 24, 'h'], [Math.floor(whole / 60) % 60, 'min'], [whole % 60, 's']];
  const first = parts.findIndex(([amount]) => amount > 0);
  if (first < 0) return '0\u00a0s';
  return parts.slice(first, first + 2).filter(([amount]) => amount > 0).map(([amount, unit]) => `${amount}\u00a0${unit}`).join(' ');
}

/** For columns: the second unit only beside a small first one, 5 min 20 s but 44 min. */
export function age(seconds) {
  const text = duration(seconds);
  return Number.parseInt(text, 10) < 10 ? text : text.split(' ')[0];
}

const at = (format, unix) => (isNumber(unix) ? format.format(new Date(unix * 1000)) : NONE);
export const clock = (unix) => at(TIME, unix);
export const hour = (unix) => at(HOUR, unix);
export const day = (unix) => at(DAY, unix);
export const weekday = (unix) => at(SHORT_DAY, unix);

/** 1 tunnel, 2 tunnels. */
export const counted = (amount, word) => `${count(amount)} ${word}${amount === 1 ? '' : 's'}`;

/** A label of the server's as words: no_permission becomes "no permission". */
export const words = (label) => String(label).replaceAll('_', ' ');
