// The qualifiers of the filter, for live rows and for events of the log.

import { compile } from './query.js';
import { ALL, FACET_BIT, REST } from './facets.js';
import { isUnconfirmed } from './kills.js';

/**
 * A session that reports a word of its own (`uploading`) matches that word and `running`; one that did not end in time
 * after a kill matches `ending` and `unconfirmed`.
 */
const statusOf = (row, _name, now) => {
  if (row.ended) return ['ended', row.state];
  if (isUnconfirmed(row, now)) return ['ending', 'unconfirmed'];
  return row.state === 'running' ? ['running', row.reported] : row.state;
};

/** Whether one of the values changes with time alone. */
const isTimedStatus = values => values.some(value => value.includes('*') || value.toLowerCase() === 'unconfirmed');

const ownMeta = (row, name) => (Object.hasOwn(row.meta, name) ? String(row.meta[name]) : null);

export const SESSION_FIELDS = {
  app: { type: 'word', get: row => row.app, hint: 'app:risk' },
  status: { type: 'word', get: statusOf, timed: isTimedStatus, hint: 'status:running,stale' },
  user: { type: 'word', get: row => row.user, hint: 'user:ana' },
  task: { type: 'text', get: row => row.task, hint: 'task:"Q4 report"' },
  id: { type: 'word', get: row => row.id, hint: 'id:3f2*' },
  meta: { type: 'word', named: true, get: ownMeta, hint: 'meta.env:prod' },
  idle: { type: 'since', get: row => row.idleSince, hint: 'idle:>5m' },
  silent: { type: 'since', get: row => row.beat, hint: 'silent:>1m' },
  age: { type: 'since', get: row => row.start, hint: 'age:>2h' },
  busy: { type: 'since', get: row => row.taskStart, hint: 'busy:>10m' },
  started: { type: 'time', get: row => row.start, hint: 'started:2026-11-22T14:00..' },
  client: { type: 'word', get: row => row.client, hint: 'client:python*' },
  addr: { type: 'word', get: row => row.addr, hint: 'addr:10.*' },
  visibility: { type: 'word', get: row => row.visibility, hint: 'visibility:hidden' },
  connected: { type: 'word', get: row => (row.connected === null ? '' : row.connected ? 'yes' : 'no'), hint: 'connected:no' },
  node: { type: 'word', get: row => row.node, hint: 'node:server-1' },
  reason: { type: 'text', get: row => row.ended?.reason ?? row.kill?.reason, hint: 'reason:maintenance' },
};

function* sessionWords(row) {
  yield row.app;
  yield row.user;
  yield row.task;
  yield row.id;
  yield row.ended ? 'ended' : row.state;
  yield row.reported;
  yield row.client;
  yield row.addr;
  const meta = row.meta;
  for (const key in meta) if (Object.hasOwn(meta, key)) yield String(meta[key]);
}

export const EVENT_FIELDS = {
  kind: { type: 'word', get: event => event.kind, hint: 'kind:kill_requested,removed' },
  app: { type: 'word', get: event => event.app_name, hint: 'app:risk' },
  user: { type: 'word', get: event => event.user_id ?? '', hint: 'user:ana' },
  id: { type: 'word', get: event => event.session_id, hint: 'id:3f2*' },
  by: { type: 'word', get: event => event.by ?? '', hint: 'by:joe' },
  cause: { type: 'word', get: event => event.cause ?? '', hint: 'cause:killed' },
  reason: { type: 'text', get: event => event.reason, hint: 'reason:maintenance' },
  at: { type: 'time', get: event => Date.parse(event.at), hint: 'at:2026-11-22T14:00..' },
  started: { type: 'time', get: event => Date.parse(event.at), hint: 'started:2026-11-22T14:00..' },
  task: { type: 'text', get: event => event.current_task, hint: 'task:report' },
};

function eventWords(event) {
  return [
    event.kind,
    event.app_name,
    event.user_id,
    event.session_id,
    event.by,
    event.reason,
    event.cause,
    event.text,
    event.current_task,
  ];
}

/**
 * The filter of the live table.
 * @returns {{ mask: (row, now: number) => number, timed: boolean, unknown: string[], incomplete: boolean }} the mask has
 *   a bit for each part that the row passes (see facets.js)
 */
export function sessionFilter(text) {
  const { tests, timed, unknown, incomplete } = compile(text, SESSION_FIELDS, sessionWords);
  const byBit = tests.map(({ key, test }) => ({
    bit: Object.hasOwn(FACET_BIT, key ?? '') ? FACET_BIT[key] : REST,
    test,
  }));
  const mask = (row, now) => {
    let passed = ALL;
    for (const { bit, test } of byBit) if ((passed & bit) !== 0 && !test(row, now)) passed &= ~bit;
    return passed;
  };
  return { mask, timed, unknown, incomplete };
}

/** The filter of the event log, in the same language. */
export function eventFilter(text) {
  const { tests, unknown } = compile(text, EVENT_FIELDS, eventWords);
  return { matches: event => tests.every(({ test }) => test(event, 0)), unknown };
}
