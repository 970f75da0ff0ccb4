// The columns of the live table: the text of each, its order, and its value in CSV. How a cell looks is up to the
// views.

import { ago, elapsed, localTime, plural, printable } from './lib/format.js';

const word = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
const byText = get => (a, b) => {
  const x = get(a);
  const y = get(b);
  return x === y ? 0 : word(x, y);
};
const byNumber = get => (a, b) => get(a) - get(b);
const iso = time => (time ? new Date(time).toISOString() : '');

/**
 * @typedef {object} Column
 * @property {string} title
 * @property {string} track its width, as a grid track
 * @property {(row, now: number) => string} text the text of the cell
 * @property {(row, now: number) => any} value what CSV holds, when it is not the text
 * @property {(row, now: number) => string} [hover] the exact value, shown as the title
 * @property {(a, b) => number} [compare]
 * @property {(row) => boolean} [missing] rows without a value, which come last in both directions
 * @property {boolean} [down] whether the first press sorts largest first
 * @property {boolean} [ticks] whether the text changes with time alone
 * @property {boolean} [beats] whether a heartbeat can move the row
 * @property {boolean} [several] whether it is shown only where several servers share the store
 * @property {string} [filter] the qualifier of the filter that selects the cell's value
 */

/** @type {Record<string, Column>} */
export const COLUMNS = {
  state: {
    title: 'State',
    track: '104px',
    compare: byNumber(row => row.rank),
    filter: 'status',
    text: row => (row.ended ? (row.ended.cause ?? 'ended') : stateWord(row)),
    hover: row => (row.state === 'running' || row.ended ? '' : `reported ${row.reported}`),
  },
  app: {
    title: 'App',
    track: 'minmax(96px, 1.1fr)',
    compare: byText(row => row.app),
    filter: 'app',
    text: row => row.app,
  },
  user: {
    title: 'User',
    track: 'minmax(88px, 1fr)',
    compare: byText(row => row.user),
    missing: row => row.user === '',
    filter: 'user',
    text: row => row.user,
  },
  task: {
    title: 'Task',
    track: 'minmax(120px, 2fr)',
    compare: byText(row => row.task),
    missing: row => row.task === '',
    filter: 'task',
    text: row => row.task,
  },
  elapsed: {
    title: 'Elapsed',
    track: '76px',
    right: true,
    ticks: true,
    down: true,
    compare: byNumber(row => -row.taskStart),
    missing: row => row.taskStart === 0,
    text: (row, now) => (row.taskStart && !row.ended ? elapsed(now - row.taskStart) : ''),
    value: (row, now) => (row.taskStart && !row.ended ? Math.max(0, Math.floor((now - row.taskStart) / 1000)) : ''),
    hover: row => (row.taskStart ? `since ${localTime(row.taskStart)}` : ''),
  },
  beats: {
    title: 'Beats',
    track: '84px',
    ticks: true,
    beats: true,
    compare: byNumber(missedBeats),
    down: true,
    text: (row, now) => row.strip(now),
    hover: (row, now) => stripWords(row.strip(now), row.due),
  },
  beat: {
    title: 'Last beat',
    track: '88px',
    right: true,
    ticks: true,
    beats: true,
    down: true,
    compare: byNumber(row => row.beat),
    // The past has no heartbeats.
    text: (row, now) => (row.beat ? ago(now - row.beat) : ''),
    value: row => (row.beat ? iso(row.beat) : ''),
    hover: row => (row.beat ? localTime(row.beat) : ''),
  },
  age: {
    title: 'Age',
    track: '76px',
    right: true,
    ticks: true,
    down: true,
    compare: byNumber(row => -row.start),
    text: (row, now) => elapsed((row.ended ? row.ended.at : now) - row.start),
    value: (row, now) => Math.max(0, Math.floor(((row.ended ? row.ended.at : now) - row.start) / 1000)),
    hover: row => `since ${localTime(row.start)}`,
  },
  started: {
    title: 'Started',
    track: '160px',
    compare: byNumber(row => row.start),
    down: true,
    text: row =>
      localTime(row.start)
        .replace(/^\w+, /, '')
        .replace(/\.\d+.*$/, ''),
    value: row => iso(row.start),
    hover: row => localTime(row.start),
  },
  status: {
    title: 'Reported',
    track: '96px',
    compare: byText(row => row.reported),
    text: row => row.reported,
  },
  visibility: {
    title: 'Visibility',
    track: '92px',
    compare: byText(row => row.visibility ?? ''),
    filter: 'visibility',
    missing: row => !row.visibility,
    text: row => row.visibility ?? '',
  },
  connected: {
    title: 'Socket',
    track: '72px',
    compare: byNumber(row => (row.connected ? 0 : 1)),
    filter: 'connected',
    text: row => (row.connected === null ? '' : row.connected ? 'open' : 'none'),
    value: row => row.connected ?? '',
  },
  node: {
    title: 'Server',
    track: '104px',
    several: true,
    compare: byText(row => row.node),
    filter: 'node',
    missing: row => row.node === '',
    text: row => row.node,
  },
  client: {
    title: 'Client',
    track: '104px',
    compare: byText(row => row.client ?? ''),
    filter: 'client',
    missing: row => !row.client,
    text: row => row.client ?? '',
  },
  addr: {
    title: 'Address',
    track: '120px',
    compare: byText(row => row.addr ?? ''),
    filter: 'addr',
    missing: row => !row.addr,
    text: row => row.addr ?? '',
  },
  meta: {
    title: 'Meta',
    track: 'minmax(120px, 1.2fr)',
    compare: byText(row => metaText(row)),
    missing: row => metaText(row) === '',
    text: row => metaText(row),
  },
  id: {
    title: 'Session id',
    track: 'minmax(150px, 1fr)',
    compare: byText(row => row.id),
    filter: 'id',
    text: row => row.id,
  },
};

