// A line plot in SVG: axes with units, a legend that toggles and reads out, a cursor for pointer and keys, numbers as a table.
//
// The area is a slider to assistive technology: its value is the moment, its text what was measured then.
import { el, setAttribute, setText, svg } from './dom.mjs';
import { clock, hour, isNumber, shown, weekday } from './format.mjs';
import { nearestPoint, plotStart, pointEnd, pointPlace, timeTicks, valueAxis } from './scale.mjs';

const MARGIN = { top: 14, right: 10, bottom: 20, left: 42 };
const HEIGHT = 156;
/** The latest value is looked for in so many steps: some numbers come with /history only. */
const LATEST_STEPS = 24;
const X_TICK_PX = 74;

let plots = 0;

export class Plot {
  #spec;
  #data = { end: 0, step: 1, count: 0, values: () => [] };
  #off = new Set();
  #cursor = null;
  /** Whether the pointer put the cursor there: a page that scrolls below a resting pointer takes none from the keys. */
  #pointed = false;
  #parts = { cursor: svg('g') };
  #frame = null;

  /** `kind` is one of KINDS; `series` are `{name, label, tone, dash}`. */
  constructor({ title, kind, series, note }) {
    this.#spec = { title, kind, series };
    this.element = this.#build(title, note);
    new ResizeObserver(() => this.#draw()).observe(this.#parts.area);
  }

  /** `values(name)` are the points, oldest first; the last one ends at `end`, and may be shorter than `step`: `lastStep`. */
  update(data) {
    this.#data = data;
    if (this.#cursor !== null) this.#cursor = Math.min(this.#cursor, data.count - 1);
    this.#draw();
  }

  #build(title, note) {
    const id = `plot-${plots += 1}`;
    const moment = el('span', { class: 'plot-moment', 'aria-hidden': 'true' }, 'now');
    const picture = svg('svg', { class: 'plot-picture', 'aria-hidden': 'true', focusable: 'false' });
    const area = el('div', {
      class: 'plot-area', role: 'slider', tabindex: '0', 'aria-labelledby': id, 'aria-valuemin': '0', 'aria-valuemax': '0', 'aria-valuenow': '0',
      'aria-valuetext': 'nothing measured',
      onpointermove: (event) => this.#point(event), onpointerdown: (event) => this.#point(event), onpointerleave: () => { if (this.#pointed) this.#move(null); },
      onkeydown: (event) => this.#key(event), onfocus: () => this.#tell(), onblur: () => { if (!this.#pointed) this.#move(null); },
    }, picture);
    const rows = el('tbody');
    const numbers = el('details', { class: 'plot-numbers', ontoggle: () => this.#tabulate() },
      el('summary', {}, 'Numbers', el('span', { class: 'hidden' }, ` of ${title}`)),
      el('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': `Numbers of ${title}` },
        el('table', { class: 'plain' },
          el('thead', {}, el('tr', {}, ['Series', 'Latest', 'Mean', 'Least', 'Most'].map((name) => el('th', { scope: 'col' }, name)))), rows)));
    const keys = this.#spec.series.map((series) => this.#legendKey(series));
    Object.assign(this.#parts, { moment, picture, area, rows, numbers, keys });
    return el('figure', { class: 'plot' },
      el('figcaption', { class: 'plot-head' }, el('h3', { id }, title), moment),
      note ? el('p', { class: 'soft plot-note' }, note) : null,
      area, el('ul', { class: 'legend' }, keys.map((key) => key.item)), numbers);
  }

  #legendKey(series) {
    const value = el('span', { class: 'legend-value', 'aria-hidden': 'true' });
    const sample = svg('svg', { class: 'legend-sample', width: 20, height: 8, 'aria-hidden': 'true' },
      svg('path', { d: 'M1 4H19', class: `line ${series.tone} ${series.dash ? 'dash' : ''}` }));
    const button = el('button', { type: 'button', class: 'legend-key', 'aria-pressed': 'true', onclick: () => this.#toggle(series, button) }, sample, series.label);
    return { item: el('li', {}, button, value), value };
  }

  #toggle(series, button) {
    if (!this.#off.delete(series.name)) this.#off.add(series.name);
    setAttribute(button, 'aria-pressed', !this.#off.has(series.name));
    this.#draw();
  }

  // ---- cursor ----
  #point(event) {
    // What moves is the page below a resting pointer.
    if (event.type === 'pointermove' && event.movementX === 0 && event.movementY === 0) return;
    const { count } = this.#data;
    const { left, width } = this.#parts.area.getBoundingClientRect();
    const part = (event.clientX - left - MARGIN.left) / (width - MARGIN.left - MARGIN.right);
    this.#move(count === 0 ? null : nearestPoint(this.#data, part), true);
  }

  #key(event) {
    const { count } = this.#data;
    if (count === 0) return;
    const at = this.#cursor ?? count - 1;
    const page = Math.max(1, Math.round(count / 12));
    const steps = { ArrowLeft: at - 1, ArrowDown: at - 1, ArrowRight: at + 1, ArrowUp: at + 1, PageDown: at - page, PageUp: at + page, Home: 0, End: count - 1 };
    if (event.key === 'Escape') this.#move(null);
    else if (event.key in steps) this.#move(Math.max(0, Math.min(count - 1, steps[event.key])));
    else return;
    event.preventDefault();
    this.#tell();
  }

  #move(cursor, pointed = false) {
    this.#pointed = pointed;
    if (cursor === this.#cursor) return;
    this.#cursor = cursor;
    this.#readOut();
    this.#markCursor();
  }

  /** What the moment of the cursor holds; only when somebody moves it, so that nobody is read to every few seconds. */
  #tell() {
    const { count } = this.#data;
    const index = this.#cursor ?? Math.max(0, count - 1);
    const values = this.#visible().map(({ name, label }) => `${label} ${shown(this.#spec.kind, this.#value(name, this.#cursor))}`);
    setAttribute(this.#parts.area, 'aria-valuemax', Math.max(0, count - 1));
    setAttribute(this.#parts.area, 'aria-valuenow', index);
    setAttribute(this.#parts.area, 'aria-valuetext', `${this.#cursor === null ? 'latest' : clock(this.#time(index))}: ${values.join(', ')}`);
  }

  // ---- data ----
  #visible() {
    return this.#spec.series.filter(({ name }) => !this.#off.has(name));
  }

  /** The moment at which a point's step ends. */
  #time(index) {
    return pointEnd(this.#data, index);
  }

  #value(name, index) {
    const values = this.#data.values(name);
    if (index !== null) return values[index];
    return values.slice(-LATEST_STEPS).findLast(isNumber);
  }

  // ---- drawing ----
  #readOut() {
    const { kind, series } = this.#spec;
    for (const [index, { name }] of series.entries()) setText(this.#parts.keys[index].value, shown(kind, this.#value(name, this.#cursor)));
    setText(this.#parts.moment, this.#cursor === null ? 'now' : clock(this.#time(this.#cursor)));
  }

  #draw() {
    const { kind } = this.#spec;
    const { area, picture, cursor } = this.#parts;
    const width = Math.floor(area.clientWidth);
    this.#readOut();
    this.#tabulate();
    if (width === 0) return;
    const inner = { width: width - MARGIN.left - MARGIN.right, height: HEIGHT - MARGIN.top - MARGIN.bottom };
    let highest = 0;
    let measured = false;
    for (const { name } of this.#visible()) {
      for (const value of this.#data.values(name)) if (isNumber(value)) { measured = true; highest = Math.max(highest, value); }
    }
    const axis = valueAxis(kind, highest);
    const x = (index) => (MARGIN.left + pointPlace(this.#data, index) * inner.width).toFixed(1);
    const y = (value) => (MARGIN.top + (1 - Math.max(0, value) / axis.top) * inner.height).toFixed(1);
    for (const [name, value] of [['width', width], ['height', HEIGHT], ['viewBox', `0 0 ${width} ${HEIGHT}`]]) setAttribute(picture, name, value);
    picture.replaceChildren(
      this.#valueGrid(axis, width, y), this.#timeGrid(inner),
      ...this.#visible().map(({ name, tone, dash }) => svg('path', { class: `line ${tone} ${dash ? 'dash' : ''}`, d: path(this.#data.values(name), x, y) })),
      measured ? cursor : svg('text', { class: 'tick', 'text-anchor': 'middle', x: MARGIN.left + inner.width / 2, y: MARGIN.top + inner.height / 2 }, 'nothing measured'));
    setAttribute(picture, 'data-points', measured ? this.#data.count : 0);
    this.#frame = { height: inner.height, x, y };
    this.#markCursor();
  }

  #valueGrid({ ticks, unit }, width, y) {
    const lines = ticks.map(({ at, label }) => svg('g', {},
      svg('path', { class: at === 0 ? 'base' : 'grid', d: `M${MARGIN.left} ${y(at)}H${width - MARGIN.right}` }),
      svg('text', { class: 'tick', 'text-anchor': 'end', x: MARGIN.left - 6, y: Number(y(at)) + 3.5 }, label)));
    return svg('g', {}, lines, svg('text', { class: 'tick', x: MARGIN.left + 2, y: MARGIN.top - 5 }, unit));
  }

  #timeGrid(inner) {
    const { end } = this.#data;
    const start = plotStart(this.#data);
    const zone = -60 * new Date(end * 1000).getTimezoneOffset();
    const time = timeTicks(start, end, Math.max(2, Math.floor(inner.width / X_TICK_PX)), zone);
    const label = (at) => (time.step < 60 ? clock(at) : time.step >= 43200 ? weekday(at) : hour(at));
    return svg('g', {}, time.ticks.map((at) => {
      const place = MARGIN.left + (at - start) / Math.max(1, end - start) * inner.width;
      return svg('g', {},
        svg('path', { class: 'grid', d: `M${place.toFixed(1)} ${MARGIN.top}v${inner.height}` }),
        // The outermost labels stay inside.
        svg('text', { class: 'tick', 'text-anchor': place > MARGIN.left + inner.width - 18 ? 'end' : 'middle', x: Math.min(place, MARGIN.left + inner.width + 8).toFixed(1), y: HEIGHT - 5 }, label(at)));
    }));
  }

  #markCursor() {
    const at = this.#cursor;
    if (at === null || !this.#frame) {
      this.#parts.cursor.replaceChildren();
      return;
    }
    const { height, x, y } = this.#frame;
    const dots = this.#visible().filter(({ name }) => isNumber(this.#value(name, at)))
      .map(({ name, tone }) => svg('circle', { class: `dot ${tone}`, r: 3, cx: x(at), cy: y(this.#value(name, at)) }));
    this.#parts.cursor.replaceChildren(svg('path', { class: 'cursor', d: `M${x(at)} ${MARGIN.top}v${height}` }), ...dots);
  }

  #tabulate() {
    const { numbers, rows } = this.#parts;
    if (!numbers.open) return;
    const { kind, series } = this.#spec;
    rows.replaceChildren(...series.map(({ name, label }) => {
      const known = this.#data.values(name).filter(isNumber);
      const mean = known.length ? known.reduce((total, value) => total + value, 0) / known.length : null;
      const cells = [this.#value(name, null), mean, known.length ? least(known) : null, known.length ? most(known) : null];
      return el('tr', {}, el('th', { scope: 'row' }, label), cells.map((value) => el('td', { class: 'number' }, shown(kind, value))));
    }));
  }
}

const least = (values) => values.reduce((a, b) => Math.min(a, b));
const most = (values) => values.reduce((a, b) => Math.max(a, b));

/** Lines between neighbours that were measured; one that stands alone is a dot, by its round ends. */
function path(values, x, y) {
  let text = '';
  let open = false;
  for (const [index, value] of values.entries()) {
    if (!isNumber(value)) {
      open = false;
      continue;
    }
    text += `${open ? 'L' : 'M'}${x(index)} ${y(value)}`;
    if (!open && !isNumber(values[index + 1])) text += 'h0';
    open = true;
  }
  return text;
}
