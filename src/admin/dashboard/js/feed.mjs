// The one loop that asks: /stats, then the history where it is due, then what the view shows. Nothing is asked while nobody looks.
import { Refusal, ask } from './api.mjs';
import { History, Live } from './samples.mjs';

const INTERVAL_MS = 2000;
/** The view's own lists are asked for in every second round. */
const ROUNDS_PER_LOAD = 2;
const BACK_OFF_MS_MAX = 30000;
/** What /stats cannot tell, such as latencies, comes with the history: so often, and not oftener than every twelfth step. */
const HISTORY_EVERY_S = 60;
const HISTORY_STEPS = 12;

export class Feed {
  live = new Live();
  history = new History();
  stats = null;
  /** connecting, ok, silent or unauthorized; `error` says why, `lastGood` and `retryAt` are in ms. */
  link = 'connecting';
  error = null;
  lastGood = null;
  retryAt = null;
  paused = false;
  #page;
  #view = null;
  #timer = null;
  #failures = 0;
  #round = 0;
  #running = false;
  #again = false;
  #historyAt = 0;

  /** `page` is told: `stats(stats)`, `link(feed)`. */
  constructor(page) {
    this.#page = page;
    document.addEventListener('visibilitychange', () => { if (!document.hidden) this.now(); });
  }

  /** Another view: it is asked for at once. */
  show(view) {
    this.#view = view;
    this.now();
  }

  pause(paused) {
    this.paused = paused;
    if (!paused) this.now();
  }

  /** A round at once, or right after the one under way. */
  now() {
    this.#round = 0;
    if (this.#running) {
      this.#again = true;
      return;
    }
    clearTimeout(this.#timer);
    this.#run();
  }

  async #run() {
    this.#running = true;
    this.#again = false;
    const wait = await this.#ask();
    this.#running = false;
    if (this.#again) this.#run();
    else if (wait !== null) this.#timer = setTimeout(() => this.#tick(), wait);
  }

  #tick() {
    if (document.hidden || this.paused) {
      this.#timer = setTimeout(() => this.#tick(), INTERVAL_MS);
      return;
    }
    this.#run();
  }

  /** One round; gives the wait until the next one, or null while a token is wanted. */
  async #ask() {
    try {
      const stats = await ask('stats');
      await this.#take(stats);
      if (this.#round % ROUNDS_PER_LOAD === 0) await this.#view?.load?.();
      this.#round += 1;
      this.#failures = 0;
      this.#set('ok', null);
      return INTERVAL_MS;
    } catch (error) {
      return this.#failed(error instanceof Refusal ? error : this.#broken(error));
    }
  }

  /** An answer that this page does not understand; the next one may be of a version that it does. */
  #broken(error) {
    console.error(error);
    return new Refusal('broken', `this page cannot show the answer (${error.message})`);
  }

  #failed(error) {
    if (error.kind === 'unauthorized') {
      this.#set('unauthorized', error);
      return null;
    }
    const wait = Math.min(BACK_OFF_MS_MAX, INTERVAL_MS * 2 ** this.#failures);
    this.#failures += 1;
    this.retryAt = Date.now() + wait;
    this.#set('silent', error);
    return wait;
  }

  #set(link, error) {
    if (link === 'ok') this.lastGood = Date.now();
    this.link = link;
    this.error = error;
    this.#page.link(this);
  }

  async #take(stats) {
    const sample = this.live.add(stats);
    this.stats = stats;
    const { history } = this;
    const due = Math.max(HISTORY_EVERY_S, history.step * HISTORY_STEPS);
    if (stats.time - this.#historyAt > due || stats.time < this.#historyAt) history.want();
    const moved = history.add(sample, stats.time);
    this.#page.stats(stats);
    if (history.wanted) {
      const answer = await ask(`history?span=${history.span}`);
      if (history.load(answer)) {
        this.#historyAt = stats.time;
        history.add(sample, stats.time);
      }
      this.#view?.plots?.update();
    } else if (moved) {
      this.#view?.plots?.update();
    }
  }
}
