// CSV after RFC 4180 that is safe to open in a spreadsheet.

import { printable } from './format.js';

/**
 * The text with an apostrophe before every sign that a spreadsheet would take for the start of a formula: in front, behind
 * blanks, and behind what another country's spreadsheet takes for the end of a cell. src/http/csv.rs does the same;
 * tests/vectors/csv-cells.json holds both to it.
 * @param {string} text
 */
export const guarded = text =>
  text.replace(/(?:^(?=[\t\r\n])|(?:^|(?<=[;\t\r\n]))(?=[^\S\t\r\n]*[=+\-@＝＋－＠]))/g, "'");

/**
 * One cell. Texts that a spreadsheet would take for a formula are guarded; characters that cannot be seen are spelled
 * out, as on the page. Numbers stay numbers.
 * @param {string|number|boolean|null|undefined} value
 */
export function cell(value) {
  if (value === null || value === undefined) return '';
  if (typeof value === 'number' || typeof value === 'boolean') return String(value);
  // Judged before it is spelled out.
  const text = printable(guarded(value));
  return /[",;\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/**
 * @param {string[]} header
 * @param {Iterable<any[]>} rows
 * @returns {string} with CRLF after every line
 */
export function csv(header, rows) {
  const lines = [header.map(cell).join(',')];
  for (const row of rows) lines.push(row.map(cell).join(','));
  return `${lines.join('\r\n')}\r\n`;
}

/** One row for the clipboard, its cells separated by tabs. No cell contains a tab or a line break. */
export const tabbed = values => values.map(value => printable(typeof value === 'string' ? guarded(value) : (value ?? ''))).join('\t');
