// The look at the past: asks the server for the table as it was at the moment in the view, or for two of them, and finds
// the next event. It knows no DOM; the dashboard shows what it brings.

import { events, then } from './commands.js';
import { differences, withMarks } from './difference.js';

/** A moment in the view is a time, or the number of an event: the table right after it. */
const query = moment => (/^\d+$/.test(moment) ? { at_seq: moment } : { at: moment });

export class Past extends EventTarget {
  #dashboard;
  #asked = ' ';
  #run = 0;

  /** @param {import('./dashboard.js').Dashboard} dashboard */
  constructor(dashboard) {
    super();
    this.#dashboard = dashboard;
    this.loading = false;
    this.error = null;
    /** The event that the table is right after, where the page has stepped to it. */
    this.event = null;
    dashboard.addEventListener('view', () => this.#follow());
    // A page that is opened with a moment in its address, and a login.
    dashboard.addEventListener('whole', () => {
      if (this.error !== null || this.#asked === ' ') this.#follow(true);
    });
  }

  /** Whether the view is of the past, be it here yet or not. */
  get open() {
    return this.#dashboard.view.at !== null;
  }

  /** @param {boolean} [again] ask even if this was asked for already */
  async #follow(again = false) {
    const dashboard = this.#dashboard;
    const { at, versus } = dashboard.view;
    const asked = `${at ?? ''} ${versus ?? ''}`;
    if (asked === this.#asked && !again) return;
    // Before the first rows are here, nobody may be logged in.
    if (at !== null && dashboard.server.epoch === null) return;
    this.#asked = asked;
    this.#run += 1;
    const run = this.#run;
    this.error = null;
    this.loading = at !== null;
    if (at === null) {
      this.event = null;
      dashboard.leave();
      this.#tell();
      return;
    }
    if (this.event !== null && String(this.event.seq) !== at) this.event = null;
    this.#tell();
    try {
      const table = await then(query(at));
      const other = versus === null ? null : await then(query(versus));
      if (run !== this.#run) return;
      this.loading = false;
      this.#enter(table, other);
    } catch (error) {
      if (run !== this.#run) return;
      this.loading = false;
      this.error = error.message;
    }
    this.#tell();
  }

  #enter(table, other) {
    const dashboard = this.#dashboard;
    const moment = answer => ({ at: Date.parse(answer.at), seq: answer.seq, complete: answer.complete });
    if (other === null) {
      dashboard.enter({ ...moment(table), since: null, counts: null }, table.sessions);
      return;
    }
    const [older, newer] = table.seq <= other.seq ? [table, other] : [other, table];
    const found = differences(older.sessions, newer.sessions);
    const complete = older.complete && newer.complete;
    dashboard.enter({ ...moment(newer), complete, since: Date.parse(older.at), counts: found.counts }, withMarks(found));
  }

  /**
   * Shows the table after the next event, or the one before.
   * @param {1|-1} direction
   * @returns {Promise<boolean>} false where there is none
   */
  async step(direction) {
    const { past } = this.#dashboard;
    if (past === null || this.loading) return true;
    this.loading = true;
    this.#tell();
    const run = this.#run;
    try {
      const answer = await events({ [direction > 0 ? 'after' : 'before']: past.seq, limit: 1 });
      this.loading = false;
      if (run !== this.#run) return true;
      const [event] = answer.events;
      if (!event) {
        this.#tell();
        return false;
      }
      this.event = event;
      this.#dashboard.show({ at: String(event.seq), versus: null });
    } catch (error) {
      this.loading = false;
      this.error = error.message;
      this.#tell();
    }
    return true;
  }

  #tell() {
    this.dispatchEvent(new Event('change'));
  }
}
