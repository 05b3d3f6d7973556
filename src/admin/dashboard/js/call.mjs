// One call: both sides' quality over its whole time, its streams, permissions, channels and addresses.
import { Refusal, ask } from './api.mjs';
import { endCall, ending } from './calls.mjs';
import { el, setText } from './dom.mjs';
import { NONE, age, bits, bytes, count, duration, isNumber, milliseconds, percent, shown, words } from './format.mjs';
import { Facts, section, setMark } from './parts.mjs';
import { Plot } from './plot.mjs';
import { SIDES, level, troubleText } from './quality.mjs';
import { Table } from './table.mjs';

const CALL_PLOTS = [['loss_ratio', 'Loss', 'ratio'], ['jitter_ms', 'Jitter', 'ms'], ['round_trip_ms', 'Round trip', 'ms'], ['bits_per_s', 'Bitrate', 'bits']];
const bothSides = (name) => [
  { name: `client.${name}`, label: 'Client side', tone: 'tone-client' },
  { name: `peer.${name}`, label: 'Peer side', tone: 'tone-peer', dash: true },
];
const FROM = { stun: ' by STUN', rtcp: ' by RTCP' };

/** What is told of a side, one line each. */
const SIDE_MEASURES = [
  ['Loss', (side) => percent(side.loss_ratio)],
  ['Jitter', (side) => milliseconds(side.jitter_ms)],
  ['Round trip', (side) => milliseconds(side.round_trip_ms) + (isNumber(side.round_trip_ms) ? FROM[side.round_trip_from] ?? '' : '')],
  ['Bitrate', (side) => bits(side.bits_per_s)],
  ['RTP packets a second', (side) => shown('rate', side.packets_per_s)],
  ['RTP packets expected', (side) => count(side.expected)],
  ['Lost', (side) => count(side.lost)],
  ['Out of order', (side) => count(side.reordered)],
  ['Received twice', (side) => count(side.duplicates)],
  ['Streams begun anew', (side) => count(side.restarts)],
  ...Object.entries({ rtp: 'RTP', rtcp: 'RTCP', stun: 'STUN', dtls: 'DTLS', other: 'Other' }).map(([kind, name]) => [`${name} packets`, (side) => count(side.packets[kind])]),
];

const STREAM_COLUMNS = [
  { id: 'ssrc', label: 'SSRC', text: ({ ssrc }) => ssrc.toString(16).padStart(8, '0'), value: ({ ssrc }) => ssrc },
  { id: 'from', label: 'From', text: ({ from }) => (from === 'client' ? 'client' : 'peer'), value: ({ from }) => from },
  { id: 'peer', label: 'Peer', mark: () => 'address', text: ({ peer }) => peer },
  { id: 'type', label: 'Type', text: ({ payload_type, clock_rate_hz }) => (isNumber(clock_rate_hz) ? `${payload_type}, ${clock_rate_hz / 1000} kHz` : String(payload_type)) },
  { id: 'rate', label: 'Bitrate', numeric: true, text: ({ bits_per_s }) => bits(bits_per_s), value: ({ bits_per_s }) => bits_per_s },
  { id: 'loss', label: 'Loss', numeric: true, text: ({ loss_ratio }) => percent(loss_ratio), value: ({ loss_ratio }) => loss_ratio },
  { id: 'jitter', label: 'Jitter', numeric: true, text: ({ jitter_ms }) => milliseconds(jitter_ms), value: ({ jitter_ms }) => jitter_ms },
  { id: 'packets', label: 'Packets', numeric: true, text: ({ packets }) => count(packets), value: ({ packets }) => packets },
  { id: 'lost', label: 'Lost', numeric: true, text: ({ lost }) => count(lost), value: ({ lost }) => lost },
  { id: 'late', label: 'Out of order', numeric: true, text: ({ reordered }) => count(reordered) },
  { id: 'idle', label: 'Silent for', numeric: true, text: ({ idle_s }) => age(idle_s), value: ({ idle_s }) => idle_s },
];

