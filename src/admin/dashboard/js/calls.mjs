// The list of calls: a page at a time, sorted and filtered by the server. Order and filter are in the address, for reload and back.
import { Refusal, ask, withQuery } from './api.mjs';
import { el, say, setText } from './dom.mjs';
import { NONE, age, bits, bytes, count, duration } from './format.mjs';
import { confirmed } from './parts.mjs';
import { TROUBLE_COLUMN, sideColumns } from './quality.mjs';
import { Table } from './table.mjs';

const PAGE = 50;
const TRANSPORT_CHOICES = { '': 'any', udp: 'UDP', tcp: 'TCP', tls: 'TLS' };

/** What RTP came by in the last interval, both sides. */
export function rateOf({ quality }) {
  const rates = [quality?.client?.bits_per_s, quality?.peer?.bits_per_s].filter((rate) => rate !== null && rate !== undefined);
  return rates.length ? bits(rates.reduce((a, b) => a + b)) : NONE;
}

export const USER_COLUMN = { id: 'user', label: 'User', sort: 'user', mark: () => 'name', text: (row) => row.user };

export const clientOf = (row) => `${row.client} ${row.transport.toUpperCase()}`;

export function endCall(row) {
  return ending(`allocations/${row.id}`, 'End this call?', [`${row.user} from ${row.client}, ${row.transport.toUpperCase()}, since ${duration(row.age_s)}.`,
    'Its media stops at once; the client learns it at its next refresh.'], `Call ${row.id}`);
}

/** Asks and ends; tells whether it is gone. */
export async function ending(path, question, lines, name) {
  if (!await confirmed(question, lines, 'End it')) return false;
  try {
    await ask(path, 'DELETE');
    say(`${name} has been ended.`);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    if (error.kind !== 'missing') {
      say(`${name} has not been ended: ${error.message}.`);
      return false;
    }
    say(`${name} had ended already.`);
  }
  return true;
}

export class Calls {
  title = 'Calls';
  #feed;
  #wanted;
  #table;
  #form;
  #fault = el('p', { class: 'fault', role: 'alert', hidden: true });
  #pager;
  /** The cursors of the pages up to the one shown. */
  #cursors = [null];
  #next = null;

