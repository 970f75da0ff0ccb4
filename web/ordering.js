// The rows that pass the filter, in order, as slots. A few changed rows are taken out
// and merged back in (one pass over an array of integers); a new filter or sort order
// is worked off in slices, while the old order stays in view.

const RUN = 512;
const CHUNK = 2048;
const REACH = 64;

export class Ordering {
  #slots;
  #spare;
  #inside;
  #touched;
  #rebuild = null;
  #late = new Set();

  /** @param {(import('./row.js').Row|undefined)[]} slots the store's rows by slot */
  constructor(slots) {
    this.#slots = slots;
    this.order = new Int32Array(1024);
    this.length = 0;
    this.#spare = new Int32Array(1024);
    this.#inside = new Uint8Array(1024);
    this.#touched = new Uint8Array(1024);
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
   * Asks for a new filter and order; `work` then does it.
   * @param {{ matches?: (row) => boolean, compare?: (a, b) => number, visit?: (row) => void }} how
   *   `visit` is shown every row once, in the same pass as the filter
   */
  reorder({ matches = this.matches, compare = this.compare, visit = null } = {}) {
    this.matches = matches;
    this.compare = compare;
    this.#late.clear();
    this.#rebuild = this.#steps(visit);
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
        const late = [...this.#late];
        this.#late.clear();
        this.update(late);
        break;
      }
      if (expired()) return this.#rebuild === null;
    }
    return true;
  }

  *#steps(visit) {
    const slots = this.#slots;
    const count = slots.length;
    let length = 0;
    let from = new Int32Array(count);
    for (let slot = 0; slot < count; slot += 1) {
      const row = slots[slot];
      if (row && !row.gone) {
        visit?.(row);
        if (this.matches(row)) from[length++] = slot;
      }
      if (slot % CHUNK === CHUNK - 1) yield;
    }
    const bySlot = (a, b) => this.compare(slots[a], slots[b]);
    for (let start = 0; start < length; start += RUN) {
      from.subarray(start, Math.min(start + RUN, length)).sort(bySlot);
      yield;
    }
    let to = new Int32Array(count);
    for (let width = RUN; width < length; width *= 2) {
      let out = 0;
      for (let start = 0; start < length; start += 2 * width) {
        let left = start;
        const middle = Math.min(start + width, length);
        let right = middle;
        const end = Math.min(start + 2 * width, length);
        while (left < middle && right < end) {
          to[out++] = bySlot(from[right], from[left]) < 0 ? from[right++] : from[left++];
          if (out % CHUNK === 0) yield;
        }
        while (left < middle) to[out++] = from[left++];
        while (right < end) to[out++] = from[right++];
      }
      [from, to] = [to, from];
    }
    this.#reserve(count);
    this.#inside.fill(0);
    for (let i = 0; i < length; i += 1) {
      this.order[i] = from[i];
      this.#inside[from[i]] = 1;
    }
    this.length = length;
    this.version += 1;
  }

  /**
   * Moves rows that changed to where they belong now.
   * @param {Iterable<import('./row.js').Row>} rows
   */
  update(rows) {
    if (this.#rebuild) {
      for (const row of rows) this.#late.add(row);
      return;
    }
    this.#reserve(this.#slots.length);
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
    // From the end, so that `kept` may be the very array that is written.
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
   * Whether `row` would still stand where it stands at `index`, between the nearest rows that stay themselves.
   * @param {(row) => boolean} leaves which rows do not count, because they are about to move
   */
  atHome(row, index, leaves) {
    // Looking further than this costs more than an exact count of what waits is worth.
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
  }
}
