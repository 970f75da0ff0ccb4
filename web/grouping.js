// The lines of the table: rows, and above each group its heading. A line is an integer: the slot of a row, or
// -(index + 1) of a group.

import { STATES } from './states.js';

/** What the table can be grouped by. Groups are sorted by `order`, or else by name. */
export const GROUPINGS = {
  app: { title: 'App', key: row => row.app },
  user: { title: 'User', key: row => row.user },
  status: { title: 'Status', key: row => row.state, order: row => row.rank },
};

/**
 * @param {{ order: Int32Array, length: number }} ordering sorted by the group's key first
 * @param {(import('./row.js').Row)[]} slots
 * @param {string|null} by a key of GROUPINGS, or null for none
 * @param {Set<string>} folded the groups whose rows are not shown
 */
export function linesOf(ordering, slots, by, folded) {
  if (!by) return { lines: ordering.order, length: ordering.length, groups: [] };
  const key = GROUPINGS[by].key;
  const lines = new Int32Array(ordering.length * 2);
  const groups = [];
  let length = 0;
  let group = null;
  for (let i = 0; i < ordering.length; i += 1) {
    const row = slots[ordering.order[i]];
    const value = key(row);
    if (group === null || group.value !== value) {
      group = {
        by,
        value,
        live: 0,
        size: 0,
        states: Object.fromEntries(STATES.map(state => [state, 0])),
        folded: folded.has(value),
      };
      groups.push(group);
      lines[length++] = -groups.length;
    }
    group.size += 1;
    if (!row.ended) {
      group.live += 1;
      group.states[row.state] += 1;
    }
    if (!group.folded) lines[length++] = row.slot;
  }
  return { lines, length, groups };
}
