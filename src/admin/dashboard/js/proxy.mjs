// The proxy: requests by upstream and status, latency, errors, and the open tunnels.
import { Refusal, ask, withQuery } from './api.mjs';
import { ending } from './calls.mjs';
import { el, setText } from './dom.mjs';
import { age, bytes, count, duration, milliseconds, shown, words } from './format.mjs';
import { PLOTS } from './overview.mjs';
import { Plots, section } from './parts.mjs';
import { Table } from './table.mjs';

const TUNNELS = 100;
const CLASSES = ['2xx', '3xx', '4xx', '5xx'];

export class Proxy {
  title = 'Proxy';
  #feed;
  #upstreams;
  #errors;
  #tunnels;
  #order = { sort: 'bytes', order: 'desc' };
  #more = el('p', { class: 'soft', hidden: true });
  #forgotten = el('p', { class: 'soft', hidden: true });

  constructor(feed) {
    this.#feed = feed;
    this.plots = new Plots(feed.history, [
      PLOTS.proxy,
      {
        title: 'Latency', kind: 'ms',
        series: [{ name: 'proxy_latency_ms.mean', label: 'Mean', tone: 'tone-udp' }, { name: 'proxy_latency_ms.p99', label: '99 % within', tone: 'tone-tcp', dash: true }],
      },
      { title: 'Connections and tunnels', kind: 'count', series: [{ name: 'connections', label: 'Connections', tone: 'tone-udp' }, { name: 'tunnels', label: 'Tunnels', tone: 'tone-tls', dash: true }] },
    ], () => feed.now());
    this.#upstreams = this.#hosts();
    this.#errors = new Table({
      caption: 'Errors of the proxy’s own, by reason', key: ([reason]) => reason, empty: 'No error.', sort: 'count',
      columns: [{ id: 'reason', label: 'Reason', text: ([reason]) => words(reason), value: ([reason]) => reason }, { id: 'count', label: 'Total', numeric: true, text: ([, amount]) => count(amount), value: ([, amount]) => amount }],
    });
    this.#tunnels = this.#open();
    this.element = el('div', { class: 'stack' }, this.plots.element,
      section('Upstreams', this.#upstreams.element, this.#forgotten),
      section('Open tunnels', this.#tunnels.element, this.#more),
      el('div', { class: 'columns' }, section('Errors', this.#errors.element)));
  }

  #hosts() {
    const latency = (id, label) => ({ id, label, group: 'Latency', card: `Latency ${label}`, numeric: true, text: (row) => milliseconds(row.latency_ms?.[id]), value: (row) => row.latency_ms?.[id] ?? null });
    return new Table({
      caption: 'Requests by upstream', cards: true, key: (row) => row.host, empty: 'No request has been proxied.', sort: 'now',
      columns: [
        { id: 'host', label: 'Host', mark: () => 'address', text: (row) => row.host, value: (row) => row.host },
        { id: 'now', label: 'Now', group: 'Requests', numeric: true, text: (row) => shown('rate', this.#rate(row)), value: (row) => this.#rate(row) },
        ...CLASSES.map((id) => ({ id, label: id, group: 'Requests', numeric: true, text: (row) => count(row.requests[id] ?? 0), value: (row) => row.requests[id] ?? 0 })),
        { id: 'errors', label: 'Errors', numeric: true, text: (row) => count(row.errors), value: (row) => row.errors, mark: (row) => (row.errors > 0 ? 'cause' : '') },
        latency('mean', 'Mean'), latency('p50', '50 %'), latency('p90', '90 %'), latency('p99', '99 %'),
        { id: 'tunnels', label: 'Tunnels', numeric: true, text: (row) => count(row.tunnels), value: (row) => row.tunnels },
      ],
    });
  }

  #rate(row) {
    return this.#feed.live.rate(`upstream.${row.host}`);
  }

  #open() {
    const end = (row) => el('button', { type: 'button', class: 'quiet small', onclick: () => this.#end(row) }, 'End', el('span', { class: 'hidden' }, ` tunnel ${row.id} to ${row.host}`));
    return new Table({
      caption: 'Open tunnels', cards: true, key: (row) => row.id, empty: 'No tunnel is open.', sort: 'bytes',
      onSort: (sort, descending) => { this.#order = { sort, order: descending ? 'desc' : 'asc' }; this.#feed.now(); },
      columns: [
        { id: 'host', label: 'Host', mark: () => 'address', text: (row) => row.host },
        { id: 'path', label: 'Path', mark: () => 'name', text: (row) => row.path },
        { id: 'client', label: 'Client', mark: () => 'address', text: (row) => row.client },
        { id: 'age', label: 'Age', sort: 'age', numeric: true, text: (row) => age(row.age_s) },
        { id: 'idle', label: 'Silent for', sort: 'idle', numeric: true, text: (row) => age(row.idle_s) },
        { id: 'bytes', label: 'Relayed', sort: 'bytes', numeric: true, text: (row) => bytes(row.bytes_to_upstream + row.bytes_to_client) },
        { id: 'end', label: 'End', sign: (row) => row.id, node: end },
      ],
    });
  }

  async #end(row) {
    const lines = [`${row.client} to ${row.host}, since ${duration(row.age_s)}.`, 'Both connections are closed; most clients open another one.'];
    if (await ending(`tunnels/${row.id}`, 'End this tunnel?', lines, `Tunnel ${row.id}`)) this.#feed.now();
  }

  stats({ proxy }) {
    this.#upstreams.render(proxy.upstreams);
    this.#errors.render(Object.entries(proxy.errors).filter(([, amount]) => amount > 0));
    setText(this.#forgotten, `${count(proxy.upstreams_forgotten)} hosts that were asked less are not kept.`);
    this.#forgotten.hidden = !(proxy.upstreams_forgotten > 0);
  }

  async load() {
    try {
      const { total, tunnels } = await ask(withQuery('tunnels', { ...this.#order, limit: TUNNELS }));
      this.#tunnels.render(tunnels);
      setText(this.#more, `${count(tunnels.length)} of ${count(total)} are shown.`);
      this.#more.hidden = total <= tunnels.length;
    } catch (error) {
      if (!(error instanceof Refusal) || error.kind !== 'refused') throw error;
    }
  }
}
