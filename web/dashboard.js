// What the page knows and shows, without the page: the store and everything derived
// from it, the view's state, the selection, and how the line to the server is. Views
// read it and call its methods; it touches neither the DOM nor the socket.

import { comparator, movesWithBeats } from './columns.js';
import { ALL, Facets } from './facets.js';
import { sessionFilter } from './fields.js';
import { GROUPINGS, linesOf } from './grouping.js';
import { Kills } from './kills.js';
import { Ordering } from './ordering.js';
import { Store } from './store.js';

/** Reading takes at most this part of a step, so that what was read is sorted meanwhile and can be seen. */
const READING = 0.6;
/** Regrouping may take at most this part of the time. */
const REGROUP_SHARE = 0.1;

export class Dashboard extends EventTarget {
  #inbox = [];
  #read = 0;
  #filter = sessionFilter('');
  #waiting = new Set();
  #homes = { version: -1, index: new Int32Array(0) };
  #linesVersion = -1;
  #linesAfter = 0;
  #filteredAt = 0;

  /** @param {{ view: ReturnType<import('./address.js').read> }} start */
  constructor({ view }) {
    super();
    this.view = view;
    this.viewVersion = 0;
    /** The server's clock minus this machine's, in ms; small differences count as none. */
    this.skew = 0;
    this.store = new Store({ now: () => this.now() });
    this.ordering = new Ordering(this.store.slots);
    this.facets = new Facets();
    this.kills = new Kills();
    /** @type {Set<string>} ids of ticked rows */
    this.selection = new Set();
    this.selectionVersion = 0;
    this.folded = new Set();
    this.lines = { lines: new Int32Array(0), length: 0, groups: [] };
    this.linesVersion = 0;
    /** Grows with every change of any row. */
    this.dataVersion = 0;
    this.paused = false;
    this.held = false;
    /** Rows that would appear, leave or move if they did not have to hold still. */
    this.wouldMove = new Set();
    this.line = { state: 'connecting', retryAt: 0, lostAt: 0 };
    this.server = { name: '', role: 'view', epoch: null };
    /** How long the last change took from the server to this page, in ms, null before the first. */
    this.delay = null;
    this.freshest = 0;
    this.#compile();
  }

  now() {
    return Date.now() + this.skew;
  }

  /** True while what is shown is the server's truth. */
  get live() {
    return this.line.state === 'open' && this.store.whole;
  }

  get mayAct() {
    return this.live && this.server.role === 'admin';
  }

  get unknownQualifiers() {
    return this.#filter.unknown;
  }

  // The line to the server

  setLine(line) {
    if (line.state === 'connecting') {
      // What the old socket still brought is told again after the resume.
      this.#inbox = [];
      this.#read = 0;
    }
    this.line = line;
    this.dispatchEvent(new Event('line'));
  }

  /** Takes one frame as text; `step` will read it. */
  take(text) {
    this.#inbox.push(text);
  }

  get busy() {
    return (
      this.#read < this.#inbox.length ||
      !this.ordering.settled ||
      this.store.pending ||
      this.#linesVersion !== this.ordering.version
    );
  }

  /** True while there is work that the next frame alone would not do. */
  get behind() {
    return this.#read < this.#inbox.length || !this.ordering.settled;
  }

