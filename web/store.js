// What the server has told: snapshot, changes and beats become rows. Nothing here
// knows the page or the socket; `receive` takes a decoded frame and says whether the
// picture still has no gap.
//
// The rules of the feed, which `GET /sessions` at the same epoch and seq must agree with:
//  - a snapshot replaces everything, but part by part: what it names is at least as new as what is here, so
//    each part is shown at once, and only the last part removes what no part named;
//  - changes that start where we stand are applied; those that end at or before it are known already; any
//    others mean that something was missed, and only a new snapshot can tell what;
//  - a position means nothing outside its epoch.

import { Row } from './row.js';
import { STATES } from './states.js';

/** How long an ended row stays, struck through, in ms. */
export const LINGER = 10_000;

export class Store {
  #now;
  #generation = 0;
  #part = 0;
  #early = [];
  #dirty = [];
  #beaten = [];
  #ghosts = new Set();
  #retired = [];
  #free = [];

  /** @param {{ now?: () => number }} [options] `now` is the server's time in ms since 1970 */
  constructor({ now = Date.now } = {}) {
    this.#now = now;
    /** @type {Map<string, Row>} live rows, and ended ones that still linger */
    this.rows = new Map();
    /** @type {(Row|undefined)[]} the same rows by slot; a slot is reused only after `recycle` */
    this.slots = [];
    this.counts = Object.fromEntries(STATES.map(state => [state, 0]));
    this.live = 0;
    this.epoch = null;
    this.seq = -1;
    /** True while the rows are a complete picture at (epoch, seq). */
    this.whole = false;
    this.loading = { part: 0, parts: 0 };
    /** Sessions ended, and kills asked for, since this page watches. */
    this.endedSeen = 0;
    this.killsSeen = 0;
  }

  /** Where to resume from, or null when only a snapshot helps. */
  get position() {
    return this.whole && this.epoch !== null ? { epoch: this.epoch, seq: this.seq } : null;
  }

  /**
   * Applies one frame.
   * @returns {'ok'|'gap'} `gap` when something was missed: ask for a snapshot
   */
  receive(frame) {
    switch (frame.type) {
      case 'hello':
        return this.#hello(frame);
      case 'snapshot':
        return this.#snapshot(frame);
      case 'changes':
        return this.#changes(frame);
      case 'beats':
        return this.#beats(frame);
      default:
        return 'ok'; // a newer server may tell more than this page knows
    }
  }

  #hello(frame) {
    this.#early = [];
    this.#part = 0;
    if (frame.epoch !== this.epoch) {
      this.epoch = frame.epoch;
      this.seq = -1;
      this.whole = false;
    }
    return 'ok';
  }

  #snapshot(frame) {
    if (frame.part === 1) {
      this.#generation += 1;
      this.#part = 0;
      this.whole = false;
    }
    if (frame.part !== this.#part + 1) return 'gap';
    this.#part = frame.part;
    this.loading = { part: frame.part, parts: frame.parts };
    // Rows of a first snapshot were there before the page was: they do not glow.
    const glow = this.seq >= 0;
    for (const session of frame.sessions) this.#upsert(session, glow);
    if (frame.part < frame.parts) return 'ok';

    for (const row of this.rows.values()) {
      if (row.generation !== this.#generation && !row.ended) this.#drop(row);
    }
    this.seq = frame.seq;
    this.whole = true;
    this.#part = 0;
    const early = this.#early;
    this.#early = [];
    return early.every(changes => this.#changes(changes) === 'ok') ? 'ok' : 'gap';
  }

  #changes(frame) {
    if (!this.whole) {
      // Between the parts of a snapshot, changes wait for its end; before any snapshot there is nothing to change.
      if (this.#part === 0) return 'gap';
      this.#early.push(frame);
      return 'ok';
    }
    if (frame.seq <= this.seq) return 'ok';
    if (frame.from > this.seq) return 'gap';
    for (const session of frame.upserted ?? []) this.#upsert(session, true);
    for (const end of frame.removed ?? []) this.#end(end);
    this.seq = frame.seq;
    return 'ok';
  }

  #beats(frame) {
    const beats = frame.beats;
    for (const id of Object.keys(beats)) {
      const row = this.rows.get(id);
      if (!row || row.ended) continue;
      row.heard(Date.parse(beats[id]));
      this.#beaten.push(row);
    }
    return 'ok';
  }

  #upsert(session, glow) {
    let row = this.rows.get(session.session_id);
    if (!row) {
      const slot = this.#free.pop() ?? this.slots.length;
      row = new Row(slot, session, this.#now());
      if (glow) row.bornAt = this.#now();
      this.slots[slot] = row;
      this.rows.set(row.id, row);
      this.#count(row, 1);
    } else {
      if (row.ended) {
        row.ended = null; // the same id anew, within the ten seconds
        this.#ghosts.delete(row);
      } else {
        this.#count(row, -1);
      }
      if (session.kill_requested && row.state !== 'ending') this.killsSeen += 1;
      row.describe(session, this.#now());
      this.#count(row, 1);
    }
    row.generation = this.#generation;
    this.#touch(row);
  }

  #end({ session_id: id, cause, at, by = null, reason = null, kill = null }) {
    const row = this.rows.get(id);
    if (!row || row.ended) return;
    this.#count(row, -1);
    // The last steps of a kill often come in the same moment as the end they led to.
    if (kill) row.kill = kill;
    row.ended = { cause, at: Date.parse(at), by, reason, sweepAt: this.#now() + LINGER };
    row.version += 1;
    this.endedSeen += 1;
    this.#ghosts.add(row);
    this.#touch(row);
  }

  /** Removes a row at once: it is not there, and nobody knows how it ended. */
  #drop(row) {
    if (!row.ended) this.#count(row, -1);
    row.ended ??= { cause: null, at: this.#now(), by: null, reason: null, sweepAt: 0 };
    row.gone = true;
    this.rows.delete(row.id);
    this.#retired.push(row);
    this.#touch(row);
  }

  #count(row, step) {
    this.counts[row.state] += step;
    this.live += step;
  }

  #touch(row) {
    if (row.dirty) return;
    row.dirty = true;
    this.#dirty.push(row);
  }

  /**
   * Lets go of ended rows whose ten seconds are over.
   * @param {(row: Row) => boolean} [keep] rows that stay beyond that, while the table must hold still
   */
  sweep(keep = () => false) {
    const now = this.#now();
    for (const row of this.#ghosts) {
      if (row.ended && !row.gone && (row.ended.sweepAt > now || keep(row))) continue;
      this.#ghosts.delete(row);
      if (row.ended && !row.gone) this.#drop(row);
    }
  }

  /** Ended rows that still linger. */
  get ghosts() {
    return this.#ghosts;
  }

  /**
   * What changed since the last call.
   * @returns {{ changed: Row[], beaten: Row[] }} each row at most once in `changed`; `beaten` moved only their beat
   */
  drain() {
    const changed = this.#dirty;
    const beaten = this.#beaten;
    for (const row of changed) row.dirty = false;
    this.#dirty = [];
    this.#beaten = [];
    return { changed, beaten };
  }

  get pending() {
    return this.#dirty.length > 0 || this.#beaten.length > 0;
  }

  /** Frees the slots of rows that are gone. Only to be called when no view holds on to a slot. */
  recycle() {
    for (const row of this.#retired) {
      if (row.dirty) continue;
      this.slots[row.slot] = undefined;
      this.#free.push(row.slot);
    }
    this.#retired = this.#retired.filter(row => row.dirty);
  }
}
