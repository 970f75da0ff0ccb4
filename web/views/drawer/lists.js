// The lists in the details: names with values, events of the log, the user's other sessions.

import { KINDS, detail } from '../../event-columns.js';
import { el } from '../../lib/dom.js';
import { ago, count, elapsed, localTime, printable, shortTime } from '../../lib/format.js';

/** The newest events that are listed. */
const EVENTS = 40;
/** The other sessions of the user that are listed. */
const OTHERS = 8;

/** Fills a `dl` with names and values, unless it shows the same already. */
export function fillPairs(list, entries) {
  const text = JSON.stringify(entries);
  if (list.shownPairs === text) return;
  list.shownPairs = text;
  list.replaceChildren(
    ...entries.flatMap(([name, value]) => [
      el('dt', {}, el('bdi', { text: printable(name) })),
      el('dd', {}, el('bdi', { text: printable(String(value)) })),
    ]),
  );
}

/**
 * What is true of the session now, as names and values.
 * @param {import('../../row.js').Row|null} row null when the session is not in the table any more
 * @param {{ cause: string|null, at: number, by: string|null, reason: string|null }|null} end
 * @param {string|null} error why the log could not be read
 * @param {{ reason: string, until: string|null }|null} lock what keeps its user out
 * @param {number} now
 */
export function factsOf(row, end, error, lock, now) {
  const facts = [];
  if (row) {
    facts.push(['Started', `${localTime(row.start)}, ${elapsed((end?.at ?? now) - row.start)} long`]);
    facts.push(['Last beat', `${ago(now - row.beat)}, ${localTime(row.beat)}`]);
    if (row.task && !end)
      facts.push(['Task', `${row.task}${row.taskStart ? `, for ${elapsed(now - row.taskStart)}` : ''}`]);
    facts.push([
      'Socket',
      row.connected ? `open${row.node && ` at ${row.node}`}` : `none, ${row.due ? `a beat each ${row.due / 1000} s` : 'it pings'}`,
    ]);
    for (const { rule, at } of (!end && row.ruled) || []) {
      const left = Date.parse(at) - now;
      facts.push(['Due', `ends ${left > 0 ? `in ${elapsed(left)}` : 'now'} by the rule ${rule}, ${localTime(Date.parse(at))}`]);
    }
    if (lock) facts.push(['Locked out', `${lock.until ? `until ${localTime(Date.parse(lock.until))}` : 'until lifted'}: ${lock.reason}`]);
    if (row.visibility) facts.push(['Visibility', row.visibility]);
    if (row.client) facts.push(['Client', row.client]);
    if (row.addr) facts.push(['Address', row.addr]);
  }
  if (end) {
    const by = end.by ? ` by ${end.by}` : '';
    facts.push(['Ended', `${end.cause ?? ''} ${localTime(end.at)}${by}${end.reason ? `: ${end.reason}` : ''}`]);
  }
  if (error && !row) facts.push(['', error]);
  return facts;
}

/** Fills a table with the newest events. @returns {boolean} whether there are any */
export function fillEvents(table, events, now) {
  const newest = events.slice(-EVENTS).reverse();
  table.replaceChildren(el('tbody', {}, ...newest.map(event => eventLine(event, now))));
  return newest.length > 0;
}

const eventLine = (event, now) =>
  el(
    'tr',
    {},
    el('td', { class: 'time', title: localTime(Date.parse(event.at)), text: shortTime(Date.parse(event.at), now) }),
    el('td', { text: KINDS[event.kind] ?? event.kind }),
    el(
      'td',
      {},
      el('bdi', { text: printable([detail(event), event.by && `by ${event.by}`].filter(Boolean).join(', ')) }),
    ),
  );

/**
 * Fills a list with the other live sessions of `user`.
 * @param {HTMLUListElement} list
 * @param {Iterable<import('../../row.js').Row>} rows
 * @param {string} user empty when nobody is known
 * @param {string} id the session that is not listed
 * @param {(id: string) => void} open
 * @returns {boolean} whether there are any
 */
export function fillOthers(list, rows, user, id, open) {
  const found = [];
  let total = 0;
  if (user) {
    for (const other of rows) {
      if (other.user !== user || other.id === id || other.ended) continue;
      total += 1;
      if (found.length < OTHERS) found.push(other);
    }
  }
  const line = other =>
    el('button', {
      type: 'button',
      class: 'link',
      text: `${printable(other.app)}, ${other.state}${other.task ? `: ${printable(other.task)}` : ''}`,
      on: { click: () => open(other.id) },
    });
  list.replaceChildren(
    ...found.map(other => el('li', {}, line(other))),
    ...(total > found.length ? [el('li', { class: 'soft', text: `and ${count(total - found.length)} more` })] : []),
  );
  return total > 0;
}

/** JSON with its line breaks; a character in its strings that cannot be seen is spelled out. */
export const printableJson = value => JSON.stringify(value, null, 2).split('\n').map(printable).join('\n');
