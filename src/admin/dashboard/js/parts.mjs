// Small things that several views show: marks, tiles, facts, bars, plots side by side, and the question before something is ended.
import { el, setAttribute, setText, svg } from './dom.mjs';
import { Plot } from './plot.mjs';
import { SPANS } from './samples.mjs';

/** One shape for each level, so that none needs its colour. */
const SHAPES = {
  good: () => svg('circle', { cx: 6, cy: 6, r: 4.2 }),
  fair: () => svg('path', { d: 'M6 1.4L11 10.6H1Z' }),
  bad: () => svg('path', { d: 'M6 .6L11.4 6L6 11.4L.6 6Z' }),
  none: () => svg('path', { d: 'M2 6H10' }),
};

export function shape(level) {
  return svg('svg', { class: `shape ${level}`, width: 12, height: 12, viewBox: '0 0 12 12', 'aria-hidden': 'true' }, SHAPES[level]());
}

/** A shape and its text. */
export function mark(level, text) {
  return el('span', { class: 'mark', 'data-level': level }, shape(level), el('span', { class: 'mark-text' }, text));
}

/** Changes a mark in place. */
export function setMark(element, level, text) {
  if (element.dataset.level !== level || !element.querySelector('.shape')) {
    element.querySelector('.shape')?.remove();
    element.prepend(shape(level));
    element.dataset.level = level;
  }
  setText(element.querySelector('.mark-text'), text);
}

/** A number that is looked at first. */
export class Tile {
  #value = el('dd', { class: 'tile-value' });
  #more = el('dd', { class: 'tile-more' });

  constructor(label) {
    this.element = el('div', { class: 'tile' }, el('dt', {}, label), this.#value, this.#more);
  }

  set(value, more, level = null) {
    setText(this.#value, value);
    setText(this.#more, more);
    if (level) this.element.dataset.level = level;
    else delete this.element.dataset.level;
  }
}

/** Names and values, updated in place. */
export class Facts {
  #places = new Map();

  constructor() {
    this.element = el('dl', { class: 'facts' });
  }

  set(pairs) {
    for (const [name, value] of pairs) {
      let place = this.#places.get(name);
      if (!place) {
        place = el('dd');
        this.#places.set(name, place);
        this.element.append(el('div', {}, el('dt', {}, name), place));
      }
      setText(place, value);
    }
  }
}

/** A share as a bar; the number stands beside it, so the bar is for the eye alone. */
export function bar(share) {
  const part = Math.max(0, Math.min(1, share || 0));
  return svg('svg', { class: `bar ${part >= 0.95 ? 'bad' : part >= 0.8 ? 'fair' : ''}`, viewBox: '0 0 100 6', preserveAspectRatio: 'none', 'aria-hidden': 'true' },
    svg('rect', { class: 'bar-ground', width: 100, height: 6, rx: 3 }), svg('rect', { class: 'bar-part', width: (part * 100).toFixed(1), height: 6, rx: 3 }));
}

export function section(title, ...children) {
  return el('section', { class: 'card' }, el('h2', {}, title), ...children);
}

/** Plots of one history, with the choice of its span. */
export class Plots {
  #plots;
  #history;
  #buttons;

  constructor(history, specs, onChoose) {
    this.#history = history;
    this.#plots = specs.map((spec) => new Plot(spec));
    this.#buttons = SPANS.map((span) => el('button', {
      type: 'button', 'aria-pressed': 'false', 'data-span': span, onclick: () => { history.choose(span); this.#mark(); onChoose(); },
    }, span.replace('h', '\u00a0h')));
    this.element = el('section', { class: 'plots-section', 'aria-label': 'Over time' }, el('h2', { class: 'hidden' }, 'Over time'),
      el('div', { class: 'spans', role: 'group', 'aria-label': 'Time shown' }, el('span', { class: 'soft', 'aria-hidden': 'true' }, 'Last'), this.#buttons),
      el('div', { class: 'plots' }, this.#plots.map((plot) => plot.element)));
    this.#mark();
    this.update();
  }

  #mark() {
    for (const button of this.#buttons) setAttribute(button, 'aria-pressed', button.dataset.span === this.#history.span);
  }

  update() {
    const { end, step, known } = this.#history;
    if (end === null || known === 0) return;
    for (const plot of this.#plots) plot.update({ end, step, count: known, values: (name) => this.#history.values(name).slice(-known) });
  }
}

let dialog = null;

/** Asks in the page; the browser keeps the focus inside and gives it back. Resolves with whether to go on. */
export function confirmed(title, lines, action) {
  dialog?.remove();
  return new Promise((resolve) => {
    let answer = false;
    const choose = (chosen) => () => { answer = chosen; dialog.close(); };
    dialog = el('dialog', { 'aria-labelledby': 'dialog-title', onclose: () => { dialog.remove(); dialog = null; resolve(answer); } },
      el('h2', { id: 'dialog-title' }, title), lines.map((line) => el('p', {}, line)),
      el('div', { class: 'dialog-buttons' },
        el('button', { type: 'button', class: 'quiet', autofocus: true, onclick: choose(false) }, 'Cancel'),
        el('button', { type: 'button', class: 'danger', onclick: choose(true) }, action)));
    document.body.append(dialog);
    dialog.showModal();
  });
}
