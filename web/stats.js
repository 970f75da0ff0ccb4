// The counts that the server keeps a minute for 24 hours: asked for when the page has
// become whole, and carried on from the feed, so that nothing is ever polled.

import { stats } from './commands.js';
import { STATES } from './states.js';

const MINUTE = 60_000;
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
  #store;
  #ended = 0;
  #kills = 0;

  /**
   * @param {import('./store.js').Store} store
   * @param {number} minutes how far back
   */
  constructor(store, minutes = 60) {
    super();
    this.#store = store;
    this.#span = minutes;
    /** Oldest first: the server's minutes with `time` in ms. Replaced as a whole, never changed. */
    this.minutes = [];
    /** When the server was started, in ms, within reach. */
    this.restarts = [];
    this.endedIn24h = null;
  }

  /** How much time the charts show, in ms. @param {number} now the server's time in ms */
  chartSpan(now) {
    return chartSpan(this.minutes, now, this.#span * MINUTE);
  }

  /** Asks the server, which also knows of the time before this page and between its connections. */
  async refresh() {
    if (this.#asking) return;
    this.#asking = true;
    try {
      const answer = await stats(this.#span);
      this.minutes = answer.minutes.map(minute => ({ ...minute, time: Date.parse(minute.at) }));
      this.restarts = (answer.restarts ?? []).map(time => Date.parse(time));
      this.endedIn24h = answer.ended_24h;
      this.#ended = this.#store.endedSeen;
      this.#kills = this.#store.killsSeen;
      this.dispatchEvent(new Event('change'));
    } catch {
      // The badge tells that the server is away; the next connection asks again.
    } finally {
      this.#asking = false;
    }
  }

  /**
   * Carries the newest minute on from what the feed told, and begins the next one when it is time.
   * @param {number} now the server's time in ms
   */
  advance(now) {
    const { counts, endedSeen, killsSeen } = this.#store;
    const ended = endedSeen - this.#ended;
    const kills = killsSeen - this.#kills;
    const last = this.minutes.at(-1);
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
