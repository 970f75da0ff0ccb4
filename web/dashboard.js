// The state of the page without its DOM: the store and all that is derived from it, the view, the selection, and the
// state of the connection. Views read it and call its methods.

import { Chosen } from './chosen.js';
import { comparator, movesWithBeats, shownColumns } from './columns.js';
import { ALL, Facets } from './facets.js';
import { sessionFilter } from './fields.js';
import { GROUPINGS, linesOf } from './grouping.js';
import { Inbox } from './inbox.js';
import { Kills } from './kills.js';
import { Ordering } from './ordering.js';
import { Store } from './store.js';
import { Waiting } from './waiting.js';

/** The share of a step that may go into reading frames. The rest sorts the rows, so that they can be shown. */
const READING = 0.6;
/** The share of the time that may go into grouping. */
const REGROUP_SHARE = 0.1;

export class Dashboard extends Chosen {
  #inbox = new Inbox();
  #filter = sessionFilter('');
  #waiting;
  #linesVersion = -1;
  #linesAfter = 0;
  #filteredAt = 0;
  /** The names of servers that rows have had. */
  #nodes = new Set();

  /** @param {{ view: ReturnType<import('./address.js').read> }} start */
  constructor({ view }) {
    super();
    this.view = view;
    this.viewVersion = 0;
    /** The server's clock minus this machine's, in ms; 0 for differences under half a second. */
    this.skew = 0;
    /** The live rows, fed by the socket. */
    this.fed = new Store({ now: () => this.liveNow() });
    /** The rows that are shown: the live ones, or those of the past. */
    this.store = this.fed;
    /**
     * The moment of the past that is shown; null for now. `since` and `counts` where two moments are compared.
     * @type {{ at: number, seq: number, complete: boolean, since: number|null, counts: object|null }|null}
     */
    this.past = null;
    this.ordering = new Ordering(this.store.slots);
    this.#waiting = new Waiting(this.ordering, this.store.slots);
    this.facets = new Facets();
    this.kills = new Kills();
    this.folded = new Set();
    this.lines = { lines: new Int32Array(0), length: 0, groups: [] };
    this.linesVersion = 0;
    /** Grows with every change of any row. */
    this.dataVersion = 0;
    this.paused = false;
    this.held = false;
    this.line = { state: 'connecting', retryAt: 0, lostAt: 0 };
    this.server = { name: '', role: 'view', epoch: null };
    /** How long the last change took from the server to this page, in ms, null before the first. */
    this.delay = null;
    this.freshest = 0;
    /** Whether several servers share the store: only then it matters which one holds a session's socket. */
    this.several = false;
    this.locks = [];
    this.columns = shownColumns(view.columns, false);
    this.#compile();
  }

  /** The time that the rows are shown at: the server's, or that of the past. */
  now() {
    return this.past?.at ?? this.liveNow();
  }

  liveNow() {
    return Date.now() + this.skew;
  }

  /** True while the rows of the feed are what the server has. */
  get live() {
    return this.line.state === 'open' && this.fed.whole;
  }

  /** What the caller may do with the rows that are shown: nobody acts on the past. */
  get role() {
    return this.past === null ? this.server.role : 'view';
  }

  get mayAct() {
    return this.live && this.role === 'admin';
  }

  /** Rows that would appear, leave or move if they did not have to hold still. */
  get wouldMove() {
    return this.#waiting.wouldMove;
  }

  get unknownQualifiers() {
    return this.#filter.unknown;
  }

  // The connection

  setLine(line) {
    if (line.state === 'connecting') {
      // The server sends these changes again after the resume.
      this.#inbox.clear();
    }
    this.line = line;
    this.dispatchEvent(new Event('line'));
  }

  /** Takes one frame as text; `step` will read it. */
  take(text) {
    this.#inbox.add(text);
  }

  get busy() {
    return (
      !this.#inbox.empty || !this.ordering.settled || this.store.pending || this.fed.pending || this.#linesVersion !== this.ordering.version
    );
  }

