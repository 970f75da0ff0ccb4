// Comma-separated values after RFC 4180, safe to open in a spreadsheet.

import { printable } from './format.js';

/**
 * One cell. Texts that a spreadsheet would take for a formula get an apostrophe in front, which it shows as text;
 * characters that cannot be seen are spelled out, as on the page. Numbers stay numbers.
 * @param {string|number|boolean|null|undefined} value
 */
export function cell(value) {
  if (value === null || value === undefined) return '';
  if (typeof value === 'number' || typeof value === 'boolean') return String(value);
  // A tab or a return in front is itself a trick to hide the sign behind it: judged before it is spelled out.
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

/** One row for the clipboard: cells between tabs, none of which can break the row. */
export const tabbed = values => values.map(value => printable(value ?? '')).join('\t');