export class Call {
  #feed;
  #id;
  #quality;
  #both;
  #unmeasured;
  #ended = false;
  #last = null;
  #trouble = el('p', { class: 'mark large', 'data-level': 'none' }, el('span', { class: 'mark-text' }, ''));
  #state = el('p', { class: 'fault', role: 'status', hidden: true });
  #facts = new Facts();
  #plots = CALL_PLOTS.map(([name, title, kind]) => ({ name, plot: new Plot({ title, kind, series: bothSides(name) }) }));
  #sides = new Table({
    caption: 'Both sides', key: ([name]) => name, empty: '', columns: [
      { id: 'what', label: 'Measure', text: ([name]) => name },
      { id: 'client', label: 'Client side', numeric: true, text: ([, client]) => client },
      { id: 'peer', label: 'Peer side', numeric: true, text: ([, , peer]) => peer },
    ],
  });
  #streams = new Table({ caption: 'RTP streams', cards: true, key: (row) => `${row.from} ${row.peer} ${row.ssrc}`, empty: 'No RTP stream.', columns: STREAM_COLUMNS, sort: 'rate' });
  #forgotten = el('p', { class: 'soft' });
  #permissions = new Table({
    caption: 'Permissions', key: ({ ip }) => ip, empty: 'No permission is in force.', columns: [
      { id: 'ip', label: 'Peer', mark: () => 'address', text: ({ ip }) => ip },
      { id: 'left', label: 'Ends in', numeric: true, text: (row) => age(row.lifetime_left_s) },
    ],
  });
  #channels = new Table({
    caption: 'Channels', key: ({ number }) => number, empty: 'No channel is bound.', columns: [
      { id: 'number', label: 'Channel', text: ({ number }) => `0x${number.toString(16)}` },
      { id: 'peer', label: 'Peer', mark: () => 'address', text: ({ peer }) => peer },
      { id: 'left', label: 'Ends in', numeric: true, text: (row) => age(row.lifetime_left_s) },
    ],
  });

  constructor(feed, id) {
    this.#feed = feed;
    this.#id = id;
    this.title = `Call ${id}`;
    this.endButton = el('button', { type: 'button', class: 'danger', onclick: () => this.#end() }, 'End this call');
    this.#quality = el('div', { class: 'stack' },
      el('div', { class: 'plots four' }, this.#plots.map(({ plot }) => plot.element)),
      section('Streams', this.#streams.element, this.#forgotten));
    this.#both = section('Both sides', this.#sides.element);
    this.#unmeasured = el('p', { class: 'card soft' }, 'Nothing of this call’s quality is known: no media that can be measured has passed, or turn.call_quality is off.');
    this.element = el('div', { class: 'stack' },
      el('p', { class: 'crumbs' }, el('a', { href: '#/calls' }, 'All calls')),
      this.#state,
      el('div', { class: 'call-head' }, this.#trouble, this.endButton),
      section('This call', this.#facts.element), this.#quality, this.#unmeasured,
      el('div', { class: 'columns three' }, this.#both, section('Permissions', this.#permissions.element), section('Channels', this.#channels.element)));
  }


  async #end() {
    const row = this.#last;
    const gone = row ? await endCall(row) : await ending(`allocations/${this.#id}`, 'End this call?', [], this.title);
    if (gone) this.#feed.now();
  }

  async load() {
    if (this.#ended) return;
    try {
      const answer = await ask(`allocations/${encodeURIComponent(this.#id)}`);
      this.#last = answer.allocation;
      this.#show(answer.allocation, answer.time);
    } catch (error) {
      if (!(error instanceof Refusal) || (error.kind !== 'missing' && error.kind !== 'refused')) throw error;
      this.#gone(error);
    }
  }

  /** What was last known stays. */
  #gone(error) {
    this.#ended = true;
    const never = this.#last ? 'What follows is its last state.' : 'Nothing of it is known any more.';
    setText(this.#state, error.kind === 'missing' ? `This call has ended. ${never}` : `This cannot be shown: ${error.message}.`);
    this.#state.hidden = false;
    // The focus may be on it.
    if (document.activeElement === this.endButton) document.getElementById('title').focus();
    this.endButton.hidden = true;
    this.element.dataset.state = 'ended';
    if (!this.#last) for (const part of this.element.querySelectorAll('.card, .call-head, .plots')) part.hidden = true;
  }

  #show(call, time) {
    setMark(this.#trouble, level(call.quality), troubleText(call.quality));
    this.#facts.set([
      ['User', call.user], ['Client', `${call.client}, ${call.transport.toUpperCase()}`], ['Server', call.server], ['Relayed', call.relayed.join(', ')],
      ['Age', duration(call.age_s)], ['Ends in, unless refreshed', duration(call.lifetime_left_s)],
      ['To peer', `${bytes(call.to_peer.bytes)}, ${count(call.to_peer.packets)} packets`], ['To client', `${bytes(call.to_client.bytes)}, ${count(call.to_client.packets)} packets`],
      ['Worker', String(call.worker)], ['Permissions, channels', `${call.permission_count}, ${call.channel_count}`],
    ]);
    this.#permissions.render(call.permissions);
    this.#channels.render(call.channels);
    this.#quality.hidden = !call.quality;
    this.#both.hidden = !call.quality;
    this.#unmeasured.hidden = Boolean(call.quality);
    if (call.quality) this.#showQuality(call.quality, time);
  }

  #showQuality(quality, time) {
    this.#sides.render(SIDE_MEASURES.map(([name, text]) => [name, ...Object.keys(SIDES).map((side) => (quality[side] ? text(quality[side]) : NONE))]));
    this.#streams.render(quality.streams ?? []);
    const forgotten = quality.streams_forgotten ?? 0;
    setText(this.#forgotten, forgotten > 0 ? `${count(forgotten)} more ${words('streams')} are not kept.` : '');
    this.#forgotten.hidden = forgotten === 0;
    const { history } = quality;
    if (!history) return;
    const values = (path) => {
      const [side, name] = path.split('.');
      return history[side]?.[name] ?? [];
    };
    // An older server says neither: then the last step is taken for a whole one that ends now.
    const { step_s: step, last_step_s: lastStep = step, age_s: sinceEnd = 0 } = history;
    for (const { name, plot } of this.#plots) {
      plot.update({ end: time - sinceEnd, step, lastStep, count: Math.max(values(`client.${name}`).length, values(`peer.${name}`).length), values });
    }
  }
}