  /** True while there is more work than one animation frame does. */
  get behind() {
    return !this.#inbox.empty || !this.ordering.settled;
  }

  /**
   * Reads frames and brings everything that is derived from them up to date, for about `budget` ms.
   * @returns {boolean} false when a frame is missing: the connection has to resync
   */
  step(budget) {
    const start = performance.now();
    const expired = () => performance.now() - start > budget;
    let whole = true;
    while (!this.#inbox.empty && whole) {
      whole = this.#receive(this.#inbox.take());
      if (performance.now() - start > budget * READING) break;
    }
    this.#apply(expired);
    return whole;
  }

  #receive(frame) {
    if (frame.type === 'hello') {
      const skew = Date.parse(frame.now) - Date.now();
      this.skew = Math.abs(skew) < 500 ? 0 : skew;
      this.server = {
        name: frame.server,
        role: frame.role,
        epoch: frame.epoch,
        staleAfter: frame.stale_after,
        heartbeat: frame.heartbeat_interval,
      };
      this.dispatchEvent(new Event('hello'));
    } else if (frame.type === 'hint') this.dispatchEvent(new Event(`hint:${frame.about}`));
    else if (frame.type === 'changes' && frame.at) {
      this.delay = Math.max(0, this.liveNow() - Date.parse(frame.at));
    }
    const wasWhole = this.fed.whole;
    const whole = this.fed.receive(frame) === 'ok';
    this.freshest = Date.now();
    if (!wasWhole && this.fed.whole) this.dispatchEvent(new Event('whole'));
    return whole;
  }

  // The past

  /** Shows the table of a past moment in place of the live one, which goes on unseen. */
  enter(past, sessions) {
    const store = new Store({ now: () => past.at });
    store.receive({ type: 'hello', epoch: 'past' });
    store.receive({ type: 'snapshot', part: 1, parts: 1, seq: past.seq, sessions });
    this.past = past;
    this.#put(store);
  }

  /** Shows the live table again. */
  leave() {
    if (this.past === null) return;
    this.past = null;
    this.#put(this.fed);
  }

  #put(store) {
    store.drain();
    for (const row of store.rows.values()) row.uncount();
    this.store = store;
    this.ordering = new Ordering(store.slots);
    this.#waiting = new Waiting(this.ordering, store.slots);
    this.facets = new Facets();
    this.selection.clear();
    this.selectionVersion += 1;
    this.dataVersion += 1;
    this.viewVersion += 1;
    this.#linesVersion = -1;
    this.#compile();
    this.dispatchEvent(new Event('moment'));
  }

  /** Reads on while the past is shown: kills go on, and what changed is sorted when the live table comes back. */
  #followUnseen() {
    this.fed.sweep();
    const { changed } = this.fed.drain();
    if (changed.length > 0) this.kills.update(changed, this.liveNow());
    this.fed.recycle();
  }

  #apply(expired) {
    if (this.past !== null) this.#followUnseen();
    const now = this.now();
    const still = this.held || this.paused;
    this.store.sweep(still ? row => this.ordering.has(row.slot) : undefined);
    const { changed, beaten } = this.store.drain();
    if (changed.length > 0 || beaten.length > 0) this.dataVersion += 1;
    if (changed.length > 0) {
      this.#meet(changed);
      for (const row of changed) {
        this.facets.update(row, this.#filter.mask(row, now));
        if (row.ended && this.selection.delete(row.id)) this.selectionVersion += 1;
      }
      this.kills.update(changed, now);
    }
    const moving = movesWithBeats(this.view.sort) && beaten.length > 0 ? [...changed, ...beaten] : changed;
    if (still && this.past === null && this.ordering.length > 0) this.#waiting.hold(moving);
    else this.#waiting.release(moving);
    if (this.#filter.timed && this.ordering.settled && now - this.#filteredAt > 1000 && !still) this.#refilter();
    this.ordering.work(expired);
    this.#regroup();
    // A slot may be reused only when neither the order nor the lines refer to it any more.
    if (this.ordering.settled && this.#linesVersion === this.ordering.version) this.store.recycle();
  }

  /** Tells when rows name a server for the first time. */
  #meet(rows) {
    const known = this.#nodes.size;
    for (const { node } of rows) if (node !== '') this.#nodes.add(node);
    if (this.#nodes.size > known) this.dispatchEvent(new Event('nodes'));
  }

  setSeveral(several) {
    if (this.several === several) return;
    this.several = several;
    this.show({});
  }

  #regroup() {
    const version = this.ordering.version;
    if (this.#linesVersion === version) return;
    const start = performance.now();
    if (this.view.group && start < this.#linesAfter) return;
    this.lines = linesOf(this.ordering, this.store.slots, this.view.group, this.folded);
    this.#linesVersion = version;
    this.linesVersion += 1;
    const cost = performance.now() - start;
    this.#linesAfter = performance.now() + cost / REGROUP_SHARE;
  }

  /** Rows hold still while the reader points at them or the focus is among them. */
  hold(held) {
    if (this.held === held) return;
    this.held = held;
    this.dispatchEvent(new Event('hold'));
  }

  pause(paused) {
    this.paused = paused;
    this.dispatchEvent(new Event('hold'));
  }

  /** Applies the waiting updates once, while the table goes on holding still. */
  catchUp() {
    this.store.sweep();
    const { changed } = this.store.drain();
    for (const row of changed) this.facets.update(row, this.#filter.mask(row, this.now()));
    this.#waiting.release(changed);
    this.#linesAfter = 0;
    this.#regroup();
    this.dispatchEvent(new Event('hold'));
  }

  // The view

  /** Changes part of the view's state. Another page closes the details, unless the patch opens some. */
  show(patch) {
    const before = this.view;
    const leaves = Object.hasOwn(patch, 'page') && patch.page !== before.page;
    this.view = { ...before, ...(leaves && { session: null, at: null, versus: null }), ...patch };
    this.viewVersion += 1;
    this.columns = shownColumns(this.view.columns, this.several);
    const changes = key => Object.hasOwn(patch, key) && JSON.stringify(before[key]) !== JSON.stringify(this.view[key]);
    if (changes('query') || changes('sort') || changes('group')) {
      if (changes('group')) this.folded.clear();
      this.#compile();
    }
    this.dispatchEvent(new Event('view'));
  }

  #compile() {
    const { query, sort, group, wall } = this.view;
    this.#filter = sessionFilter(wall && query === '' ? 'status:stale,ending' : query);
    const { mask } = this.#filter;
    this.#waiting.clear();
    this.#linesAfter = 0;
    this.ordering.reorder({
      compare: comparator(sort, group ? (GROUPINGS[group].order ?? GROUPINGS[group].key) : null),
      matches: row => mask(row, this.now()) === ALL,
      visit: this.#recount,
    });
    this.#filteredAt = this.now();
    // Small tables are sorted at once; only large ones are sorted in slices.
    const start = performance.now();
    this.ordering.work(() => performance.now() - start > 5);
    this.#regroup();
  }

  #recount = row => this.facets.update(row, this.#filter.mask(row, this.now()));

  #refilter() {
    this.#filteredAt = this.now();
    this.ordering.reorder({ visit: this.#recount });
  }

  /** How many live rows pass the filter. Ended rows that are still shown are not counted. */
  get matching() {
    let ended = 0;
    for (const row of this.store.lingering) if (this.ordering.has(row.slot)) ended += 1;
    return this.ordering.length - ended;
  }

  fold(group, all = false) {
    const fold = !this.folded.has(group);
    for (const { value } of all ? this.lines.groups : [{ value: group }]) {
      if (fold) this.folded.add(value);
      else this.folded.delete(value);
    }
    this.#linesVersion = -1;
    this.#linesAfter = 0;
    this.#regroup();
    this.dispatchEvent(new Event('view'));
  }
}
