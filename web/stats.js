// The counts that the server keeps a minute for 24 hours: asked for when the page
// opens, after each reconnect and as each minute ends.

import { stats } from './commands.js';

export class Stats extends EventTarget {
  #minutes;
  #asking = false;

  /** @param {number} minutes how far back */
  constructor(minutes = 60) {
    super();
    this.#minutes = minutes;
    /** Oldest first: the server's minutes with `time` in ms. Replaced as a whole, never changed. */
    this.minutes = [];
    /** When the server was started, in ms, within reach. */
    this.restarts = [];
    this.endedIn24h = null;
  }

  async refresh() {
    if (this.#asking) return;
    this.#asking = true;
    try {
      const answer = await stats(this.#minutes);
      this.minutes = answer.minutes.map(minute => ({ ...minute, time: Date.parse(minute.at) }));
      this.restarts = (answer.restarts ?? []).map(time => Date.parse(time));
      this.endedIn24h = answer.ended_24h;
      this.dispatchEvent(new Event('change'));
    } catch {
      // The badge tells that the server is away; these come with the next minute.
    } finally {
      this.#asking = false;
    }
  }

  /** Counts ends that the feed told since, until the next refresh. */
  ended(number) {
    if (this.endedIn24h !== null && number > 0) this.endedIn24h += number;
  }
}
