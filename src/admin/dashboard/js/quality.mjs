// How a call's trouble is shown: level by shape and word, side and cause in words.
import { el } from './dom.mjs';
import { NONE, isNumber, milliseconds, percent } from './format.mjs';
import { mark } from './parts.mjs';

/** What is noticeable, and what is bad, by the scale of `src/quality`. */
const FAIR = 25;
const BAD = 60;
const CAUSES = { loss: 'loss', jitter: 'jitter', round_trip: 'round trip' };

export const SIDES = { client: 'client side', peer: 'peer side' };

export function level(quality) {
  if (!quality || !isNumber(quality.trouble)) return 'none';
  if (quality.trouble >= BAD) return 'bad';
  return quality.trouble >= FAIR ? 'fair' : 'good';
}

const LEVEL_WORDS = { good: 'Good', fair: 'Fair', bad: 'Bad', none: 'Not measured' };

/** "Bad 78: loss, client side" */
export function troubleText(quality) {
  const found = level(quality);
  const word = LEVEL_WORDS[found];
  if (found === 'none') return word;
  const text = `${word} ${Math.round(quality.trouble)}`;
  const cause = causeText(quality);
  return cause === '' || found === 'good' ? text : `${text}: ${cause}`;
}

export function causeText(quality) {
  if (!quality?.trouble_cause) return '';
  return [CAUSES[quality.trouble_cause] ?? quality.trouble_cause, SIDES[quality.trouble_side]].filter(Boolean).join(', ');
}

export function troubleMark(quality) {
  return mark(level(quality), troubleText(quality));
}

/** The column of trouble, for lists of allocations. */
export const TROUBLE_COLUMN = {
  id: 'trouble', label: 'Trouble', sort: 'trouble', greatestFirst: true,
  sign: (row) => `${row.id} ${troubleText(row.quality)}`,
  node: (row) => el('a', { href: `#/allocation/${row.id}`, class: 'row-link' }, troubleMark(row.quality), el('span', { class: 'hidden' }, `, call ${row.id}`)),
};

const MEASURES = [
  ['loss', 'Loss', (side) => percent(side?.loss_ratio)],
  ['jitter', 'Jitter', (side) => milliseconds(side?.jitter_ms)],
  ['round_trip', 'Round trip', (side) => milliseconds(side?.round_trip_ms)],
];

/** Three columns for each side; the one that is the cause is marked by a line below it, and by weight. */
export function sideColumns() {
  return Object.keys(SIDES).flatMap((side) => MEASURES.map(([cause, label, text]) => ({
    id: `${side}_${cause}`, label, card: `${side === 'client' ? 'Client' : 'Peer'} ${label.toLowerCase()}`, group: side === 'client' ? 'Client side' : 'Peer side', numeric: true,
    text: ({ quality }) => (quality ? text(quality[side]) : NONE),
    mark: ({ quality }) => (level(quality) !== 'good' && quality?.trouble_side === side && quality.trouble_cause === cause ? 'cause' : ''),
  })));
}
