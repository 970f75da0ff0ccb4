// One line of the live table: what the server last said of a session, kept small. There may be a hundred thousand of
// them, so the decoded frame is let go: texts that many sessions share are shared, instants are small numbers, and
// what `GET /sessions/{id}` would say is put together again when somebody asks for it.

import { STATE_RANK, stateOf } from './states.js';

const STRIP = 8;
const STRIP_MASK = (1 << STRIP) - 1;

/**
 * Instants are kept as ms from when the page was opened: within twelve days of it they are numbers that the engine
 * holds without a box of their own; further away they cost more and are just as right.
 */
const OPENED = Date.now();
/** In place of an instant: there is none. It lies where no instant is and needs no box either. */
const NEVER = -(2 ** 30);
const kept = time => (time ? time - OPENED : NEVER);
const told = time => (time === NEVER ? 0 : time + OPENED);
const iso = time => (time ? new Date(time).toISOString() : null);

/** Texts that are there already, so that equal ones are one. Forgotten as a whole before they cost more than they save. */
const texts = new Map();
const TEXTS = 10_000;
function shared(text) {
  if (!text) return text;
  const there = texts.get(text);
  if (there !== undefined) return there;
  if (texts.size >= TEXTS) texts.clear();
  texts.set(text, text);
  return text;
}

/** The client that the server notes for jobs that report by `/ping`. */
const PING = 'ping';

const NO_META = Object.freeze({});
function hasKeys(object) {
  for (const key in object) if (Object.hasOwn(object, key)) return true;
  return false;
}

export class Row {
  #start = NEVER;
  #taskStart = NEVER;
  #statusSince = NEVER;
  #beat = NEVER;
  #beatCounted = NEVER;

  constructor(slot, session, now) {
    this.slot = slot;
    this.id = session.session_id;
    this.app = '';
    this.user = '';
    this.task = '';
    this.state = 'idle';
    this.rank = 0;
    /** The word that the client reported, whatever became of it since. */
    this.reported = '';
    this.stale = false;
    this.connected = false;
    this.visibility = null;
    this.client = null;
    this.addr = null;
    this.meta = NO_META;
    /** The kill's steps as the server tells them, once one was asked for. */
    this.kill = null;
    /** The heartbeat interval that the server holds it to, in ms. */
    this.interval = 30_000;
    /** When the row appeared on a page that was already watching, for the glow; 0 if it was there before. */
    this.bornAt = 0;
    /** `{cause, at, by, reason}` once the session is gone; the row then only waits to be swept. */
    this.ended = null;
    /** True once no view may show the row any more. */
    this.gone = false;
    this.generation = 0;
    this.dirty = false;
    /** What this row last added to each facet's counts. */
    this.countedApp = null;
    this.countedStatus = null;
    this.countedUser = null;
    this.beats = 0;
    this.beatsKnown = 0;
    /** Grows whenever the row would look different. */
    this.version = 0;
    this.describe(session, now);
  }

  /** When the session began, in ms since 1970, as all times are. */
  get start() {
    return told(this.#start);
  }

  /** When its task began, 0 without one. */
  get taskStart() {
    return told(this.#taskStart);
  }

  /** Since when it has reported what it reports. */
  get statusSince() {
    return told(this.#statusSince);
  }

  /** Its last sign of life. */
  get beat() {
    return told(this.#beat);
  }

  /** How often a heartbeat is due, in ms; null for a job that reports by `/ping` when it has something to say. */
  get due() {
    return this.client === PING ? null : this.interval;
  }

  /** Takes the server's newest description. */
  describe(session, now) {
    this.version += 1;
    const last = Date.parse(session.last_heartbeat);
    // Since when it is idle: as the server says; else as seen here, which is at least true.
    if (session.status_since) this.#statusSince = kept(Date.parse(session.status_since));
    else if (this.#statusSince === NEVER) this.#statusSince = kept(now);
    else if (this.reported !== session.reported_status) this.#statusSince = kept(last);
    this.app = shared(session.app_name);
    this.user = shared(session.user_id ?? '');
    this.task = shared(session.current_task ?? '');
    this.#start = kept(Date.parse(session.start_time));
    this.#taskStart = session.task_started_at ? kept(Date.parse(session.task_started_at)) : NEVER;
    this.interval = Math.round((session.heartbeat_interval || 30) * 1000);
    this.reported = shared(session.reported_status);
    this.stale = session.is_stale;
    this.connected = session.connected;
    this.visibility = shared(session.visibility ?? null);
    this.client = shared(session.client ?? null);
    this.addr = shared(session.remote_addr ?? null);
    this.meta = hasKeys(session.meta) ? session.meta : NO_META;
    this.kill = session.kill ?? null;
    this.state = stateOf(session);
    this.rank = STATE_RANK[this.state];
    this.heard(last);
  }

  /**
   * Notes a heartbeat at `time`. The strip keeps eight promised beats, newest in the lowest bit: 1 came, 0 was
   * missed. Signs of life between two promised beats (a status, a quick ping) are one beat, not many. Where none is
   * promised, each is a beat and none can be missed.
   */
  heard(time) {
    if (!(time > this.beat)) return;
    this.#beat = kept(time);
    this.version += 1;
    if (this.beatsKnown === 0) {
      this.beats = 1;
      this.beatsKnown = 1;
      this.#beatCounted = this.#beat;
      return;
    }
    const gap = this.#beat - this.#beatCounted;
    const { due } = this;
    if (due !== null && gap < due * 0.5) return;
    const missed = due === null ? 0 : Math.min(STRIP, Math.max(0, Math.round(gap / due) - 1));
    this.beats = ((this.beats << (missed + 1)) | 1) & STRIP_MASK;
    this.beatsKnown = Math.min(STRIP, this.beatsKnown + missed + 1);
    this.#beatCounted = this.#beat;
  }

  /**
   * The strip as of `now`, oldest first, with the beats that are overdue by now already counted as missed.
   * @returns {string} eight of `.` (before this page watched), `1` (came) and `0` (missed)
   */
  strip(now) {
    const reference = this.ended ? Math.min(now, this.ended.at) : now;
    const { due } = this;
    const overdue =
      due === null ? 0 : Math.min(STRIP, Math.max(0, Math.floor((reference - this.beat) / due - 0.5)));
    const bits = (this.beats << overdue) & STRIP_MASK;
    const known = Math.min(STRIP, this.beatsKnown + overdue);
    let text = '';
    for (let i = STRIP - 1; i >= 0; i -= 1) text += i >= known ? '.' : (bits >> i) & 1 ? '1' : '0';
    return text;
  }

  /** What `GET /sessions/{id}` would say, with the last heartbeat as the page knows it. */
  toWire(now) {
    return {
      session_id: this.id,
      app_name: this.app,
      user_id: this.user || null,
      start_time: iso(this.start),
      last_heartbeat: iso(this.beat),
      duration_seconds: Math.max(0, Math.floor((now - this.start) / 1000)),
      status: this.stale ? 'stale' : this.reported,
      current_task: this.task || null,
      is_stale: this.stale,
      kill_requested: this.state === 'ending',
      reported_status: this.reported,
      task_started_at: iso(this.taskStart),
      status_since: iso(this.statusSince),
      connected: this.connected,
      visibility: this.visibility,
      heartbeat_interval: this.interval / 1000,
      client: this.client,
      remote_addr: this.addr,
      meta: this.meta,
      kill: this.kill,
    };
  }
}
