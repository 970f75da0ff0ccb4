// Counts for each minute of the last hour. They are asked for once the rows are complete, and continued from the feed,
// so that nothing is polled.

import { stats } from './commands.js';
import { STATES } from './states.js';

const MINUTE = 60_000;
/** After a request that failed while the page is live, the next one follows this much later, in ms. */
const RETRY = 3_000;
/** The longer spans of the band: minutes, and how many are one step. */
export const LONG = { '24h': [1440, 5], '7d': [10_080, 30], '30d': [43_200, 120] };
/** How often a longer span is asked for again, in ms. */
const LONG_EVERY = 60_000;
/** The spans that the charts may have, in minutes: each has whole minutes at its quarters. */
const SPANS = [4, 8, 20, 40];

/**
 * How much time the charts show: the whole of `longest` once there is a record of it, and less after a first start, so
 * that what is known fills them.
 * @param {{ time: number }[]} minutes oldest first
 * @param {number} now in ms
 * @param {number} longest in ms
 * @returns {number} in ms
 */
export function chartSpan(minutes, now, longest) {
  const known = minutes.length > 0 ? now - minutes[0].time : 0;
  const enough = SPANS.map(span => span * MINUTE).find(span => span >= known);
  return Math.min(enough ?? longest, longest);
}

export class Stats extends EventTarget {
  #span;
  #asking = false;
  /** When the server was asked last, in ms of `performance.now()`. */
  #askedAt = -Infinity;
  #store;
  #ended = 0;
  #kills = 0;
  #longAt;

  /**
   * @param {import('./store.js').Store} store
   * @param {number} minutes how far back they go
   */
  constructor(store, minutes = 60) {
    super();
    this.#store = store;
    this.#span = minutes;
    /** Oldest first: the server's minutes with `time` in ms. Replaced as a whole, never changed. */
    this.minutes = [];
    /** The starts of the server within that time, in ms since 1970. */
    this.restarts = [];
    this.endedIn24h = null;
    /**
     * The longer span that the band shows: its minutes, and how many ms one of them stands for; null for the last hour.
     * @type {{ key: string, span: number, step: number, minutes: object[] }|null}
     */
    this.long = null;
    this.#longAt = -Infinity;
  }

  /** Shows a longer span in the band. @param {string} key of LONG, or `1h` */
  async choose(key) {
    if (!Object.hasOwn(LONG, key)) {
      this.long = null;
      this.dispatchEvent(new Event('change'));
      return;
    }
    const [minutes, step] = LONG[key];
    const same = this.long?.key === key;
    this.#longAt = performance.now();
    if (!same) this.long = { key, span: minutes * MINUTE, step: step * MINUTE, minutes: [] };
    try {
      const answer = await stats(minutes, step);
      if (this.long?.key !== key) return;
      this.long = { ...this.long, minutes: answer.minutes.map(minute => ({ ...minute, time: Date.parse(minute.at) })) };
    } catch {
      // Asked again by `advance`.
    }
    this.dispatchEvent(new Event('change'));
  }

  /** How much time the charts show, in ms. @param {number} now the server's time in ms */
  chartSpan(now) {
    return chartSpan(this.minutes, now, this.#span * MINUTE);
  }

  /** Asks the server, which knows the time before this page and between its connections too. */
  async refresh() {
    if (this.#asking) return;
    this.#asking = true;
    this.#askedAt = performance.now();
    try {
      const answer = await stats(this.#span);
      this.minutes = answer.minutes.map(minute => ({ ...minute, time: Date.parse(minute.at) }));
      this.restarts = (answer.restarts ?? []).map(time => Date.parse(time));
      this.endedIn24h = answer.ended_24h;
      this.#ended = this.#store.endedSeen;
      this.#kills = this.#store.killsSeen;
      this.dispatchEvent(new Event('change'));
    } catch {
      // Asked again by `advance`, or by the next connection.
    } finally {
      this.#asking = false;
    }
  }

  /**
   * Updates the newest minute from the feed, and begins the next one when its time has come.
   * @param {number} now the server's time in ms
   */
  advance(now) {
    if (this.long && performance.now() - this.#longAt > LONG_EVERY) this.choose(this.long.key);
    const { counts, endedSeen, killsSeen } = this.#store;
    const ended = endedSeen - this.#ended;
    const kills = killsSeen - this.#kills;
    const last = this.minutes.at(-1);
    if (this.endedIn24h === null && performance.now() - this.#askedAt > RETRY) this.refresh();
    if (!last || this.endedIn24h === null) return;
    const time = Math.floor(now / MINUTE) * MINUTE;
    const same = last.time >= time;
    if (same && ended === 0 && kills === 0 && STATES.every(state => last[state] === counts[state])) return;
    this.#ended = endedSeen;
    this.#kills = killsSeen;
    this.endedIn24h += ended;
    const next = {
      time: same ? last.time : time,
      ...counts,
      ended: (same ? last.ended : 0) + ended,
      kills: (same ? last.kills : 0) + kills,
    };
    this.minutes = [...(same ? this.minutes.slice(0, -1) : this.minutes), next].filter(
      minute => now - minute.time <= (this.#span + 1) * MINUTE,
    );
  }
}
