// What can be done with a row of the live table and with one of its cells: copied, made a filter, ended.

import { COLUMNS, cellValue } from '../columns.js';
import { copy } from '../lib/dom.js';
import { tabbed } from '../lib/csv.js';
import { printable } from '../lib/format.js';
import { toggled, without } from '../query.js';
import { menu } from './menu.js';

/** Copies a row as it is shown, its cells between tabs. */
export function copyRow(dashboard, row, say) {
  const now = dashboard.now();
  copy(tabbed(dashboard.columns.map(key => cellValue(COLUMNS[key], row, now))));
  say('Row copied');
}

/**
 * Opens the menu of a row.
 * @param {import('../dashboard.js').Dashboard} dashboard
 * @param {import('../row.js').Row} row
 * @param {object} how
 * @param {string|null} how.key the column of the cell that was pressed; null by the keyboard, which points at no cell
 * @param {{ left: number, bottom: number }} how.place in px of the window
 * @param {HTMLElement} how.back where the focus goes afterwards
 * @param {() => void} how.arm begins the kill of this row
 * @param {{ open: (id: string) => void, message: (target) => void, say: (text: string) => void }} page
 */
export function rowMenu(dashboard, row, { key, place, back, arm }, page) {
  const column = key ? COLUMNS[key] : null;
  const now = dashboard.now();
  const filter = query => dashboard.show({ query });
  const value = column?.filter ? (column === COLUMNS.state ? row.state : column.text(row, now)) : null;
  const mayAct = dashboard.mayAct && !row.ended;
  const items = [
    { text: 'Open details', keys: 'Enter', act: () => page.open(row.id) },
    ...(column ? [column] : dashboard.columns.map(each => COLUMNS[each])).map(each => ({
      text: `Copy ${each.title.toLowerCase()}`,
      act: () => {
        copy(printable(String(cellValue(each, row, now))));
        page.say('Cell copied');
      },
    })),
    { text: 'Copy row', keys: 'c', act: () => copyRow(dashboard, row, page.say) },
    value !== null && {
      text: `Only ${column.filter}: ${printable(value) || 'none'}`,
      act: () => filter(toggled(dashboard.view.query, column.filter, value)),
    },
    value !== null && {
      text: `Not ${column.filter}: ${printable(value) || 'none'}`,
      act: () => filter(without(dashboard.view.query, column.filter, value)),
    },
    mayAct && { text: 'Message…', act: () => page.message({ rows: [row] }) },
    mayAct && row.state !== 'ending' && { text: 'Kill…', keys: 'K', danger: true, act: arm },
  ];
  menu(items.filter(Boolean), place, back);
}
