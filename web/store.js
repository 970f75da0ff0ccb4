// The rows, from the frames of the server: snapshot, changes and beats. It knows neither the page nor the socket;
// `receive` takes a decoded frame and says whether one is missing before it.
//
// The rules of the feed. After each frame the rows equal `GET /sessions` at the same epoch and seq.
//  - A snapshot replaces everything, part by part. Its sessions are at least as new as the rows, so each part is shown at
//    once. The last part removes the rows that were in no part.
//  - Changes that begin at our seq are applied. Changes that end at or before it are known already. Any others mean that
//    a frame is missing, and only a new snapshot helps. So does a patch (the fields of a session that changed) for a
//    session that is not known.
//  - A seq is valid only within its epoch.

import { Row } from './row.js';
import { STATES } from './states.js';

/** How long an ended row is shown, struck through, in ms. */
export const LINGER = 10_000;

export class Store {
  #now;
  #generation = 0;
  #part = 0;
  #early = [];
  #dirty = [];
  #beaten = [];
  /** Ended rows that are still shown. */
  #lingering = new Set();
  /** Removed rows whose slot is not free yet. */
  #retired = [];
  #free = [];

  /** @param {{ now?: () => number }} [options] `now` is the server's time in ms since 1970 */
  constructor({ now = Date.now } = {}) {
    this.#now = now;
    /** @type {Map<string, Row>} live rows, and ended rows that are still shown */
    this.rows = new Map();
    /** @type {(Row|undefined)[]} the same rows by slot; a slot is reused only after `recycle` */
    this.slots = [];
    this.counts = Object.fromEntries(STATES.map(state => [state, 0]));
    this.live = 0;
    this.epoch = null;
    this.seq = -1;
    /** True while the rows are complete, as of (epoch, seq). */
    this.whole = false;
    this.loading = { part: 0, parts: 0 };
    /** How many sessions ended, and how many kills were requested, since the page was opened. */
    this.endedSeen = 0;
    this.killsSeen = 0;
  }

  /** The position to resume from, null when only a snapshot helps. */
  get position() {
    return this.whole && this.epoch !== null ? { epoch: this.epoch, seq: this.seq } : null;
  }

  /**
   * Applies one frame.
   * @returns {'ok'|'gap'} `gap` when a frame is missing: a snapshot is needed
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
        return 'ok'; // A newer server may send frames that this page does not know.
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
    // The rows of the first snapshot were there before the page: they do not glow.
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
      // Changes between the parts of a snapshot wait for its last part.
      if (this.#part === 0) return 'gap';
      this.#early.push(frame);
      return 'ok';
    }
    if (frame.seq <= this.seq) return 'ok';
    if (frame.from > this.seq) return 'gap';
    for (const session of frame.upserted ?? []) this.#upsert(session, true);
    if (!(frame.patched ?? []).every(patch => this.#patch(patch))) {
      this.whole = false;
      return 'gap';
    }
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
        row.ended = null; // The same id registered again while its ended row was still shown.
        this.#lingering.delete(row);
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

  /** Applies the fields that changed; returns false where the session is not known. */
  #patch(patch) {
    const row = this.rows.get(patch.session_id);
    if (!row || row.ended) return false;
    this.#upsert({ ...row.toWire(this.#now()), ...patch }, true);
    return true;
  }

  #end({ session_id: id, cause, at, by = null, reason = null, kill = null }) {
    const row = this.rows.get(id);
    if (!row || row.ended) return;
    this.#count(row, -1);
    // The last steps of a kill often come in the same frame as the end.
    if (kill) row.kill = kill;
    row.ended = { cause, at: Date.parse(at), by, reason, sweepAt: this.#now() + LINGER };
    row.version += 1;
    this.endedSeen += 1;
    this.#lingering.add(row);
    this.#touch(row);
  }

  /** Removes a row at once. A session that is missing from a snapshot ended without this page knowing how. */
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
   * Removes ended rows that were shown for LINGER.
   * @param {(row: Row) => boolean} [keep] rows that stay longer, while the table holds still
   */
  sweep(keep = () => false) {
    const now = this.#now();
    for (const row of this.#lingering) {
      if (row.ended && !row.gone && (row.ended.sweepAt > now || keep(row))) continue;
      this.#lingering.delete(row);
      if (row.ended && !row.gone) this.#drop(row);
    }
  }

  /** Ended rows that are still shown. */
  get lingering() {
    return this.#lingering;
  }

  /**
   * The rows that changed since the last call.
   * @returns {{ changed: Row[], beaten: Row[] }} each row at most once in `changed`; `beaten` had only a heartbeat
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

  /** Frees the slots of removed rows. Only to be called when no view refers to a slot any more. */
  recycle() {
    for (const row of this.#retired) {
      if (row.dirty) continue;
      this.slots[row.slot] = undefined;
      this.#free.push(row.slot);
    }
    this.#retired = this.#retired.filter(row => row.dirty);
  }
}
