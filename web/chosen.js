// Which rows are meant: those on a line, those that match, those of an app or a group, and those that are ticked. The
// dashboard has them.

import { GROUPINGS } from './grouping.js';

export class Chosen extends EventTarget {
  /** @type {Set<string>} ids of ticked rows */
  selection = new Set();
  selectionVersion = 0;

  /** The live rows in the order of the table, with those in folded groups. */
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

  /** The row or group on line `index` of the table. */
  lineAt(index) {
    const line = this.lines.lines[index];
    return line >= 0 ? this.store.slots[line] : this.lines.groups[-line - 1];
  }

  /** The line of a row or group, -1 when it is not shown: gone, filtered out, or folded. */
  indexOfLine(line) {
    const { lines, length, groups } = this.lines;
    const value = line.by
      ? -groups.findIndex(group => group.by === line.by && group.value === line.value) - 1
      : line.gone
        ? null
        : line.slot;
    return value === null || (line.by && value === 0) ? -1 : lines.subarray(0, length).indexOf(value);
  }
}
