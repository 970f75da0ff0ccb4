// CSV after RFC 4180 that is safe to open in a spreadsheet.

import { printable } from './format.js';

/**
 * One cell. A text that a spreadsheet would run as a formula gets an apostrophe in front. Characters that cannot be
 * seen are spelled out, as on the page. Numbers stay numbers.
 * @param {string|number|boolean|null|undefined} value
 */
export function cell(value) {
  if (value === null || value === undefined) return '';
  if (typeof value === 'number' || typeof value === 'boolean') return String(value);
  // Checked before tabs and returns are spelled out: they may stand in front of the sign to hide it.
  const formula = /^[\t\r\n ]*[=+\-@\uff1d\uff0b\uff0d\uff20]|^[\t\r]/.test(value);
  const text = (formula ? "'" : '') + printable(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
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
export const tabbed = values => values.map(value => printable(value ?? '')).join('\t');