export const DEFAULT_COLUMNS = ['state', 'app', 'user', 'task', 'elapsed', 'beats', 'beat', 'age', 'node'];

/**
 * The columns that are shown of those that were chosen.
 * @param {string[]} chosen
 * @param {boolean} several whether several servers share the store
 */
export function shownColumns(chosen, several) {
  const shown = several ? chosen : chosen.filter(key => !COLUMNS[key].several);
  return shown.length > 0 ? shown : shownColumns(DEFAULT_COLUMNS, several);
}

export const DEFAULT_SORT = [{ key: 'state', down: false }];

/** How many of the last beats were missed. Beats that are overdue now are not counted. */
function missedBeats(row) {
  let came = 0;
  for (let bits = row.beats; bits > 0; bits >>= 1) came += bits & 1;
  return row.beatsKnown - came;
}

/** A running session is shown by the word that it reported. */
function stateWord(row) {
  return row.state === 'running' ? row.reported : row.state;
}

/** `env=prod region=eu` */
export function metaText(row) {
  return Object.entries(row.meta)
    .map(([key, value]) => `${key}=${value}`)
    .join(' ');
}

/**
 * The strip of beats in words, for a screen reader.
 * @param {string} strip as `Row.strip` gives it
 * @param {number|null} due how often a heartbeat is due, in ms; null when none is
 */
export function stripWords(strip, due) {
  const known = [...strip].filter(beat => beat !== '.');
  const missed = known.filter(beat => beat === '0').length;
  if (due === null) return `${plural(known.length, 'ping')} seen, none is due at a fixed time`;
  const every = `one each ${elapsedWords(due)}`;
  if (known.length === 0) return `no heartbeats seen, ${every} is due`;
  if (missed > 0) return `${missed} of the last ${plural(known.length, 'heartbeat')} missed, ${every}`;
  return known.length === 1
    ? `the last heartbeat came, ${every}`
    : `the last ${known.length} heartbeats came, ${every}`;
}

const elapsedWords = span => (span < 1000 ? `${span} ms` : `${Math.round(span / 100) / 10} s`);

/** The text of a cell, with the characters spelled out that cannot be seen. */
export const cellText = (column, row, now) =>
  column === COLUMNS.beats ? column.text(row, now) : printable(column.text(row, now));

/** What CSV and the clipboard hold for a cell. */
export const cellValue = (column, row, now) => (column.value ?? column.text)(row, now);

/**
 * An order over all rows: the group first, then each column of `sort`, then newest first.
 * @param {{ key: string, down: boolean }[]} sort
 * @param {((row) => string|number)|null} [group]
 */
export function comparator(sort, group = null) {
  const steps = [];
  if (group)
    steps.push((a, b) => {
      const x = group(a);
      const y = group(b);
      return x < y ? -1 : x > y ? 1 : 0;
    });
  for (const { key, down } of sort) {
    const { compare, missing } = COLUMNS[key];
    if (missing) steps.push((a, b) => Number(missing(a)) - Number(missing(b)));
    steps.push(down ? (a, b) => compare(b, a) : compare);
  }
  steps.push((a, b) => b.start - a.start);
  steps.push((a, b) => (a.id < b.id ? -1 : a.id > b.id ? 1 : 0));
  return (a, b) => {
    for (let i = 0; i < steps.length; i += 1) {
      const order = steps[i](a, b);
      if (order !== 0) return order;
    }
    return 0;
  };
}

/** Whether a heartbeat alone can move a row under this order. */
export const movesWithBeats = sort => sort.some(({ key }) => COLUMNS[key].beats);

/** The sort after a press on a heading. `further` (shift) adds the column to the sort that there is. */
export function pressed(sort, key, further) {
  const at = sort.findIndex(entry => entry.key === key);
  const first = Boolean(COLUMNS[key].down);
  const turned = at < 0 ? { key, down: first } : { key, down: !sort[at].down };
  if (!further) {
    // The third press brings back the default order, which puts problems first.
    if (at === 0 && sort.length === 1 && sort[0].down !== first) return DEFAULT_SORT;
    return [turned];
  }
  if (at < 0) return [...sort, turned];
  if (sort[at].down !== first && sort.length > 1) return sort.filter((_, i) => i !== at);
  return sort.map((entry, i) => (i === at ? turned : entry));
}
