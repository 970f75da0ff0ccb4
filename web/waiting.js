// Rows that changed while the table holds still: kept until they may move, and counted where they would.

export class Waiting {
  #ordering;
  #slots;
  /** Rows that changed since the table holds still. */
  #rows = new Set();
  /** For each slot the place of its row, as of a version of the order. */
  #places = { version: -1, index: new Int32Array(0) };

  /**
   * @param {import('./ordering.js').Ordering} ordering
   * @param {(import('./row.js').Row|undefined)[]} slots
   */
  constructor(ordering, slots) {
    this.#ordering = ordering;
    this.#slots = slots;
    /** Rows that would appear, leave or move if they did not have to hold still. */
    this.wouldMove = new Set();
  }

  clear() {
    this.#rows.clear();
    this.wouldMove.clear();
  }

  /** Moves `rows`, and those that waited, to where they belong. */
  release(rows) {
    if (this.#rows.size > 0) {
      for (const row of rows) this.#rows.add(row);
      rows = [...this.#rows];
      this.clear();
    }
    if (rows.length > 0) this.#ordering.update(rows);
  }

  /** Keeps `rows` for later, and notes which of them would move. */
  hold(rows) {
    const ordering = this.#ordering;
    if (!ordering.settled) {
      // The reader asked for another order, so nothing holds still until it is there; and it must know what changed.
      ordering.update(rows);
      return;
    }
    for (const row of rows) {
      if (row.gone) {
        this.#rows.delete(row);
        this.wouldMove.delete(row);
        ordering.update([row]); // not in view
        continue;
      }
      this.#rows.add(row);
      if (this.#stays(row) && !row.ended) this.wouldMove.delete(row);
      else this.wouldMove.add(row);
    }
  }

  #stays(row) {
    const ordering = this.#ordering;
    const inside = ordering.has(row.slot);
    if (inside !== ordering.matches(row)) return false;
    return !inside || ordering.atHome(row, this.#placeOf(row), this.#leaves);
  }

  #leaves = row => row === undefined || this.wouldMove.has(row);

  #placeOf(row) {
    const ordering = this.#ordering;
    if (this.#places.version !== ordering.version) {
      const { length } = this.#slots;
      const index = this.#places.index.length >= length ? this.#places.index : new Int32Array(length * 2);
      for (let i = 0; i < ordering.length; i += 1) index[ordering.order[i]] = i;
      this.#places = { version: ordering.version, index };
    }
    return this.#places.index[row.slot];
  }
}
