// The first view: the numbers that tell whether all is well, how they went, and the calls in most trouble.
import { ask } from './api.mjs';
import { USER_COLUMN, clientOf, rateOf } from './calls.mjs';
import { el } from './dom.mjs';
import { age, bits, count, counted, day, isNumber, milliseconds, percent, shown, words } from './format.mjs';
import { Plots, Tile, section } from './parts.mjs';
import { TROUBLE_COLUMN, sideColumns } from './quality.mjs';
import { Table } from './table.mjs';

const WORST = 5;
const TRANSPORTS = [['udp', 'UDP'], ['tcp', 'TCP'], ['tls', 'TLS']];

const byTransport = (name) => TRANSPORTS.map(([transport, label]) => ({ name: `${name}.${transport}`, label, tone: `tone-${transport}` }));
const bySide = (name) => [
  { name: `${name}.client`, label: 'Client side', tone: 'tone-client' },
  { name: `${name}.peer`, label: 'Peer side', tone: 'tone-peer', dash: true },
];
const bothWays = (name) => TRANSPORTS.flatMap(([transport, label]) => [
  { name: `${name}.${transport}.to_peer`, label: `${label} to peer`, tone: `tone-${transport}` },
  { name: `${name}.${transport}.to_client`, label: `${label} to client`, tone: `tone-${transport}`, dash: true },
]);

export const PLOTS = {
  traffic: { title: 'Relayed traffic', kind: 'bits', series: bothWays('bits_per_s') },
  packets: { title: 'Relayed packets', kind: 'rate', series: bothWays('packets_per_s') },
  calls: { title: 'Calls', kind: 'count', series: byTransport('allocations') },
  loss: { title: 'Loss, mean of all calls', kind: 'ratio', series: bySide('loss_ratio') },
  trip: { title: 'Round trip, mean of all calls', kind: 'ms', series: bySide('round_trip_ms') },
  jitter: { title: 'Jitter, mean of all calls', kind: 'ms', series: bySide('jitter_ms') },
  drops: { title: 'Packets dropped', kind: 'rate', series: [{ name: 'drops_per_s', label: 'Dropped', tone: 'tone-bad' }] },
  turn: {
    title: 'TURN requests', kind: 'rate',
    series: [{ name: 'turn_requests_per_s', label: 'All', tone: 'tone-udp' }, { name: 'turn_errors_per_s', label: 'Errors', tone: 'tone-bad', dash: true }],
  },
  proxy: {
    title: 'Proxied requests', kind: 'rate',
    series: [{ name: 'proxy_requests_per_s', label: 'All', tone: 'tone-udp' }, { name: 'proxy_errors_per_s', label: 'Errors', tone: 'tone-bad', dash: true }],
  },
};

export class Overview {
  title = 'Overview';
  #feed;
  #tiles = {
    calls: new Tile('Calls'), peer: new Tile('To peers'), client: new Tile('To clients'), clientSide: new Tile('Loss, client side'), peerSide: new Tile('Loss, peer side'),
    drops: new Tile('Dropped'), turn: new Tile('TURN requests'), proxy: new Tile('Proxied requests'), ports: new Tile('Relay ports'), certificate: new Tile('Certificate'),
  };
  #worst = new Table({
    caption: 'Calls in most trouble', cards: true, key: (row) => row.id, empty: 'No calls.',
    columns: [
      { ...TROUBLE_COLUMN, sort: null }, { ...USER_COLUMN, sort: null }, { id: 'client', label: 'Client', mark: () => 'address', text: clientOf },
      ...sideColumns(), { id: 'rate', label: 'Bitrate', numeric: true, text: rateOf }, { id: 'age', label: 'Age', numeric: true, text: (row) => age(row.age_s) },
    ],
  });

  constructor(feed) {
    this.#feed = feed;
    this.plots = new Plots(feed.history, [PLOTS.traffic, PLOTS.calls, PLOTS.loss, PLOTS.trip, PLOTS.jitter, PLOTS.drops, PLOTS.turn, PLOTS.proxy, PLOTS.packets], () => feed.now());
    this.element = el('div', { class: 'stack' },
      el('dl', { class: 'tiles' }, Object.values(this.#tiles).map((tile) => tile.element)),
      section('Calls in most trouble', this.#worst.element, el('p', {}, el('a', { href: '#/calls' }, 'All calls'))),
      this.plots.element);
  }

  async load() {
    const { allocations } = await ask(`allocations?sort=trouble&order=desc&limit=${WORST}`);
    this.#worst.render(allocations);
  }

  stats(stats) {
    const { live } = this.#feed;
    const tiles = this.#tiles;
    tiles.calls.set(count(stats.allocations.total), TRANSPORTS.map(([name, label]) => `${label} ${count(stats.allocations[name])}`).join(', '));
    for (const [tile, way] of [[tiles.peer, 'to_peer'], [tiles.client, 'to_client']]) {
      const all = (name) => live.sum(...TRANSPORTS.map(([transport]) => `${name}.${transport}.${way}`));
      tile.set(bits(all('bits_per_s')), shown('packets', all('packets_per_s')));
    }
    for (const [tile, side] of [[tiles.clientSide, stats.quality?.client], [tiles.peerSide, stats.quality?.peer]]) {
      tile.set(percent(side?.loss_ratio), `jitter ${milliseconds(side?.jitter_ms)}, round trip ${milliseconds(side?.round_trip_ms)}`);
    }
    tiles.drops.set(shown('rate', live.rate('drops_per_s')), mostDropped(stats.drops));
    tiles.turn.set(shown('rate', live.rate('turn_requests_per_s')), `errors ${shown('rate', live.rate('turn_errors_per_s'))}`);
    tiles.proxy.set(shown('rate', live.rate('proxy_requests_per_s')), `${counted(stats.proxy.tunnels, 'tunnel')}, ${counted(stats.proxy.connections, 'connection')}`);
    const { used, total } = stats.relay_ports;
    tiles.ports.set(total > 0 ? percent(used / total) : count(used), `${count(used)} of ${count(total)}`, portsLevel(stats.relay_ports));
    this.#certificate(stats);
  }

  #certificate({ certificates, time }) {
    const first = certificates.filter(({ not_after }) => isNumber(not_after)).sort((a, b) => a.not_after - b.not_after)[0];
    if (!first) this.#tiles.certificate.set('none', '');
    else this.#tiles.certificate.set(daysLeft(first.not_after, time), `until ${day(first.not_after)}`, certificateLevel(first, time));
  }
}

function mostDropped(drops) {
  const [reason, amount] = Object.entries(drops).reduce((most, entry) => (entry[1] > most[1] ? entry : most), ['', 0]);
  return amount > 0 ? `most: ${words(reason)}` : 'none since the start';
}

export function daysLeft(end, time) {
  const days = Math.floor((end - time) / 86400);
  if (end <= time) return 'expired';
  return days === 0 ? 'hours left' : days === 1 ? '1 day left' : `${count(days)} days left`;
}

/** A self-signed one is nobody's to renew: it is made anew at each start. */
export function certificateLevel({ not_after, source }, time) {
  if (!isNumber(not_after) || source === 'self_signed') return null;
  if (not_after <= time) return 'bad';
  return not_after - time < 14 * 86400 ? 'fair' : null;
}

export function portsLevel({ used, total }) {
  if (!(total > 0) || used / total < 0.8) return null;
  return used / total >= 0.95 ? 'bad' : 'fair';
}
