// The server: its configuration, certificates, relay ports, workers and process.
import { el } from './dom.mjs';
import { NONE, bytes, clock, count, day, duration, isNumber, percent, shown, words } from './format.mjs';
import { certificateLevel, daysLeft } from './overview.mjs';
import { Facts, Plots, bar, mark, section } from './parts.mjs';
import { Table } from './table.mjs';

export class Server {
  title = 'Server';
  #feed;
  #facts = new Facts();
  #process = new Facts();
  #certificates;
  #ports;
  #workers;
  #time = 0;
  #busiest = 1;

  constructor(feed) {
    this.#feed = feed;
    this.plots = new Plots(feed.history, [
      { title: 'CPU', kind: 'cores', series: [{ name: 'cpu_cores', label: 'Cores in use', tone: 'tone-udp' }] },
      { title: 'Memory', kind: 'bytes', series: [{ name: 'resident_bytes', label: 'Resident', tone: 'tone-udp' }] },
      { title: 'Relay ports', kind: 'count', series: [{ name: 'relay_ports_used', label: 'In use', tone: 'tone-udp' }] },
    ], () => feed.now());
    this.#certificates = this.#certificateTable();
    this.#ports = new Table({
      caption: 'Relay ports by address', key: ({ ip }) => ip, empty: 'No relay address.', columns: [
        { id: 'ip', label: 'Address', mark: () => 'address', text: ({ ip }) => ip },
        { id: 'bar', label: 'Use', sign: ({ used, total }) => `${used}/${total}`, node: ({ used, total }) => withBar(used / total, percent(used / total)) },
        { id: 'used', label: 'Used', numeric: true, text: ({ used }) => count(used) }, { id: 'total', label: 'Of', numeric: true, text: ({ total }) => count(total) },
      ],
    });
    this.#workers = this.#workerTable();
    this.element = el('div', { class: 'stack' },
      el('div', { class: 'columns' }, section('Running', this.#facts.element), section('Process', this.#process.element)),
      this.plots.element,
      el('div', { class: 'columns' }, section('Certificates', this.#certificates.element), section('Relay ports', this.#ports.element)),
      section('Workers', this.#workers.element));
  }

  #certificateTable() {
    const left = (row) => (isNumber(row.not_after) ? daysLeft(row.not_after, this.#time) : NONE);
    const grade = (row) => certificateLevel(row, this.#time) ?? 'good';
    return new Table({
      caption: 'Certificates', cards: true, key: (row) => `${row.names.join()} ${row.not_after} ${row.source}`, empty: 'No certificate: there is no TLS listener.', columns: [
        { id: 'names', label: 'Names', mark: () => 'address', text: ({ names }) => names.join(', ') },
        { id: 'state', label: 'Left', sign: (row) => grade(row) + left(row), node: (row) => mark(grade(row), left(row)) },
        { id: 'end', label: 'Until', text: (row) => day(row.not_after) },
        { id: 'issuer', label: 'Issuer', mark: () => 'name', text: ({ issuer }) => issuer || NONE },
        { id: 'source', label: 'From', text: ({ source }) => words(source) },
      ],
    });
  }

  #workerTable() {
    const { live } = this.#feed;
    const rate = (row, what) => live.rate(`worker.${row.worker}.${what}`);
    return new Table({
      caption: 'Workers', cards: true, key: ({ worker }) => worker, empty: 'No worker.', sort: 'worker', descending: false, columns: [
        { id: 'worker', label: 'Worker', text: ({ worker }) => String(worker), value: ({ worker }) => worker },
        { id: 'share', label: 'Calls', sign: (row) => `${row.allocations}/${this.#busiest}`, node: (row) => withBar(row.allocations / this.#busiest, count(row.allocations), true) },
        { id: 'streams', label: 'Streams', numeric: true, text: ({ streams }) => count(streams), value: ({ streams }) => streams },
        { id: 'packets', label: 'Packets', numeric: true, text: (row) => shown('packets', rate(row, 'packets')), value: (row) => rate(row, 'packets') },
        { id: 'bits', label: 'Bitrate', numeric: true, text: (row) => shown('bits', rate(row, 'bits')), value: (row) => rate(row, 'bits') },
        { id: 'cpu', label: 'CPU', numeric: true, text: (row) => percent(rate(row, 'cpu')), value: (row) => rate(row, 'cpu') },
      ],
    });
  }

  stats(stats) {
    const { configuration, process, relay_ports: ports } = stats;
    this.#time = stats.time;
    this.#busiest = Math.max(1, ...stats.workers.map(({ allocations }) => allocations));
    this.#facts.set([
      ['Version', stats.version], ['State', stats.draining ? 'draining: no new calls' : 'serving'], ['Up for', duration(stats.uptime_s)],
      ['Configuration', configuration.file ?? 'none: a first try'], ['Generation', `${count(configuration.generation)}, in force since ${day(configuration.loaded_at)} ${clock(configuration.loaded_at)}`],
      ['Relay ports', `${ports.range}: ${count(ports.used)} of ${count(ports.total)} in use`],
      ['Calls in all', count(stats.allocations.started)], ['Requests under way', count(stats.proxy.requests_under_way)],
    ]);
    const { live } = this.#feed;
    this.#process.set([
      ['CPU', shown('cores', live.rate('cpu_cores'))], ['CPU time', duration(process.cpu_s)], ['Memory', bytes(process.resident_bytes)],
      ['Descriptors', `${count(process.open_fds)} of ${count(process.fds_max)}`], ['Threads', count(process.threads)],
    ]);
    this.#certificates.render(stats.certificates);
    this.#ports.render(ports.addresses);
    this.#workers.render(stats.workers);
  }
}

function withBar(share, text, plain = false) {
  const drawn = bar(share);
  if (plain) drawn.classList.remove('fair', 'bad');
  return el('span', { class: 'with-bar' }, drawn, el('span', {}, text));
}
