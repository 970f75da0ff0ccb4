// The rows that pass the filter, in order, as an array of slots. A few changed rows are taken out and merged back in,
// in one pass. A new filter or order, or very many changed rows, is a rebuild, which is done in slices; the old order
// stays in view until it is finished.

/** How many rows are sorted in one go. */
const RUN = 512;
/** How many rows are looked at before a rebuild may pause. */
const CHUNK = 1024;
/** How far `atHome` looks. */
const REACH = 64;
/** More changed rows than this are merged in slices, since sorting them takes longer than one animation frame. */
const MANY = 1000;

export class Ordering {
  #slots;
  #spare;
  #inside;
  #touched;
  #rebuild = null;
  #late = new Set();
  /** By slot, the rows of #late: they are sorted by values that they no longer have. */
  #moved;

  /** @param {(import('./row.js').Row|undefined)[]} slots the store's rows by slot */
  constructor(slots) {
    this.#slots = slots;
    this.order = new Int32Array(1024);
    this.length = 0;
    this.#spare = new Int32Array(1024);
    this.#inside = new Uint8Array(1024);
    this.#touched = new Uint8Array(1024);
    this.#moved = new Uint8Array(1024);
    this.matches = () => true;
    this.compare = (a, b) => a.slot - b.slot;
    /** Grows whenever the order may have changed. */
    this.version = 0;
  }

  /** False while a rebuild is under way. */
  get settled() {
    return this.#rebuild === null;
  }

  has(slot) {
    return this.#inside[slot] === 1;
  }

  /**
   * Begins a rebuild with a new filter and order; `work` does it.
   * @param {{ matches?: (row) => boolean, compare?: (a, b) => number, visit?: (row) => void }} how
   *   `visit` is called with every row once, in the same pass as the filter
   */
  reorder({ matches = this.matches, compare = this.compare, visit = null } = {}) {
    this.matches = matches;
    this.compare = compare;
    this.#takeLate();
    this.#rebuild = this.#anew(visit);
  }

  /**
   * Works on a rebuild until it is done or `until` has passed.
   * @param {() => boolean} [expired] asked between steps of well under a millisecond
   * @returns {boolean} true when nothing is left to do
   */
  work(expired = () => false) {
    while (this.#rebuild) {
      if (this.#rebuild.next().done) {
        this.#rebuild = null;
        this.update(this.#takeLate());
      }
      if (expired()) break;
    }
    return this.#rebuild === null;
  }

  /** The rows that changed during the rebuild. */
  #takeLate() {
    const late = [...this.#late];
    this.#late.clear();
    for (const row of late) this.#moved[row.slot] = 0;
    return late;
  }

  /** The rebuild from all rows: filters and sorts them. */
  *#anew(visit) {
    const slots = this.#slots;
    const count = slots.length;
    this.#reserve(count);
    const passing = new Int32Array(count);
    let length = 0;
    for (let slot = 0; slot < count; slot += 1) {
      const row = slots[slot];
      if (row && !row.gone) {
        visit?.(row);
        if (this.matches(row)) passing[length++] = slot;
      }
      if (slot % CHUNK === CHUNK - 1) yield;
    }
    this.#replace(yield* this.#sorted(passing.subarray(0, length)));
  }

  /** The rebuild from the present order: takes `rows` out and merges them back in. */
  *#mergedIn(rows) {
    this.#reserve(this.#slots.length);
    const changed = new Uint8Array(this.#slots.length);
    const passing = new Int32Array(rows.length);
    let length = 0;
    for (let i = 0; i < rows.length; i += 1) {
      const row = rows[i];
      if (!changed[row.slot] && !row.gone && this.matches(row)) passing[length++] = row.slot;
      changed[row.slot] = 1;
      if (i % CHUNK === CHUNK - 1) yield;
    }
    const incoming = yield* this.#sorted(passing.subarray(0, length));
    const kept = this.order.slice(0, this.length).filter(slot => !changed[slot]);
    yield;
    const merged = new Int32Array(kept.length + incoming.length);
    this.#replace(merged.subarray(0, yield* this.#join(kept, incoming, merged)));
  }