  constructor(feed, parameters) {
    this.#feed = feed;
    this.#wanted = {
      sort: parameters.get('sort') ?? 'trouble', order: parameters.get('order') ?? 'desc',
      user: parameters.get('user') ?? '', client: parameters.get('client') ?? '', transport: parameters.get('transport') ?? '',
    };
    this.#table = new Table({
      caption: 'Calls', cards: true, key: (row) => row.id, empty: 'No call fits.', sort: this.#wanted.sort, descending: this.#wanted.order === 'desc',
      onSort: (sort, descending) => this.#turn({ sort, order: descending ? 'desc' : 'asc' }),
      columns: [
        TROUBLE_COLUMN, USER_COLUMN,
        { id: 'client', label: 'Client', sort: 'client', mark: () => 'address', text: clientOf },
        ...sideColumns(),
        { id: 'rate', label: 'Bitrate', numeric: true, text: rateOf },
        { id: 'bytes', label: 'Relayed', sort: 'bytes', numeric: true, text: (row) => bytes(row.to_peer.bytes + row.to_client.bytes) },
        { id: 'age', label: 'Age', sort: 'age', numeric: true, text: (row) => age(row.age_s) },
        { id: 'end', label: 'End', sign: (row) => row.id, node: (row) => this.#endButton(row) },
      ],
    });
    this.#form = this.#filter();
    this.#pager = this.#pages();
    this.element = el('div', { class: 'stack' },
      this.#form, this.#fault, el('div', { class: 'card' }, this.#table.element, this.#pager.element),
      el('p', { class: 'soft note' }, 'Client side: what arrives from the client, and the round trip between relayd and the client. Peer side: the same towards the other end, as a vendor’s media server. Loss, jitter and bitrate are those of the last ten seconds.'));
  }

  #endButton(row) {
    const name = el('span', { class: 'hidden' }, ` call ${row.id} of ${row.user}`);
    return el('button', { type: 'button', class: 'quiet small', onclick: async () => { if (await endCall(row)) this.#feed.now(); } }, 'End', name);
  }

  #filter() {
    const field = (name, label, attributes) => el('label', {}, label,
      el('input', { name, value: this.#wanted[name], spellcheck: 'false', autocapitalize: 'none', autocomplete: 'off', ...attributes }));
    const transport = el('select', { name: 'transport' }, Object.entries(TRANSPORT_CHOICES).map(([value, label]) => el('option', { value, selected: value === this.#wanted.transport }, label)));
    const form = el('form', { class: 'filter', role: 'search', 'aria-label': 'Filter calls', onsubmit: (event) => { event.preventDefault(); this.#apply(form); } },
      field('user', 'User', {}), field('client', 'Client address', { placeholder: '192.0.2.1 or :port' }), el('label', {}, 'Transport', transport),
      el('div', { class: 'filter-buttons' }, el('button', { type: 'submit' }, 'Filter'),
        el('button', { type: 'button', class: 'quiet', onclick: () => { for (const input of form.elements) if (input.name) input.value = ''; this.#apply(form); } }, 'Clear')));
    return form;
  }

  #apply(form) {
    const value = (name) => form.elements.namedItem(name).value.trim();
    this.#turn({ user: value('user'), client: value('client').replace(/^:/, ''), transport: value('transport') });
  }

  /** Another order or filter: from the first page. */
  #turn(changes) {
    Object.assign(this.#wanted, changes);
    this.#cursors = [null];
    history.replaceState(null, '', withQuery('#/calls', this.#wanted));
    this.#feed.now();
  }

  #pages() {
    const place = el('p', { role: 'status' });
    const back = el('button', { type: 'button', class: 'quiet', onclick: () => this.#leaf(-1) }, 'Previous page');
    const on = el('button', { type: 'button', class: 'quiet', onclick: () => this.#leaf(1) }, 'Next page');
    return { place, back, on, element: el('nav', { class: 'pager', 'aria-label': 'Pages of calls' }, back, place, on) };
  }

  #leaf(pages) {
    if (pages > 0 ? this.#next === null : this.#cursors.length === 1) return;
    if (pages > 0) this.#cursors.push(this.#next);
    else this.#cursors.pop();
    this.#next = null;
    this.#feed.now();
  }

  async load() {
    const wanted = { ...this.#wanted, limit: PAGE, cursor: this.#cursors.at(-1) };
    try {
      const answer = await ask(withQuery('allocations', wanted));
      if (wanted.cursor === this.#cursors.at(-1)) this.#show(answer);
      this.#tell('');
    } catch (error) {
      if (!(error instanceof Refusal) || error.kind !== 'refused') throw error;
      // A filter that the server does not take, or a cursor of another process.
      if (this.#cursors.length > 1) this.#cursors = [null];
      this.#tell(error.message);
    }
  }

  #tell(fault) {
    setText(this.#fault, fault);
    this.#fault.hidden = fault === '';
  }

  #show({ total, allocations, next }) {
    // The last page may have emptied meanwhile.
    if (allocations.length === 0 && this.#cursors.length > 1) {
      this.#cursors.pop();
      this.#feed.now();
      return;
    }
    this.#table.render(allocations);
    this.#next = next;
    const first = (this.#cursors.length - 1) * PAGE;
    const { place, back, on } = this.#pager;
    setText(place, total === 0 ? 'No calls' : `${count(first + 1)} to ${count(first + allocations.length)} of ${count(total)}`);
    disable(back, this.#cursors.length === 1);
    disable(on, next === null);
  }
}

/** `disabled` would throw the focus away from a button that has just been pressed. */
function disable(button, off) {
  button.setAttribute('aria-disabled', String(off));
}
