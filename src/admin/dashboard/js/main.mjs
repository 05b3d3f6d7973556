// The page: its views by the address's fragment, its header, and what it says when the server is silent or wants a token.
import { keepToken, token } from './api.mjs';
import { Call } from './call.mjs';
import { Calls } from './calls.mjs';
import { byId, el, focusTitle, setAttribute, setText } from './dom.mjs';
import { Feed } from './feed.mjs';
import { clock, duration } from './format.mjs';
import { noticesOf, showNotices } from './notices.mjs';
import { Overview } from './overview.mjs';
import { setMark } from './parts.mjs';
import { Proxy } from './proxy.mjs';
import { Server } from './server.mjs';
import { startTheme } from './theme.mjs';
import { Turn } from './turn.mjs';

const VIEWS = { '': Overview, calls: Calls, turn: Turn, proxy: Proxy, server: Server };
const TITLES = { '': 'Overview', calls: 'Calls', turn: 'TURN', proxy: 'Proxy', server: 'Server' };
const PAGE_VERSION = document.querySelector('meta[name=relayd-version]').content;

let view = null;

const feed = new Feed({
  stats(stats) {
    setText(byId('about'), `${stats.version}, up for ${duration(stats.uptime_s)}`);
    showNotices(noticesOf(stats, PAGE_VERSION));
    view?.stats?.(stats);
  },
  link(state) {
    showLink(state);
    if (state.link === 'unauthorized') askForToken();
    else closeTokenForm();
  },
});

// ---- views ----
function open() {
  const [path, query = ''] = location.hash.replace(/^#\/?/, '').split('?');
  const [name, id] = path.split('/');
  if (name === 'allocation' && id) view = new Call(feed, id);
  else view = new (VIEWS[name] ?? Overview)(feed, new URLSearchParams(query));
  const current = name === 'allocation' ? 'calls' : name in VIEWS ? name : '';
  for (const link of byId('views').querySelectorAll('a')) {
    if (link.dataset.view === current) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  setText(byId('title'), view.title);
  document.title = `${view.title} – relayd`;
  byId('view').replaceChildren(view.element);
  if (feed.stats) view.stats?.(feed.stats);
  feed.show(view);
}

// ---- the link to the server ----
const STATES = { ok: ['good', 'Serving'], draining: ['fair', 'Draining'], silent: ['bad', 'No answer'], unauthorized: ['none', 'Token wanted'], paused: ['none', 'Paused'] };

function showLink({ link, error, stats, lastGood, paused }) {
  const state = link === 'ok' ? (paused ? 'paused' : stats?.draining ? 'draining' : 'ok') : link;
  setMark(byId('state'), ...STATES[state]);
  document.documentElement.dataset.link = link;
  const strip = byId('link');
  strip.hidden = link !== 'silent';
  if (link !== 'silent') {
    setText(byId('link-text'), '');
    return;
  }
  const why = error.kind === 'silent' ? 'The server does not answer.' : error.kind === 'broken' ? `Something is wrong: ${error.message}.` : `The server says: ${error.message}.`;
  const since = lastGood === null ? '' : ` What is shown is old: it is of ${clock(lastGood / 1000)}.`;
  setText(byId('link-text'), why + since);
}

/** Counts down for the eye; screen readers are told once. */
function showWait() {
  if (feed.link !== 'silent') return;
  const left = Math.max(0, Math.ceil((feed.retryAt - Date.now()) / 1000));
  setText(byId('link-wait'), left === 0 ? 'Trying again…' : `Trying again in ${left} s`);
}

// ---- the token ----
function askForToken() {
  const main = byId('main');
  if (token() !== null) keepToken(null);
  const wrong = feed.tokenTried ? 'This token is not accepted.' : '';
  let form = byId('token-form');
  if (!form) {
    const input = el('input', { id: 'token', type: 'password', required: true, autocomplete: 'off', spellcheck: 'false', 'aria-describedby': 'token-fault' });
    form = el('form', { id: 'token-form', class: 'card token', onsubmit: (event) => { event.preventDefault(); tryToken(input.value.trim()); } },
      el('h2', {}, 'Token wanted'),
      el('p', { class: 'soft' }, 'This server’s admin.token protects its numbers. The token is kept until this tab is closed, and sent to this server only.'),
      el('label', {}, 'Token', input), el('p', { id: 'token-fault', class: 'fault', role: 'alert', hidden: true }), el('button', { type: 'submit' }, 'Show the dashboard'));
    main.append(form);
    byId('view').hidden = true;
    byId('views').hidden = byId('pause').hidden = true;
    setText(byId('title'), 'relayd');
    input.focus();
  }
  const fault = byId('token-fault');
  setText(fault, wrong);
  fault.hidden = wrong === '';
  if (wrong) {
    byId('token').value = '';
    byId('token').focus();
  }
  byId('forget').hidden = true;
}

function tryToken(value) {
  if (value === '') return;
  keepToken(value);
  feed.tokenTried = true;
  feed.now();
}

function closeTokenForm() {
  byId('forget').hidden = token() === null;
  const form = byId('token-form');
  if (!form || feed.link !== 'ok') return;
  form.remove();
  feed.tokenTried = false;
  byId('view').hidden = false;
  byId('views').hidden = byId('pause').hidden = false;
  setText(byId('title'), view.title);
  focusTitle();
}

// ---- start ----
byId('views').append(el('ul', {}, Object.entries(TITLES).map(([name, title]) => el('li', {}, el('a', { href: `#/${name}`, 'data-view': name }, title)))));
byId('views').hidden = false;
byId('skip').addEventListener('click', (event) => {
  event.preventDefault();
  focusTitle();
});
byId('pause').addEventListener('click', () => {
  feed.pause(!feed.paused);
  setAttribute(byId('pause'), 'aria-pressed', feed.paused);
  showLink(feed);
});
byId('link-now').addEventListener('click', () => feed.now());
byId('forget').addEventListener('click', () => {
  keepToken(null);
  location.reload();
});
window.addEventListener('hashchange', () => {
  open();
  focusTitle();
});
setInterval(showWait, 500);
startTheme();
open();