  /** Sorts `list`: short runs first, then always two of them are merged. */
  *#sorted(list) {
    const bySlot = (a, b) => this.compare(this.#slots[a], this.#slots[b]);
    let runs = [];
    for (let start = 0; start < list.length; start += RUN) {
      const run = list.subarray(start, start + RUN);
      runs.push(run.sort(bySlot));
      yield;
    }
    for (let to = new Int32Array(list.length), from = list; runs.length > 1; [from, to] = [to, from]) {
      const joined = [];
      for (let i = 0, start = 0; i < runs.length; i += 2) {
        const right = runs[i + 1] ?? runs[i].subarray(0, 0);
        const room = to.subarray(start, start + runs[i].length + right.length);
        start += room.length;
        joined.push(room.subarray(0, yield* this.#join(runs[i], right, room)));
        yield; // short runs are joined in one go
      }
      runs = joined;
    }
    return runs[0] ?? list;
  }

  /**
   * Merges two sorted lists into `out` and returns its length. Rows that changed since they were sorted are left out,
   * because rows after them would be merged at the wrong place; they are added when the rebuild is finished.
   */
  *#join(left, right, out) {
    const slots = this.#slots;
    let moved = this.#moved;
    let length = 0;
    let i = 0;
    let j = 0;
    for (let steps = 1; i < left.length || j < right.length; steps += 1) {
      if (steps % CHUNK === 0) {
        yield;
        moved = this.#moved;
      }
      if (i < left.length && moved[left[i]]) i += 1;
      else if (j < right.length && moved[right[j]]) j += 1;
      else if (j >= right.length || (i < left.length && this.compare(slots[left[i]], slots[right[j]]) <= 0))
        out[length++] = left[i++];
      else out[length++] = right[j++];
    }
    return length;
  }

  #replace(list) {
    this.#reserve(this.#slots.length);
    this.#inside.fill(0);
    this.order.set(list);
    for (let i = 0; i < list.length; i += 1) this.#inside[list[i]] = 1;
    this.length = list.length;
    this.version += 1;
  }

  /**
   * Moves changed rows to their place. Very many of them are moved by `work`.
   * @param {import('./row.js').Row[]} rows
   */
  update(rows) {
    this.#reserve(this.#slots.length);
    if (this.#rebuild) {
      for (const row of rows) {
        this.#late.add(row);
        this.#moved[row.slot] = 1;
      }
      return;
    }
    if (rows.length > MANY) {
      this.#rebuild = this.#mergedIn(rows);
      return;
    }
    const touched = [];
    const incoming = [];
    let leaving = 0;
    for (const row of rows) {
      if (this.#touched[row.slot]) continue;
      this.#touched[row.slot] = 1;
      touched.push(row.slot);
      leaving += this.#inside[row.slot];
      const wanted = !row.gone && this.matches(row);
      this.#inside[row.slot] = wanted ? 1 : 0;
      if (wanted) incoming.push(row);
    }
    if (leaving > 0 || incoming.length > 0) this.#merge(incoming, leaving);
    for (const slot of touched) this.#touched[slot] = 0;
  }

  #merge(incoming, leaving) {
    const slots = this.#slots;
    const old = this.order;
    let kept = old;
    let length = this.length;
    if (leaving > 0) {
      kept = this.#spare;
      length = 0;
      for (let i = 0; i < this.length; i += 1) {
        if (!this.#touched[old[i]]) kept[length++] = old[i];
      }
    }
    incoming.sort(this.compare);
    // From the end on, so that `kept` and `out` may be the same array.
    const out = this.order;
    let end = length;
    let write = length + incoming.length;
    for (let i = incoming.length - 1; i >= 0; i -= 1) {
      const row = incoming[i];
      let low = 0;
      let high = end;
      while (low < high) {
        const middle = (low + high) >> 1;
        if (this.compare(slots[kept[middle]], row) <= 0) low = middle + 1;
        else high = middle;
      }
      const block = end - low;
      write -= block;
      if (kept === out) out.copyWithin(write, low, end);
      else out.set(kept.subarray(low, end), write);
      out[--write] = row.slot;
      end = low;
    }
    if (kept !== out) out.set(kept.subarray(0, end), 0);
    this.length = length + incoming.length;
    this.version += 1;
  }

  /**
   * Whether `row` keeps its place at `index`: whether it is in order with the nearest rows that do not move.
   * @param {(row) => boolean} leaves whether a row is about to move, so that it does not count
   */
  atHome(row, index, leaves) {
    // An exact count of what waits is not worth looking further.
    const first = Math.max(0, index - REACH);
    const last = Math.min(this.length - 1, index + REACH);
    let before = index - 1;
    while (before >= first && leaves(this.#slots[this.order[before]])) before -= 1;
    let after = index + 1;
    while (after <= last && leaves(this.#slots[this.order[after]])) after += 1;
    return (
      (before < first || this.compare(this.#slots[this.order[before]], row) <= 0) &&
      (after > last || this.compare(row, this.#slots[this.order[after]]) <= 0)
    );
  }

  #reserve(count) {
    if (count <= this.#inside.length) return;
    const size = Math.max(count, this.#inside.length * 2);
    const grown = (Type, source) => {
      const copy = new Type(size);
      copy.set(source);
      return copy;
    };
    this.order = grown(Int32Array, this.order);
    this.#spare = new Int32Array(size);
    this.#inside = grown(Uint8Array, this.#inside);
    this.#touched = grown(Uint8Array, this.#touched);
    this.#moved = grown(Uint8Array, this.#moved);
  }
}
