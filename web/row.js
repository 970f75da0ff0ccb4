// One line of the live table: a session as the server last described it, with what
// is derived once when it changes, so that sorting and filtering only read fields.

import { STATE_RANK, stateOf } from './states.js';

const STRIP = 8;
const STRIP_MASK = (1 << STRIP) - 1;

export class Row {
  constructor(slot, session, now) {
    this.slot = slot;
    this.id = session.session_id;
    this.firstSeen = now;
    /** When the row appeared on a page that was already watching, for the glow; 0 if it was there before. */
    this.bornAt = 0;
    /** `{cause, at, by, reason}` once the session is gone; the row then only waits to be swept. */
    this.ended = null;
    /** True once no view may show the row any more. */
    this.gone = false;
    this.generation = 0;
    this.dirty = false;
    /** What this row last added to each facet's counts. */
    this.facets = null;
    this.beats = 0;
    this.beatsKnown = 0;
    this.beatCounted = 0;
    this.beat = 0;
    this.describe(session);
  }

  /** Takes the server's newest description. Times become milliseconds since 1970. */
  describe(session) {
    const before = this.session;
    this.session = session;
    // Since when it is idle: as the server says; else as seen here, which is at least true.
    if (session.status_since) this.statusSince = Date.parse(session.status_since);
    else if (!before) this.statusSince = this.firstSeen;
    else if (before.reported_status !== session.reported_status) this.statusSince = Date.parse(session.last_heartbeat);
    this.app = session.app_name;
    this.user = session.user_id ?? '';
    this.task = session.current_task ?? '';
    this.start = Date.parse(session.start_time);
    this.taskStart = session.task_started_at ? Date.parse(session.task_started_at) : 0;
    this.interval = (session.heartbeat_interval || 30) * 1000;
    this.state = stateOf(session);
    this.rank = STATE_RANK[this.state];
    this.heard(Date.parse(session.last_heartbeat));
  }

  /**
   * Notes a heartbeat at `time`. The strip keeps eight promised beats, newest in the lowest bit: 1 came, 0 was
   * missed. Signs of life between two promised beats (a status, a quick ping) are one beat, not many.
   */
  heard(time) {
    if (!(time > this.beat)) return;
    this.beat = time;
    if (this.beatsKnown === 0) {
      this.beats = 1;
      this.beatsKnown = 1;
      this.beatCounted = time;
      return;
    }
    const gap = time - this.beatCounted;
    if (gap < this.interval * 0.5) return;
    const missed = Math.min(STRIP, Math.max(0, Math.round(gap / this.interval) - 1));
    this.beats = ((this.beats << (missed + 1)) | 1) & STRIP_MASK;
    this.beatsKnown = Math.min(STRIP, this.beatsKnown + missed + 1);
    this.beatCounted = time;
  }

  /**
   * The strip as of `now`, oldest first, with the beats that are overdue by now already counted as missed.
   * @returns {string} eight of `.` (before this page watched), `1` (came) and `0` (missed)
   */
  strip(now) {
    const reference = this.ended ? Math.min(now, this.ended.at) : now;
    const overdue = Math.min(STRIP, Math.max(0, Math.floor((reference - this.beat) / this.interval - 0.5)));
    const bits = (this.beats << overdue) & STRIP_MASK;
    const known = Math.min(STRIP, this.beatsKnown + overdue);
    let text = '';
    for (let i = STRIP - 1; i >= 0; i -= 1) text += i >= known ? '.' : (bits >> i) & 1 ? '1' : '0';
    return text;
  }

  /** The description with the last heartbeat as the page knows it: what `GET /sessions/{id}` would say. */
  toWire() {
    return { ...this.session, last_heartbeat: new Date(this.beat).toISOString() };
  }
}
