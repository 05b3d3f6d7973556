'use strict';
// A relay-only call to itself for each transport, and the proxy's probes. Machine-readable: `window.relaydResult` is a
// promise of the array of results, and every row, the summary and <html> carry `data-state`: waiting, running, ok, failed.
(() => {
  const data = JSON.parse(document.getElementById('relayd-data').textContent);
  const byId = (id) => document.getElementById(id);
  const TRANSPORTS = { udp: 'UDP', tcp: 'TCP', tls: 'TLS' };
  const RELAY_WAIT_MS = 20000, REFUSED_WAIT_MS = 2000, CONNECT_WAIT_MS = 20000, ECHO_WAIT_MS = 5000, VIDEO_WAIT_MS = 10000, PROBE_WAIT_MS = 20000;
  const COPIED_SHOWN_MS = 3000, ECHOES = 10, FRAMES_WANTED = 20, BODY_SHOWN = 400;

  let publish;
  window.relaydResult = new Promise((resolve) => { publish = resolve; });

  // ---- what the page knows when it opens ----
  const pagePort = Number(location.port) || (location.protocol === 'https:' ? 443 : 80);
  const ports = {
    udp: data.udp_port,
    tcp: data.tcp_port,
    // The page came by this port, whatever a port mapping makes of the configured one, and TLS TURN shares it.
    tls: data.tls_port && location.protocol === 'https:' ? pagePort : data.tls_port,
  };
  byId('host').value = location.hostname;
  byId('username').value = data.username || '';
  byId('credential').value = data.credential || '';
  for (const transport of Object.keys(TRANSPORTS)) byId('port-' + transport).value = ports[transport] || '';

  showCode();

  byId('settings').addEventListener('submit', (event) => {
    event.preventDefault();
    run();
  });

  // ---- code to copy ----
  function showCode() {
    byId('client-code').hidden = data.snippets.length === 0;
    byId('code-hint').textContent = data.credential
      ? 'It carries the user and password of this run.'
      : 'Put in a TURN user and its password; `relayd snippet` prints it with those of your configuration.';
    for (const snippet of data.snippets) {
      const entry = byId('code').content.cloneNode(true);
      entry.querySelector('summary').textContent = snippet.title;
      entry.querySelector('pre').textContent = snippet.text;
      const button = entry.querySelector('button');
      button.addEventListener('click', () => copy(snippet.text, button));
      byId('client-code').append(entry);
    }
  }

  async function copy(text, button) {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = 'Copied';
    } catch {
      // No permission, or no clipboard outside a secure context: the text is marked, so that a key press copies it.
      getSelection().selectAllChildren(button.nextElementSibling);
      button.textContent = 'Marked: press Ctrl+C';
    }
    setTimeout(() => { button.textContent = 'Copy'; }, COPIED_SHOWN_MS);
  }

  // ---- a run ----
  async function run() {
    byId('start').disabled = true;
    setSummary('running', 'Testing…');
    byId('calls').replaceChildren();
    byId('probes').replaceChildren();
    for (const section of document.querySelectorAll('main > section')) section.hidden = false;
    byId('probes-section').hidden = data.probes.length === 0;
    const host = byId('host').value.trim();
    const login = { username: byId('username').value, credential: byId('credential').value };
    const servers = [];
    for (const [transport, name] of Object.entries(TRANSPORTS)) {
      const port = byId('port-' + transport).value.trim();
      if (!port) continue;
      const urls = `${transport === 'tls' ? 'turns' : 'turn'}:${host}:${port}?transport=${transport === 'udp' ? 'udp' : 'tcp'}`;
      servers.push({ transport, name, host, port, urls });
    }
    const ice = [{ urls: servers.map((server) => server.urls), ...login }];
    byId('snippet').textContent = 'const iceServers = ' + JSON.stringify(ice, null, 2) + ';';

    const work = [];
    for (const server of servers) {
      work.push(attempt('calls', { kind: 'call', transport: server.transport, target: server.urls }, `${server.name}, port ${server.port}`,
        (row, result) => call(server, login, row, result)));
    }
    for (const probe of data.probes) {
      const test = probe.kind === 'websocket' ? webSocketProbe : fetchProbe;
      const target = probe.kind === 'websocket' ? webSocketUrl(probe.path) : probe.path;
      work.push(attempt('probes', { kind: probe.kind, vendor: probe.vendor, target }, `${probe.vendor}: ${probe.title}`,
        (row, result) => test(probe, row, result)));
    }
    const results = await Promise.all(work);
    const failed = results.filter((result) => result.state !== 'ok');
    if (results.length === 0) setSummary('failed', 'Nothing to test: no port is set.');
    else if (failed.length === 0) setSummary('ok', `Everything works: ${counted(results)}.`);
    else if (data.self_signed && failed.every((result) => result.transport === 'tls')) setSummary('failed', 'Everything works but TURN over TLS, which this browser does not do with this certificate. See below.');
    else setSummary('failed', `${failed.length} of ${results.length} tests failed: ${counted(failed)}. The cause is below.`);
    byId('report-text').textContent = JSON.stringify({ page: location.origin, browser: navigator.userAgent, results }, null, 2);
    byId('start').disabled = false;
    publish(results);
    window.relaydResult = Promise.resolve(results);
  }

  /** Runs one test in a row of its own; a Failure becomes its cause and fix, and nothing it does stops the others. */
  async function attempt(list, result, title, test) {
    const row = newRow(list, result, title);
    row.state('running');
    try {
      await test(row, result);
      result.state = 'ok';
    } catch (error) {
      const failure = error instanceof Failure ? error : new Failure(`The page itself failed: ${error}`, 'Please report this, with your browser\'s version.');
      Object.assign(result, { state: 'failed', what: failure.message, fix: failure.fix, ...failure.details });
      row.cause(failure);
    }
    row.state(result.state);
    return result;
  }

  // ---- a relay-only call from this page to itself ----
  async function call(server, login, row, result) {
    const config = { iceServers: [{ urls: server.urls, ...login }], iceTransportPolicy: 'relay' };
    const errors = [];
    const started = performance.now();
    let caller, callee;
    try {
      caller = new RTCPeerConnection(config);
      callee = new RTCPeerConnection(config);
    } catch (error) {
      caller?.close();
      throw new Failure(`The browser refuses this TURN server: ${error.message}`, 'Check the server name and the port. Browsers allow TURN on the ports 53, 80, 443 and 1024 to 65535.');
    }
    const film = testFilm();
    try {
      const relayed = gathered(caller, errors);
      const relayedToo = gathered(callee, errors);
      caller.addEventListener('icecandidate', (event) => { if (event.candidate) callee.addIceCandidate(event.candidate).catch(() => {}); });
      callee.addEventListener('icecandidate', (event) => { if (event.candidate) caller.addIceCandidate(event.candidate).catch(() => {}); });
      const screen = document.createElement('video');
      screen.muted = true;
      callee.addEventListener('track', (event) => {
        screen.srcObject = event.streams[0] || new MediaStream([event.track]);
        screen.play().catch(() => {});
      });
      callee.addEventListener('datachannel', (event) => {
        event.channel.addEventListener('message', (message) => event.channel.send(message.data));
      });
      const channel = caller.createDataChannel('relayd');
      const opened = new Promise((resolve) => channel.addEventListener('open', resolve, { once: true }));
      caller.addTrack(film.track, film.stream);

      // Descriptions are exchanged before candidates can be: addIceCandidate needs a remote description.
      const offer = await caller.createOffer();
      await callee.setRemoteDescription(offer);
      await caller.setLocalDescription(offer);
      const answer = await callee.createAnswer();
      await caller.setRemoteDescription(answer);
      await callee.setLocalDescription(answer);

      const candidate = await within(RELAY_WAIT_MS, Promise.all([relayed, relayedToo]), () => null);
      const first = candidate && candidate[0];
      if (!first || !candidate[1]) throw noCandidate(server, errors, result, candidate === null);
      result.relayed = `${first.address}:${first.port}`;
      result.candidate_ms = Math.round(performance.now() - started);
      row.fact('Relayed address', result.relayed);
      row.fact('Obtained in', `${result.candidate_ms} ms`);

      await within(CONNECT_WAIT_MS, opened, () => { throw notConnected(server, result, caller); });
      result.connected_ms = Math.round(performance.now() - started);
      row.fact('Connected in', `${result.connected_ms} ms`);
      result.round_trip_ms = await roundTrip(channel);
      row.fact('Round trip', `${result.round_trip_ms} ms`);

      const seen = await video(caller, callee);
      Object.assign(result, seen);
      row.fact('Relay protocol', seen.relay_protocol || 'not told by this browser');
      row.fact('Packets', `${seen.packets_sent} sent, ${seen.packets_received} received, ${seen.packets_lost} lost`);
      row.fact('Video frames', `${seen.frames_decoded} decoded`);
      if (seen.frames_decoded === 0) {
        throw new Failure('Data passes, but no picture arrived.', 'Large packets may be lost on the way: look for a tunnel or VPN with a small MTU between this browser and the server.');
      }
      if (seen.relay_protocol && seen.relay_protocol !== server.transport) {
        throw new Failure(`The call went by ${seen.relay_protocol}, not by ${server.transport}.`, 'Please report this, with your browser\'s version.');
      }
      if (isPrivate(first.address) && !isPrivate(location.hostname.replace(/^\[|\]$/g, ''))) {
        result.note = `${first.address} is a private address: clients elsewhere cannot reach it. Set server.external_ip to this server's public address.`;
        row.note(result.note);
      }
    } finally {
      film.stop();
      caller.close();
      callee.close();
    }
  }

  /** Resolves with the first relay candidate, or null when gathering ends without one. */
  function gathered(connection, errors) {
    return new Promise((resolve) => {
      connection.addEventListener('icecandidate', (event) => {
        if (!event.candidate) resolve(null);
        else if (event.candidate.type === 'relay') resolve({ address: event.candidate.address, port: event.candidate.port });
      });
      connection.addEventListener('icegatheringstatechange', () => {
        if (connection.iceGatheringState === 'complete') resolve(null);
      });
      connection.addEventListener('icecandidateerror', (event) => {
        errors.push({ code: event.errorCode, text: event.errorText });
        // The server has spoken; another network interface may still do better, but not after half a minute of gathering.
        if (event.errorCode !== 701) setTimeout(resolve, REFUSED_WAIT_MS, null);
      });
    });
  }

  async function roundTrip(channel) {
    const times = [];
    for (let i = 0; i < ECHOES; i += 1) {
      const sent = performance.now();
      const echo = new Promise((resolve) => channel.addEventListener('message', resolve, { once: true }));
      channel.send(`echo ${i}`);
      const answer = await within(ECHO_WAIT_MS, echo, () => {
        throw new Failure('The data channel opened, but what is sent on it does not come back.', 'Look into relayd\'s log for the end of this allocation and its reason.');
      });
      if (answer.data !== `echo ${i}`) throw new Failure('The data channel gave other bytes back than were sent.', 'Please report this.');
      times.push(performance.now() - sent);
    }
    times.sort((a, b) => a - b);
    return Math.round(times[times.length >> 1] * 10) / 10;
  }

  /** Waits for decoded frames, then reads how they came. */
  async function video(caller, callee) {
    const until = performance.now() + VIDEO_WAIT_MS;
    for (;;) {
      const seen = summarise(await caller.getStats(), await callee.getStats());
      if (seen.frames_decoded >= FRAMES_WANTED || performance.now() > until) return seen;
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  }

  function summarise(sender, receiver) {
    const seen = { relay_protocol: '', packets_sent: 0, packets_received: 0, packets_lost: 0, frames_decoded: 0 };
    for (const entry of sender.values()) {
      if (entry.type === 'outbound-rtp') seen.packets_sent += entry.packetsSent || 0;
      const chosen = (entry.type === 'transport' && sender.get(entry.selectedCandidatePairId)) || (entry.type === 'candidate-pair' && entry.selected && entry);
      const local = chosen && sender.get(chosen.localCandidateId);
      if (local && local.relayProtocol) seen.relay_protocol = local.relayProtocol;
    }
    for (const entry of receiver.values()) {
      if (entry.type !== 'inbound-rtp') continue;
      seen.packets_received += entry.packetsReceived || 0;
      seen.packets_lost += entry.packetsLost || 0;
      seen.frames_decoded += entry.framesDecoded || 0;
    }
    return seen;
  }

  /** A moving picture without a camera; drawn by a timer, since animation frames stop in a hidden tab. */
  function testFilm() {
    const canvas = document.createElement('canvas');
    canvas.width = 320;
    canvas.height = 180;
    const pen = canvas.getContext('2d');
    let frame = 0;
    const draw = () => {
      frame += 1;
      pen.fillStyle = `hsl(${(frame * 7) % 360} 70% 45%)`;
      pen.fillRect(0, 0, canvas.width, canvas.height);
      pen.fillStyle = '#fff';
      pen.font = '48px sans-serif';
      pen.fillText(String(frame), (frame * 5) % canvas.width, 110);
    };
    draw();
    const timer = setInterval(draw, 50);
    const stream = canvas.captureStream(20);
    const [track] = stream.getVideoTracks();
    return { stream, track, stop: () => { clearInterval(timer); track.stop(); } };
  }

  // ---- why a call fails ----
  function noCandidate(server, errors, result, late) {
    const told = errors.find((error) => error.code !== 701) || errors[0];
    if (told) result.ice_error = told;
    const said = told ? `${told.code}${told.text ? ` ${told.text}` : ''}` : '';
    const silence = late ? `no answer within ${RELAY_WAIT_MS / 1000} s.` : 'the browser gave no reason.';
    const heading = `No relayed address: ${said || silence}`;
    return new Failure(heading, iceFix(server, told));
  }

  function iceFix(server, told) {
    const where = `${server.name} port ${server.port}`;
    switch (told && told.code) {
      case 400: return 'The server found the request malformed. Look into relayd\'s log; is another TURN server listening on this port?';
      case 401: return 'The credentials are not accepted. Check user and password; for time-limited credentials, check that they have not expired, that both clocks are right and that the secret is the server\'s.';
      case 403: return 'The server\'s peer policy forbids it. See turn.peers.allow and turn.peers.deny.';
      case 437: return 'An old allocation still holds this port. Run the test again.';
      case 438: return 'The server\'s nonce changed too fast: its clock, or a load balancer that spreads one client over several servers with different keys.';
      case 440: case 443: return 'The server has no relay address of the wanted family. See turn.relay_ip.';
      case 442: return 'The server does not relay by the wanted transport.';
      case 486: return 'This user has as many allocations as turn.limits allows. Raise allocations_per_user, or end other calls.';
      case 508: return 'The server has no free port or file descriptor left. Widen turn.relay_ports, raise the open-files limit, or look at allocations_total.';
      default: break;
    }
    if (told && /host lookup/i.test(told.text)) return `The browser found no address for the name ${server.host}.`;
    if (server.transport === 'tls') return tlsFix(server, where);
    if (!told && navigator.userAgent.includes('Firefox/') && isPrivate(server.host)) {
      return `${where} was not reached. Firefox makes no call from a machine without a default route, even to itself; otherwise check that relayd listens on this port.`;
    }
    const udp = server.transport === 'udp' ? ' UDP is often blocked in company networks; then TCP or TLS must work.' : '';
    return `${where} was not reached. Check that relayd listens on it, that the server's firewall or cloud security group opens it, and that ${server.host} is the server's address.${udp}`;
  }

  /** What each browser makes of a certificate for TURN was found out by trying: Chromium 156, Firefox ESR 153. */
  function tlsFix(server, where) {
    const firefox = navigator.userAgent.includes('Firefox/');
    const pageCameHere = location.protocol === 'https:' && Number(server.port) === pagePort && server.host === location.hostname;
    if (firefox && isAddress(server.host)) {
      const name = data.domain && !isAddress(data.domain) ? data.domain : isPrivate(server.host) ? 'localhost, on the server itself' : 'a name';
      return `Firefox does TURN over TLS to a name only, not to an address. Open this page by ${name}.`;
    }
    const reach = pageCameHere ? 'The port is open, since this page came by it, but' : `${where} was not reached, or`;
    if (data.self_signed && !firefox) {
      const browser = data.key_sha256 ? ` For a try, start Chromium or Chrome so: chromium --user-data-dir=/tmp/relayd-try --ignore-certificate-errors-spki-list=${data.key_sha256} ${location.origin}/` : '';
      return `${reach} the certificate is self-signed: this browser showed the page after a warning, but for TURN there is no warning to click away. Use a certificate of a public authority for production.${browser}`;
    }
    const name = data.domain && data.domain !== server.host ? ` Use the server's name, ${data.domain}.` : '';
    return `${reach} the certificate is not accepted.${name} It must be valid for ${server.host}, complete with its chain, and issued by an authority that this browser trusts: for TURN there is no warning to click away.`;
  }

  function isAddress(host) {
    return host.includes(':') || /^[0-9.]+$/.test(host);
  }

  function notConnected(server, result, connection) {
    result.ice_state = connection.iceConnectionState;
    return new Failure('The relayed address was obtained, but nothing passes between two of them.',
      `Both ends are relayed at ${result.relayed}. Check that server.external_ip is right, that turn.peers does not deny this address, and that the server's firewall opens turn.relay_ports for UDP.`);
  }

  function isPrivate(address) {
    return /^(10\.|127\.|169\.254\.|192\.168\.|172\.(1[6-9]|2\d|3[01])\.|100\.(6[4-9]|[7-9]\d|1[01]\d|12[0-7])\.|::1$|f[cd]|fe80:|localhost$)/i.test(address);
  }

  // ---- the proxy ----
  async function fetchProbe(probe, row, result) {
    const started = performance.now();
    const answer = await ask(probe.path);
    result.status = answer.status;
    row.fact('Status', String(answer.status));
    row.fact('Answered in', `${Math.round(performance.now() - started)} ms`);
    const own = ownError(answer);
    if (own) throw proxyFailure(answer, own);
    if (probe.expect_text && (answer.status !== 200 || answer.body.trim() !== probe.expect_text)) {
      throw new Failure(`Expected 200 and "${probe.expect_text}", got ${answer.status}.`, 'The host answered, but not as the vendor\'s SDK wants. Is this the vendor\'s own server, and is its service up?', { body: answer.body.slice(0, BODY_SHOWN) });
    }
    row.fact('Answer', probe.expect_text || 'came from the host itself');
  }

  async function webSocketProbe(probe, row, result) {
    const started = performance.now();
    const socket = probe.protocol ? new WebSocket(webSocketUrl(probe.path), probe.protocol) : new WebSocket(webSocketUrl(probe.path));
    const open = new Promise((resolve) => {
      socket.addEventListener('open', () => resolve(true), { once: true });
      socket.addEventListener('error', () => resolve(false), { once: true });
      socket.addEventListener('close', () => resolve(false), { once: true });
    });
    const opened = await within(PROBE_WAIT_MS, open, () => false);
    if (opened) {
      result.opened_ms = Math.round(performance.now() - started);
      row.fact('Opened in', `${result.opened_ms} ms`);
      socket.close();
      return;
    }
    socket.close();
    // Browsers do not say why a WebSocket failed; a plain request for the same target shows relayd's reason.
    const answer = await ask(probe.path);
    const own = ownError(answer);
    result.status = answer.status;
    row.fact('Same target by fetch', String(answer.status));
    if (own) throw proxyFailure(answer, own);
    throw new Failure('The WebSocket did not open, though the host answers plain requests.', 'Something between the browser and relayd, or the host itself, refuses the upgrade: a load balancer or proxy in front must pass Upgrade and Connection.', { body: answer.body.slice(0, BODY_SHOWN) });
  }

  async function ask(path) {
    const abort = new AbortController();
    const timer = setTimeout(() => abort.abort(), PROBE_WAIT_MS);
    try {
      const answer = await fetch(path, { cache: 'no-store', credentials: 'omit', signal: abort.signal });
      return { status: answer.status, type: answer.headers.get('content-type') || '', body: await answer.text() };
    } catch (error) {
      if (abort.signal.aborted) throw new Failure(`No answer within ${PROBE_WAIT_MS / 1000} s.`, 'relayd waits for a name server or for the host. Does this server have a way out to the internet, and a working resolver?');
      throw new Failure(`The request itself failed: ${error.message}`, 'The browser could not reach relayd over HTTPS any more, or the answer was cut off. Look into relayd\'s log.');
    } finally {
      clearTimeout(timer);
    }
  }

  /** relayd's own errors are a small JSON body with one of its labels; anything else came from the host. */
  function ownError(answer) {
    if (answer.status < 400 || !/^application\/json/i.test(answer.type)) return null;
    try {
      const body = JSON.parse(answer.body);
      return data.error_labels.includes(body.error) ? body : null;
    } catch {
      return null;
    }
  }

  function proxyFailure(answer, own) {
    return new Failure(`relayd answered ${answer.status}: ${own.message || own.error}`, proxyFix(answer.status, own.error), { error: own.error, body: answer.body.slice(0, BODY_SHOWN) });
  }

  function proxyFix(status, error) {
    switch (error) {
      case 'host_not_allowed': return 'Name the host\'s vendor in proxy.vendors, or the host itself in proxy.allow.';
      case 'origin_not_allowed': return `Add ${location.origin} to proxy.cors_origins.`;
      case 'no_route': return 'Name the vendor in proxy.vendors, or add a [[proxy.route]].';
      case 'resolve_failed': case 'resolve_timeout': return 'This server\'s resolver does not find the name. Check its DNS settings and its way out to the internet; proxy.resolve can fix an address.';
      case 'address_denied': return 'The name leads to a private or special address, which the proxy does not connect to. Split DNS? Then give the address in proxy.resolve.';
      case 'connect_failed': case 'connect_timeout': return 'Check that this server has a way out to the internet on this port: firewall, security group, route.';
      case 'tls_certificate_not_yet_valid': case 'tls_certificate_expired': return 'Check this server\'s clock.';
      case 'tls_certificate_untrusted': case 'tls_certificate_wrong_name': return 'Something between this server and the host answers in its place: a TLS-inspecting firewall? If that is intended, name its authority in proxy.ca_file.';
      case 'too_many_requests': case 'upstream_busy': case 'too_many_tunnels': return 'One of proxy.limits is reached.';
      case 'draining': return 'relayd is stopping. Try again when it has started.';
      default: return status >= 500 ? 'Check that this server has a way out to the internet, and look into relayd\'s log.' : 'Look into relayd\'s log.';
    }
  }

  function webSocketUrl(path) {
    return `${location.protocol === 'https:' ? 'wss:' : 'ws:'}//${location.host}${path}`;
  }

  // ---- helpers ----
  class Failure extends Error {
    constructor(what, fix, details) {
      super(what);
      this.fix = fix;
      this.details = details || {};
    }
  }

  /** `promise`, or what `late` returns or throws when it takes longer. */
  function within(ms, promise, late) {
    let timer;
    const timeout = new Promise((resolve, reject) => {
      timer = setTimeout(() => {
        try { resolve(late()); } catch (error) { reject(error); }
      }, ms);
    });
    return Promise.race([promise, timeout]).finally(() => clearTimeout(timer));
  }

  function counted(results) {
    const calls = results.filter((result) => result.kind === 'call');
    const probes = results.length - calls.length;
    const parts = [];
    if (calls.length) parts.push(`${calls.length === 1 ? 'call' : 'calls'} by ${calls.map((result) => TRANSPORTS[result.transport]).join(', ')}`);
    if (probes) parts.push(`${probes} ${probes === 1 ? 'request' : 'requests'} through the proxy`);
    return parts.join(' and ');
  }

  function setSummary(state, text) {
    document.documentElement.dataset.state = state;
    byId('summary').dataset.state = state;
    byId('summary').textContent = text;
  }

  function newRow(list, result, title) {
    const item = byId('row').content.firstElementChild.cloneNode(true);
    const part = (selector) => item.querySelector(selector);
    const words = { running: 'testing…', ok: '✓ works', failed: '✗ failed' };
    item.dataset.kind = result.kind;
    item.dataset.target = result.target;
    if (result.transport) item.dataset.transport = result.transport;
    part('h3').textContent = title;
    part('.target').textContent = result.target;
    byId(list).append(item);
    return {
      state(state) {
        item.dataset.state = state;
        part('.badge').textContent = words[state];
      },
      fact(name, value) {
        const term = document.createElement('dt');
        const definition = document.createElement('dd');
        term.textContent = name;
        definition.textContent = value;
        part('dl').append(term, definition);
      },
      cause(failure) {
        part('.what').textContent = failure.message;
        part('.fix').textContent = failure.fix;
        part('.cause').hidden = false;
        if (failure.details.body) {
          part('.answer').textContent = failure.details.body;
          part('.answer').hidden = false;
        }
      },
      note(text) {
        part('.note').textContent = text;
        part('.note').hidden = false;
      },
    };
  }

  // Last, since all above must be defined by then.
  if (data.username && data.credential) run();
  else setSummary('waiting', 'Fill in a TURN user and its password, then run the test.');
})();
