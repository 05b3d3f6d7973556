// Requests to this listener, and what can come of them.

const TOKEN_KEY = 'relayd-admin-token';
/** The listener's own limit is 10 s. */
const PATIENCE_MS = 12000;

/** `kind`: silent (no answer), unavailable (503), unauthorized (401), limited (429), missing (404), refused (any other). */
export class Refusal extends Error {
  constructor(kind, message, status = 0) {
    super(message);
    this.kind = kind;
    this.status = status;
  }

  /** Another try may go better, without anybody's doing. */
  get passes() {
    return this.kind === 'silent' || this.kind === 'unavailable' || this.kind === 'limited';
  }
}

const KINDS_BY_STATUS = { 401: 'unauthorized', 404: 'missing', 429: 'limited', 500: 'unavailable', 502: 'unavailable', 503: 'unavailable', 504: 'unavailable' };

// A browser that keeps nothing for this page still works until it is reloaded.
let kept = null;

export function token() {
  try {
    return sessionStorage.getItem(TOKEN_KEY) ?? kept;
  } catch {
    return kept;
  }
}

export function keepToken(value) {
  kept = value;
  try {
    if (value === null) sessionStorage.removeItem(TOKEN_KEY);
    else sessionStorage.setItem(TOKEN_KEY, value);
  } catch {
    // Kept above.
  }
}

/** Asks for JSON. Paths are relative, so that the page also works below a path of a proxy's. */
export async function ask(path, method = 'GET') {
  const bearer = token();
  const headers = bearer === null ? {} : { authorization: `Bearer ${bearer}` };
  let answer;
  let body;
  try {
    answer = await fetch(path, { method, headers, cache: 'no-store', credentials: 'same-origin', redirect: 'error', signal: AbortSignal.timeout(PATIENCE_MS) });
    body = await answer.json();
  } catch (error) {
    if (answer && !answer.ok) throw new Refusal(KINDS_BY_STATUS[answer.status] ?? 'refused', `status ${answer.status}`, answer.status);
    // A token with characters that no header can carry fails before it is sent.
    if (error instanceof TypeError && bearer !== null && !/^[\x20-\x7e]*$/.test(bearer)) throw new Refusal('unauthorized', 'the token has characters that cannot be sent', 401);
    throw new Refusal('silent', 'the server does not answer');
  }
  if (answer.ok) return body;
  throw new Refusal(KINDS_BY_STATUS[answer.status] ?? 'refused', body?.error?.message ?? `status ${answer.status}`, answer.status);
}

/** A path with those parameters that have a value. */
export function withQuery(path, parameters) {
  const given = Object.entries(parameters).filter(([, value]) => value !== null && value !== undefined && value !== '');
  return given.length === 0 ? path : `${path}?${new URLSearchParams(given)}`;
}