  /**
   * One step forward: reads frames, and brings everything derived up to date, for about `budget` ms.
   * @returns {boolean} false when the feed has a gap: resynchronise
   */
  step(budget) {
    const start = performance.now();
    const expired = () => performance.now() - start > budget;
    let whole = true;
    while (this.#read < this.#inbox.length && whole) {
      const frame = JSON.parse(this.#inbox[this.#read]);
      this.#inbox[this.#read] = undefined;
      this.#read += 1;
      whole = this.#receive(frame);
      if (performance.now() - start > budget * READING) break;
    }
    if (this.#read === this.#inbox.length && this.#read > 0) {
      this.#inbox = [];
      this.#read = 0;
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
    } else if (frame.type === 'changes' && frame.at) {
      this.delay = Math.max(0, this.now() - Date.parse(frame.at));
    }
    const wasWhole = this.store.whole;
    const whole = this.store.receive(frame) === 'ok';
    this.freshest = Date.now();
    if (!wasWhole && this.store.whole) this.dispatchEvent(new Event('whole'));
    return whole;
  }

  #apply(expired) {
    const now = this.now();
    const still = this.held || this.paused;
    this.store.sweep(still ? row => this.ordering.has(row.slot) : undefined);
    const { changed, beaten } = this.store.drain();
    if (changed.length > 0 || beaten.length > 0) this.dataVersion += 1;
    if (changed.length > 0) {
      for (const row of changed) {
        this.facets.update(row, this.#filter.mask(row, now));
        if (row.ended && this.selection.delete(row.id)) this.selectionVersion += 1;
      }
      this.kills.update(changed, now);
    }
    const moving = movesWithBeats(this.view.sort) && beaten.length > 0 ? [...changed, ...beaten] : changed;
    if (still && this.ordering.length > 0) this.#wait(moving);
    else this.#place(moving);
    if (this.#filter.timed && this.ordering.settled && now - this.#filteredAt > 1000 && !still) this.#refilter();
    this.ordering.work(expired);
    this.#regroup();
    // A slot may hold another row only when neither the order nor the lines name it any more.
    if (this.ordering.settled && this.#linesVersion === this.ordering.version) this.store.recycle();
  }

  #place(rows) {
    if (this.#waiting.size > 0) {
      for (const row of rows) this.#waiting.add(row);
      rows = [...this.#waiting];
      this.#waiting.clear();
      this.wouldMove.clear();
    }
    if (rows.length > 0) this.ordering.update(rows);
  }

  /** Rows hold still: what changed is kept for later, and it is counted what would move. */
  #wait(rows) {
    const { ordering } = this;
    if (!ordering.settled) {
      // The reader asked for another order, so nothing holds still until it is there; and it must know what changed.
      ordering.update(rows);
      return;
    }
    for (const row of rows) {
      if (row.gone) {
        this.#waiting.delete(row);
        this.wouldMove.delete(row);
        ordering.update([row]); // not in view
        continue;
      }
      this.#waiting.add(row);
      const inside = ordering.has(row.slot);
      const stays =
        inside === ordering.matches(row) && (!inside || ordering.atHome(row, this.#home(row), this.#leaves));
      if (stays && !row.ended) this.wouldMove.delete(row);
      else this.wouldMove.add(row);
    }
  }

  #leaves = row => row === undefined || this.wouldMove.has(row);

  #home(row) {
    const { ordering } = this;
    if (this.#homes.version !== ordering.version) {
      const index =
        this.#homes.index.length >= this.store.slots.length
          ? this.#homes.index
          : new Int32Array(this.store.slots.length * 2);
      for (let i = 0; i < ordering.length; i += 1) index[ordering.order[i]] = i;
      this.#homes = { version: ordering.version, index };
    }
    return this.#homes.index[row.slot];
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

  /** Lets the waiting updates in once, though the table holds still. */
  catchUp() {
    this.store.sweep();
    const { changed } = this.store.drain();
    for (const row of changed) this.facets.update(row, this.#filter.mask(row, this.now()));
    this.#place(changed);
    this.#linesAfter = 0;
    this.#regroup();
    this.dispatchEvent(new Event('hold'));
  }

  // The view

  /** Changes part of the view's state. Another page closes the details, unless the patch opens some. */
  show(patch) {
    const before = this.view;
    const leaves = Object.hasOwn(patch, 'page') && patch.page !== before.page;
    this.view = { ...before, ...(leaves && { session: null }), ...patch };
    this.viewVersion += 1;
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
    this.wouldMove.clear();
    this.#linesAfter = 0;
    this.ordering.reorder({
      compare: comparator(sort, group ? (GROUPINGS[group].order ?? GROUPINGS[group].key) : null),
      matches: row => mask(row, this.now()) === ALL,
      visit: this.#recount,
    });
    this.#filteredAt = this.now();
    // Small tables are sorted before the next frame is drawn; only large ones take slices.
    const start = performance.now();
    this.ordering.work(() => performance.now() - start > 5);
    this.#regroup();
  }

  #recount = row => this.facets.update(row, this.#filter.mask(row, this.now()));

  #refilter() {
    this.#filteredAt = this.now();
    this.ordering.reorder({ visit: this.#recount });
  }

  /** Live rows that pass the filter; ended ones that linger are not counted. */
  get matching() {
    let ended = 0;
    for (const row of this.store.ghosts) if (this.ordering.has(row.slot)) ended += 1;
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

  /** The row or group on line `index` of the table. */
  lineAt(index) {
    const line = this.lines.lines[index];
    return line >= 0 ? this.store.slots[line] : this.lines.groups[-line - 1];
  }

  /** Where a row or group stands now, -1 when it is not shown: gone, filtered out, or folded away. */
  indexOfLine(line) {
    const { lines, length, groups } = this.lines;
    const value = line.by
      ? -groups.findIndex(group => group.by === line.by && group.value === line.value) - 1
      : line.gone
        ? null
        : line.slot;
    return value === null || (line.by && value === 0) ? -1 : lines.subarray(0, length).indexOf(value);
  }

  // Rows and the selection

  /** Live rows in the order of the table, those in folded groups included. */
  *matchingRows() {
    const { order, length } = this.ordering;
    for (let i = 0; i < length; i += 1) {
      const row = this.store.slots[order[i]];
      if (row && !row.ended) yield row;
    }
  }

  /** The one app that all matching rows belong to, null when there are several or none. */
  get onlyApp() {
    let only = null;
    for (const { app } of this.matchingRows()) {
      if (only !== null && app !== only) return null;
      only = app;
    }
    return only;
  }

  select(ids, selected) {
    for (const id of ids) {
      if (selected) this.selection.add(id);
      else this.selection.delete(id);
    }
    this.selectionVersion += 1;
    this.dispatchEvent(new Event('selection'));
  }

  clearSelection() {
    this.selection.clear();
    this.selectionVersion += 1;
    this.dispatchEvent(new Event('selection'));
  }

  selectedRows() {
    return [...this.selection].map(id => this.store.rows.get(id)).filter(row => row && !row.ended);
  }

  rowsOfApp(app) {
    return [...this.store.rows.values()].filter(row => row.app === app && !row.ended);
  }

  rowsOfGroup({ by, value }) {
    const { key } = GROUPINGS[by];
    return [...this.matchingRows()].filter(row => key(row) === value);
  }
}
