// The keys and the filter language, on one sheet.

import { el } from '../../lib/dom.js';
import { closeButton, modal } from './dialog.js';

const KEYS = [
  ['j k ↓ ↑', 'next, previous row'],
  ['x', 'select the row (X: up to here)'],
  ['K', 'kill the row: a reason, then Enter'],
  ['Enter', 'details'],
  ['Esc', 'back'],
  ['/', 'filter'],
  ['c', 'copy the row'],
  ['.', 'let waiting updates in'],
  ['space', 'pause: rows hold still'],
  ['t', 'theme'],
  ['← →', 'in the past: the event before, the next event'],
  ['?', 'this help'],
];
const WORDS = [
  ['app:risk', 'this app; with * for anything: app:ri*'],
  ['status:running,stale', 'one of these states or reported words'],
  ['user:ana  user:""', 'this user; nobody known'],
  ['task:"Q4 report"', 'within the task'],
  ['meta.env:prod', 'a tag of the session'],
  ['idle:>5m', 'idle for longer than'],
  ['silent:>1m', 'last heartbeat longer ago than'],
  ['busy:>10m', 'task running longer than'],
  ['age:1h..2h', 'session that old'],
  ['started:2026-11-22T14:00..', 'started from then on'],
  ['node:server-1', 'socket held by this server, where there are several'],
  ['-app:demo', 'not this'],
  ['words', 'anywhere in the row'],
];

export function showHelp(page) {
  if (document.querySelector('dialog.help')) return;
  const pair = ([key, text]) => [el('dt', {}, el('kbd', { text: key })), el('dd', { text })];
  const dialog = modal(
    'Keys and filters',
    el(
      'div',
      { class: 'two' },
      el('dl', { class: 'keys' }, ...KEYS.flatMap(pair)),
      el('dl', { class: 'keys' }, ...WORDS.flatMap(pair)),
    ),
    el('p', {
      class: 'soft',
      text: 'Shift on a heading sorts by several columns. A right press on a cell copies it or filters by it. Rows hold still while the pointer or the focus is among them. A press on the chart shows the table as it was then, another one with Shift what differs.',
    }),
    el('div', { class: 'buttons' }, closeButton({ autofocus: true })),
  );
  dialog.classList.add('help');
  dialog.addEventListener('keydown', event => {
    if (event.key === '?') dialog.close();
  });
  page.changed();
}
