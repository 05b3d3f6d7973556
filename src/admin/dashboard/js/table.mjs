// A table whose rows stay the same elements from one refresh to the next, so that focus and selection stay, too.
import { el, focusTitle, setAttribute, setText } from './dom.mjs';

/**
 * `columns`: `{id, label, group?, numeric?, sort?, value?, text(row)}`, or `node(row)` with `sign(row)`: the node is made again when its sign changes.
 * `sort` names the order at the server; with `value(row)` the table sorts by itself. `mark(row)` gives a class.
 */
export class Table {
  #columns;
  #rows = new Map();
  #key;
  #body = el('tbody', { role: 'rowgroup' });
  #heads = new Map();
  #empty;
  #onSort;
  #order = { sort: null, descending: true };
  #shown = [];

  /** `cards`: on a phone each row is a card; a column's `card` is its label there. */
  constructor({ caption, columns, key, empty, onSort = null, sort = null, descending = true, cards = false }) {
    this.#columns = columns;
    this.#key = key;
    this.#onSort = onSort;
    this.#empty = el('p', { class: 'soft empty' }, empty);
    this.#order = { sort, descending };
    // Shown as cards on a phone, where display: block would take the roles away.
    this.table = el('table', { role: 'table' }, el('caption', { class: 'hidden' }, caption), this.#head(), this.#body);
    this.scroll = el('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': caption }, this.table);
    // Empty is what the server says, not what has not been asked.
    this.scroll.hidden = this.#empty.hidden = true;
    this.element = el('div', { class: cards ? 'table cards' : 'table' }, this.scroll, this.#empty);
    this.#markOrder();
  }

  #head() {
    const groups = this.#columns.some(({ group }) => group);
    const first = el('tr', { role: 'row' });
    const second = el('tr', { role: 'row' });
    for (const [index, column] of this.#columns.entries()) {
      const { group } = column;
      if (group && this.#columns[index - 1]?.group !== group) {
        const width = this.#columns.filter((other) => other.group === group).length;
        first.append(el('th', { scope: 'colgroup', role: 'columnheader', colspan: width, class: 'group' }, group));
      }
      const head = this.#headOf(column, groups && !group ? 2 : null);
      (group ? second : first).append(head);
    }
    return el('thead', { role: 'rowgroup' }, first, groups ? second : null);
  }

  #headOf(column, rowspan) {
    const sorts = column.sort || column.value;
    const attributes = { scope: 'col', role: 'columnheader', rowspan, class: `${column.numeric ? 'number' : ''} ${sorts ? 'sorts' : ''}` };
    if (!sorts) return el('th', attributes, column.label);
    const button = el('button', { type: 'button', class: 'sort', onclick: () => this.#sortBy(column) },
      column.label, el('span', { class: 'arrow', 'aria-hidden': 'true' }));
    const head = el('th', attributes, button);
    this.#heads.set(column.id, head);
    return head;
  }

  #sortBy(column) {
    const id = column.sort ?? column.id;
    // Numbers are looked at from the greatest, names from A.
    const descending = this.#order.sort === id ? !this.#order.descending : Boolean(column.numeric || column.greatestFirst);
    this.#order = { sort: id, descending };
    this.#markOrder();
    if (column.sort) this.#onSort?.(id, descending);
    else this.render(this.#shown);
  }

  #markOrder() {
    const { sort, descending } = this.#order;
    for (const column of this.#columns) {
      const head = this.#heads.get(column.id);
      if (!head) continue;
      const own = (column.sort ?? column.id) === sort;
      if (own) setAttribute(head, 'aria-sort', descending ? 'descending' : 'ascending');
      else head.removeAttribute('aria-sort');
      setText(head.querySelector('.arrow'), own ? (descending ? ' ↓' : ' ↑') : '');
    }
  }

  #sorted(rows) {
    const { sort, descending } = this.#order;
    const column = this.#columns.find(({ id, value }) => value && id === sort);
    if (!column) return rows;
    const compare = (a, b) => {
      const [left, right] = [column.value(a), column.value(b)];
      // What was not measured comes last, whichever way.
      if (left === null || right === null) return (left === null) - (right === null);
      return (left < right ? -1 : left > right ? 1 : 0) * (descending ? -1 : 1);
    };
    return [...rows].sort(compare);
  }

  render(rows) {
    this.#shown = rows;
    const focused = this.#body.contains(document.activeElement) ? document.activeElement : null;
    const kept = new Map();
    for (const row of this.#sorted(rows)) {
      const key = String(this.#key(row));
      if (kept.has(key)) continue;
      const line = this.#rows.get(key) ?? this.#line(key);
      this.#fill(line, row);
      kept.set(key, line);
    }
    for (const [key, line] of this.#rows) if (!kept.has(key)) line.element.remove();
    this.#rows = kept;
    this.#place([...kept.values()]);
    this.#empty.hidden = rows.length > 0;
    this.scroll.hidden = rows.length === 0;
    if (focused && focused !== document.activeElement) this.#refocus(focused);
  }

  /** A row that moves takes the focus along; one that has gone leaves it to the table, or to the title. */
  #refocus(focused) {
    if (focused.isConnected) focused.focus({ preventScroll: true });
    else if (this.scroll.hidden) focusTitle();
    else this.scroll.focus({ preventScroll: true });
  }

  #place(lines) {
    for (const [index, { element }] of lines.entries()) {
      const there = this.#body.children[index];
      if (there !== element) this.#body.insertBefore(element, there ?? null);
    }
  }

  #line(key) {
    const cells = this.#columns.map((column, index) => {
      const attributes = { 'data-label': column.card ?? column.label };
      const cell = index === 0 ? el('th', { scope: 'row', role: 'rowheader', ...attributes }) : el('td', { role: 'cell', ...attributes });
      return { cell, sign: null };
    });
    return { element: el('tr', { role: 'row', 'data-key': key }, cells.map(({ cell }) => cell)), cells };
  }

  #fill(line, row) {
    for (const [index, column] of this.#columns.entries()) {
      const place = line.cells[index];
      setAttribute(place.cell, 'class', `${column.numeric ? 'number' : ''} ${column.mark?.(row) ?? ''}`.trim());
      if (!column.node) {
        setText(place.cell, String(column.text(row)));
        continue;
      }
      const sign = String(column.sign?.(row) ?? '');
      if (place.sign === sign) continue;
      place.sign = sign;
      place.cell.replaceChildren(column.node(row));
    }
  }
}
