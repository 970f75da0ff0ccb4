// How many sessions each app, status and user has. A facet counts the rows that pass the rest of the filter, so that
// choosing one app leaves the counts of the other apps. Counts are kept row by row: each row remembers what it was
// counted as, and that is taken back when it changes.

export const FACETS = ['app', 'status', 'user'];

/** The parts of a filter as bits: bit 0 for all that belongs to no facet, then one bit for each of FACETS. */
export const REST = 1;
export const FACET_BIT = { app: 2, status: 4, user: 8 };
export const ALL = 15;

/** The field of a row that each facet counts, and the field in which the row remembers what it was counted as. */
const VALUE = { app: 'app', status: 'state', user: 'user' };
const COUNTED = { app: 'countedApp', status: 'countedStatus', user: 'countedUser' };

export class Facets {
  constructor() {
    this.counts = Object.fromEntries(FACETS.map(facet => [facet, new Map()]));
    this.version = 0;
  }

  /**
   * @param {import('./row.js').Row} row
   * @param {number} mask which parts of the filter it passes
   */
  update(row, mask) {
    const counts = !row.gone && !row.ended;
    for (const facet of FACETS) {
      const others = ALL & ~FACET_BIT[facet];
      this.#count(row, facet, counts && (mask & others) === others ? row[VALUE[facet]] : null);
    }
  }

  #count(row, facet, value) {
    const before = row[COUNTED[facet]];
    if (before === value) return;
    this.version += 1;
    const counts = this.counts[facet];
    if (before !== null) {
      const left = counts.get(before) - 1;
      if (left > 0) counts.set(before, left);
      else counts.delete(before);
    }
    if (value !== null) counts.set(value, (counts.get(value) ?? 0) + 1);
    row[COUNTED[facet]] = value;
  }

  /**
   * The largest values of a facet, largest first; among equals by name.
   * @param {'app'|'status'|'user'} facet
   * @param {number} limit
   * @param {Iterable<string>} [always] values that are listed even when their count is 0
   * @returns {{ value: string, count: number }[]}
   */
  top(facet, limit, always = []) {
    const counts = this.counts[facet];
    const best = [];
    const before = (a, b) => b.count - a.count || (a.value < b.value ? -1 : 1);
    for (const [name, count] of counts) {
      const entry = { value: name, count };
      if (best.length === limit && before(best[limit - 1], entry) < 0) continue;
      let i = best.length;
      while (i > 0 && before(entry, best[i - 1]) < 0) i -= 1;
      best.splice(i, 0, entry);
      if (best.length > limit) best.pop();
    }
    for (const name of always) {
      if (!best.some(entry => entry.value === name)) best.push({ value: name, count: counts.get(name) ?? 0 });
    }
    return best;
  }
}
