// One row of the live table: what the server last said of a session. There may be 100,000 of them, so a row is small:
// the decoded frame is not kept, equal texts are stored once, times are small numbers, and the JSON of the session is
// put together again when it is asked for.

import { STATE_RANK, stateOf } from './states.js';

/** How many beats the strip shows. */
const STRIP = 8;
const STRIP_MASK = (1 << STRIP) - 1;

/**
 * Times are kept in ms since the page was opened. Within twelve days of it these are 31-bit integers, which a
 * JavaScript engine stores without an object of their own; beyond that they take more memory and are still right.
 */
const OPENED = Date.now();
/** Stands for no time. It is a 31-bit integer too. */
const NEVER = -(2 ** 30);
/** A time in ms since 1970 (or 0) as it is kept. */
const kept = time => (time ? time - OPENED : NEVER);
/** A kept time in ms since 1970, 0 for none. */
const fromKept = time => (time === NEVER ? 0 : time + OPENED);
const iso = time => (time ? new Date(time).toISOString() : null);

/** The texts seen so far, so that equal texts are stored once. Emptied when there are too many. */
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
  #idleSince = NEVER;
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
    /** The status that the client reported last. */
    this.reported = '';
    this.stale = false;
    this.connected = false;
    /** The name of the server that holds its socket, where several share the store; else empty. */
    this.node = '';
    this.visibility = null;
    this.client = null;
    this.addr = null;
    this.meta = NO_META;
    /** What rules are about to do with it: `{rule, at, action}`, the soonest first; null for nothing. */
    this.ruled = null;
    /** The kill with its steps, as the server sends it; null before one is requested. */
    this.kill = null;
    /** The heartbeat interval, in ms. */
    this.interval = 30_000;
    /** When the row appeared, so that it can glow; 0 when it was there before the page. */
    this.bornAt = 0;
    /** `{cause, at, by, reason}` once the session has ended. The row is then shown for a while and removed. */
    this.ended = null;
    /** True when the row is removed and must not be shown any more. */
    this.gone = false;
    this.generation = 0;
    this.dirty = false;
    /** How it differs from another moment: `{kind, words}`, where two are compared. */
    this.differs = null;
    /** What the row was last counted as by each facet (see facets.js). */
    this.countedApp = null;
    this.countedStatus = null;
    this.countedUser = null;
    this.beats = 0;
    this.beatsKnown = 0;
    /** Grows whenever the row would look different. */
    this.version = 0;
    this.describe(session, now);
  }

  /** When the session began, in ms since 1970. */
  get start() {
    return fromKept(this.#start);
  }

  /** When its task began, in ms since 1970; 0 without a task. */
  get taskStart() {
    return fromKept(this.#taskStart);
  }

  /** Since when its status is what it is, in ms since 1970. */
  get statusSince() {
    return fromKept(this.#statusSince);
  }

  /** Since when there was neither a task nor input of its user, in ms since 1970; 0 while it is not idle. */
  get idleSince() {
    return fromKept(this.#idleSince);
  }

  /** Its last heartbeat or other sign of life, in ms since 1970. */
  get beat() {
    return fromKept(this.#beat);
  }

  /** How often a heartbeat is due, in ms; null for a job that reports by `/ping` when it has something to say. */
  get due() {
    return this.client === PING ? null : this.interval;
  }

  /** Takes the server's newest description. */
  describe(session, now) {
    this.version += 1;
    const last = Date.parse(session.last_heartbeat);
    // Without `status_since` of the server: since when this page has seen the status.
    if (session.status_since) this.#statusSince = kept(Date.parse(session.status_since));
    else if (this.#statusSince === NEVER) this.#statusSince = kept(now);
    else if (this.reported !== session.reported_status) this.#statusSince = kept(last);
    // An older server does not tell of input.
    if (session.idle_since === undefined)
      this.#idleSince = session.reported_status === 'idle' ? this.#statusSince : NEVER;
    else this.#idleSince = session.idle_since ? kept(Date.parse(session.idle_since)) : NEVER;
    this.app = shared(session.app_name);
    this.user = shared(session.user_id ?? '');
    this.task = shared(session.current_task ?? '');
    this.#start = kept(Date.parse(session.start_time));
    this.#taskStart = session.task_started_at ? kept(Date.parse(session.task_started_at)) : NEVER;
    this.interval = Math.round((session.heartbeat_interval || 30) * 1000);
    this.reported = shared(session.reported_status);
    this.stale = session.is_stale;
    this.connected = session.connected;
    this.node = shared(session.node ?? '');
    this.visibility = shared(session.visibility ?? null);
    this.client = shared(session.client ?? null);
    this.addr = shared(session.remote_addr ?? null);
    this.meta = hasKeys(session.meta) ? session.meta : NO_META;
    this.kill = session.kill ?? null;
    this.differs = session.differs ?? null;
    this.ruled = session.due?.length ? session.due : null;
    this.state = stateOf(session);
    this.rank = STATE_RANK[this.state];
    this.heard(last);
  }

  /** Forgets what it was counted as: the counts begin anew. */
  uncount() {
    this.countedApp = null;
    this.countedStatus = null;
    this.countedUser = null;
  }

  /**
   * Notes a heartbeat at `time`. The strip holds the last eight beats that were due, the newest in the lowest bit: 1
   * came, 0 was missed. Several signs of life within one interval are one beat. Where no beat is due, each sign of life
   * is a beat and none can be missed.
   */
  heard(time) {
    // The past has no heartbeats.
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
   * The strip at `now`, oldest first. Beats that are overdue count as missed.
   * @returns {string} eight of `.` (before this page watched), `1` (came) and `0` (missed)
   */
  strip(now) {
    const reference = this.ended ? Math.min(now, this.ended.at) : now;
    const { due } = this;
    if (this.beatsKnown === 0) return '.'.repeat(STRIP);
    const overdue = due === null ? 0 : Math.min(STRIP, Math.max(0, Math.floor((reference - this.beat) / due - 0.5)));
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
      idle_since: iso(this.idleSince),
      connected: this.connected,
      node: this.node || null,
      visibility: this.visibility,
      heartbeat_interval: this.interval / 1000,
      client: this.client,
      remote_addr: this.addr,
      meta: this.meta,
      kill: this.kill,
      due: this.ruled ?? [],
    };
  }
}
