// The audit log, loaded in pages from the newest event on; later events are added in front. It knows no DOM: the view
// reads `events` and listens for `change`.

import { events as ask } from './commands.js';
import { EVENT_PAGES } from './event-columns.js';
import { eventFilter } from './fields.js';
import { parse } from './query.js';

const PAGE = 500;
/** How many events are loaded for a filter that the page applies itself, without anybody scrolling. */
const FAR = 5000;
/** With fewer matches than this, more events are loaded. */
const ENOUGH = 100;
/** How many events are kept. */
const MOST = 20_000;
/** New events are asked for at most this often, in ms. */
const PACE = 1500;

export class History extends EventTarget {
  #asked = null;
  #next = null;
  #run = 0;
  #loading = false;
  #freshAt = 0;
  #seen = -1;

  constructor() {
    super();
    this.page = 'ended';
    this.query = '';
    /** All that was loaded, newest first. */
    this.loaded = [];
    /** Those of them that pass the filter. */
    this.events = [];
    this.unknown = [];
    this.error = null;
    this.version = 0;
  }

  get complete() {
    return this.#next === null && !this.#loading;
  }

  get loading() {
    return this.#loading;
  }

  /** Shows `page` under `query`. Asks the server only when the part of the filter that the server applies has changed. */
  show(page, query) {
    if (this.#asked !== null && page === this.page && query === this.query) return;
    this.page = page;
    this.query = query;
    const asked = JSON.stringify(this.#serverQuery());
    const { matches, unknown } = eventFilter(query);
    this.matches = matches;
    this.unknown = unknown;
    if (asked === this.#asked) {
      this.#filter();
      this.#enough();
      return;
    }
    this.#asked = asked;
    this.loaded = [];
    this.#next = null;
    this.#filter();
    this.#load(undefined);
  }

  /** The part of the filter that the server applies: kinds, one app, one session. */
  #serverQuery() {
    const { terms } = parse(this.query);
    const only = key => {
      const found = terms.filter(term => term.key === key && !term.not);
      return found.length === 1 && found[0].values.every(value => !value.includes('*') && value !== '')
        ? found[0].values
        : null;
    };
    const kinds = EVENT_PAGES[this.page].kinds;
    const query = {};
    if (kinds.length > 0) query.kind = kinds.join();
    else if (only('kind')) query.kind = only('kind').join();
    if (only('app')?.length === 1) [query.app_name] = only('app');
    if (only('id')?.length === 1) [query.session_id] = only('id');
    return query;
  }

  async #load(before) {
    const run = before === undefined ? (this.#run += 1) : this.#run;
    this.#loading = true;
    this.#tell();
    try {
      const answer = await ask({ ...this.#serverQuery(), before, limit: PAGE });
      if (run !== this.#run) return;
      this.error = null;
      this.loaded = before === undefined ? answer.events : [...this.loaded, ...answer.events];
      this.#next = answer.next ?? null;
    } catch (error) {
      if (run !== this.#run) return;
      this.error = error.message; // `refresh` tries again
    }
    this.#loading = false;
    this.#filter();
    if (this.error === null) this.#enough();
  }

  /** Loads more when few of the loaded events match. */
  #enough() {
    if (this.events.length < ENOUGH && this.loaded.length < FAR) this.older();
  }

  older() {
    if (this.#next !== null && !this.#loading) this.#load(this.#next);
  }

  /** Adds new events in front. @param {number} version changes with every event */
  async refresh(version) {
    if (this.#loading || performance.now() - this.#freshAt < PACE) return;
    if (version === this.#seen && this.error === null) return;
    this.#seen = version;
    this.#freshAt = performance.now();
    if (this.error !== null) {
      this.#load(undefined);
      return;
    }
    const run = this.#run;
    try {
      const answer = await ask({ ...this.#serverQuery(), limit: PAGE });
      if (run !== this.#run || this.#loading) return;
      const newest = this.loaded[0]?.seq ?? -1;
      const fresh = answer.events.filter(event => event.seq > newest);
      if (fresh.length === 0) return;
      if (fresh.length === answer.events.length && answer.next !== null) {
        // There are more new events than one page holds: begin again with the newest.
        this.loaded = answer.events;
        this.#next = answer.next;
      } else {
        this.loaded = [...fresh, ...this.loaded];
        if (this.loaded.length > MOST) {
          // After days of watching there are too many. The oldest are loaded again when somebody scrolls there.
          this.loaded = this.loaded.slice(0, MOST / 2);
          this.#next = this.loaded.at(-1).seq;
        }
      }
      this.#filter();
    } catch {
      // The badge says that the server is away.
    }
  }

  #filter() {
    this.events = this.loaded.filter(this.matches);
    this.#tell();
  }

  #tell() {
    this.version += 1;
    this.dispatchEvent(new Event('change'));
  }
}
