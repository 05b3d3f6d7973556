// What a person should look at, above every view: each with its shape and its way out.
import { byId, el } from './dom.mjs';
import { count, percent } from './format.mjs';
import { certificateLevel, daysLeft, portsLevel } from './overview.mjs';
import { mark } from './parts.mjs';

/** `[level, text]` for each. */
export function noticesOf(stats, pageVersion) {
  const notices = [];
  if (stats.version !== pageVersion) notices.push(['fair', `relayd is ${stats.version} now and this page is ${pageVersion}: load it again.`]);
  if (stats.draining) notices.push(['fair', 'The server drains: it takes no new calls, and those there are go on.']);
  for (const certificate of stats.certificates) {
    const level = certificateLevel(certificate, stats.time);
    if (!level) continue;
    const left = daysLeft(certificate.not_after, stats.time);
    const name = certificate.names[0] ?? 'a certificate';
    notices.push([level, left === 'expired' ? `The certificate of ${name} has expired: TLS clients are refused.` : `The certificate of ${name} runs out: ${left}.`]);
  }
  const { used, total, range } = stats.relay_ports;
  const level = portsLevel(stats.relay_ports);
  if (level) notices.push([level, `${percent(used / total)} of the relay ports ${range} are in use (${count(used)} of ${count(total)}): new calls are refused when they are all.`]);
  return notices;
}

let shownAs = '';

export function showNotices(notices) {
  const sign = JSON.stringify(notices);
  if (sign === shownAs) return;
  shownAs = sign;
  const list = byId('notices');
  list.hidden = notices.length === 0;
  list.replaceChildren(el('ul', { class: 'notices' }, notices.map(([level, text]) => el('li', { class: 'notice', 'data-level': level }, mark(level, text)))));
}
