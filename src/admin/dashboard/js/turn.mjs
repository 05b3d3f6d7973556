// TURN: what was asked and answered, what was dropped and why, how allocations ended.
import { el } from './dom.mjs';
import { count, shown, words } from './format.mjs';
import { PLOTS } from './overview.mjs';
import { Plots, section } from './parts.mjs';
import { Table } from './table.mjs';

/** RFC 8489 and RFC 8656: what an error code says. */
const ANSWERS = {
  success: 'success', 400: 'bad request', 401: 'unauthorized', 403: 'forbidden', 420: 'unknown attribute', 437: 'allocation mismatch', 438: 'stale nonce',
  440: 'address family not supported', 441: 'wrong credentials', 442: 'transport not supported', 443: 'peer address family mismatch', 486: 'quota reached', 508: 'insufficient capacity',
};

/** `rate(row)` names the counter. */
function counts(feed, caption, what, empty, text, rate) {
  return new Table({
    caption, key: (row) => row.key, empty, sort: 'count',
    columns: [
      { id: 'what', label: what, text, value: text },
      ...(rate ? [{ id: 'rate', label: 'Now', numeric: true, text: (row) => shown('rate', feed.live.rate(rate(row))), value: (row) => feed.live.rate(rate(row)) }] : []),
      { id: 'count', label: 'Total', numeric: true, text: (row) => count(row.count), value: (row) => row.count },
    ],
  });
}

const asRows = (pairs) => Object.entries(pairs).map(([key, amount]) => ({ key, count: amount }));

export class Turn {
  title = 'TURN';
  #drops;
  #requests;
  #ended;

  constructor(feed) {
    this.plots = new Plots(feed.history, [PLOTS.turn, PLOTS.drops, PLOTS.calls], () => feed.now());
    this.#drops = counts(feed, 'Packets dropped, by reason', 'Reason', 'Nothing has been dropped.', ({ key }) => words(key), ({ key }) => `drop.${key}`);
    this.#requests = new Table({
      caption: 'TURN requests, by method and answer', key: (row) => row.key, empty: 'No request has come.', sort: 'count',
      columns: [
        { id: 'method', label: 'Method', text: (row) => words(row.method), value: (row) => row.method },
        { id: 'answer', label: 'Answer', text: ({ answer }) => answerText(answer), value: (row) => row.answer },
        { id: 'rate', label: 'Now', numeric: true, text: (row) => shown('rate', feed.live.rate(`turn.${row.key}`)), value: (row) => feed.live.rate(`turn.${row.key}`) },
        { id: 'count', label: 'Total', numeric: true, text: (row) => count(row.count), value: (row) => row.count },
      ],
    });
    this.#ended = counts(feed, 'Allocations ended, by reason', 'Reason', 'None has ended.', ({ key }) => words(key), null);
    this.element = el('div', { class: 'stack' }, this.plots.element,
      el('div', { class: 'columns three' }, section('Requests', this.#requests.element), section('Packets dropped', this.#drops.element), section('Allocations ended', this.#ended.element)));
  }

  stats(stats) {
    this.#drops.render(asRows(stats.drops).filter((row) => row.count > 0));
    this.#requests.render(stats.turn_requests.map((row) => ({ ...row, key: `${row.method}.${row.answer}` })));
    this.#ended.render(asRows(stats.allocations.ended).filter((row) => row.count > 0));
  }
}

function answerText(answer) {
  const text = ANSWERS[answer];
  if (!text) return words(answer);
  return answer === 'success' ? text : `${answer} ${text}`;
}
