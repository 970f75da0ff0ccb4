// The dialogs that ask before something is done to many: ending sessions, and writing
// to their users. Both say what will be hit before they can be pressed.

import { killApp, killRows, messageApp, messageRows } from '../actions.js';
import { isUnconfirmed } from '../kills.js';
import { el, setText } from '../lib/dom.js';
import { count, elapsed, plural, printable, took } from '../lib/format.js';
import { recall, remember } from '../lib/remember.js';

/** More sessions than this want the app's name or the number typed. */
const MANY = 10;
/** Of a message to very many, this many deliveries are told one by one. */
const DELIVERIES = 50;

/** A modal dialog that is gone once it is closed; the focus goes back where it was. */
function modal(title, ...content) {
  const id = `dialog-${Math.random().toString(36).slice(2)}`;
  const dialog = el('dialog', { 'aria-labelledby': id }, el('h2', { id }, title), ...content);
  const before = document.activeElement;
  dialog.addEventListener('close', () => {
    dialog.remove();
    if (before?.isConnected) before.focus?.({ preventScroll: true });
  });
  dialog.addEventListener('keydown', event => event.stopPropagation());
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

const field = (label, control, hint) =>
  el('label', { class: 'field' }, el('span', {}, label, hint && el('small', { text: hint })), control);

/** What an action will hit: names, values, and whether to mind them. */
const hit = (...entries) =>
  el(
    'dl',
    { class: 'hit' },
    ...entries
      .filter(Boolean)
      .flatMap(([name, value, warn]) => [
        el('dt', { text: name }),
        el('dd', { class: warn ? 'warn' : null }, el('bdi', { text: value })),
      ]),
  );

function taskWords(rows) {
  if (rows.length === 0) return 'none';
  const first = rows.slice(0, 3).map(row => printable(row.task));
  return `${count(rows.length)}: ${first.join(', ')}${rows.length > 3 ? ' …' : ''}`;
}

function byField() {
  return el('input', {
    value: recall('by', ''),
    maxlength: '128',
    autocomplete: 'name',
    placeholder: 'for the audit log',
  });
}

/**
 * Who a target means, now.
 * @param {{ rows?: any[], app?: string, group?: { by: string, value: string } }} target
 */
function resolve(dashboard, target) {
  const app =
    target.app ?? (target.group?.by === 'app' && dashboard.view.query.trim() === '' ? target.group.value : null);
  // An app called `.` or `..` has no address of its own: a browser takes them for steps in the path.
  const wholeApp = app !== null && /^\.\.?$/.test(app) ? null : app;
  const rows = app !== null ? dashboard.rowsOfApp(app) : (target.rows ?? dashboard.rowsOfGroup(target.group));
  // Chosen one by one, those that were asked in vain may be asked again.
  const now = dashboard.now();
  const again = row => target.rows !== undefined && isUnconfirmed(row, now);
  return {
    wholeApp,
    all: rows.filter(row => !row.ended),
    rows: rows.filter(row => !row.ended && (row.state !== 'ending' || again(row))),
    asked: rows.filter(row => row.state === 'ending' && !again(row)).length,
  };
}

/** Asks before many sessions are ended. */
export function askKill(dashboard, target, page) {
  const { wholeApp, rows, asked } = resolve(dashboard, target);
  if (rows.length === 0) {
    page.say(asked > 0 ? 'Those are already asked to end' : 'There is no session to end');
    return;
  }
  const apps = new Set(rows.map(row => row.app));
  const tasks = rows.filter(row => row.task !== '');
  const oldest = rows.reduce((first, row) => (row.start < first.start ? row : first));
  const onlyApp = apps.size === 1 ? rows[0].app : null;
  const what =
    wholeApp !== null
      ? el('span', {}, 'End every session of ', el('bdi', { text: printable(wholeApp) }), '?')
      : `End ${plural(rows.length, 'session')}?`;

  const reason = el('input', { maxlength: '512', placeholder: 'shown to the users', autofocus: true });
  const by = byField();
  const word = wholeApp ?? String(rows.length);
  const typed = rows.length > MANY ? el('input', { autocomplete: 'off', spellcheck: 'false', class: 'typed' }) : null;
  const go = el('button', { type: 'submit', class: 'danger', text: `Kill ${plural(rows.length, 'session')}` });
  const mayGo = () =>
    dashboard.mayAct && (!typed || typed.value.trim() === word || (onlyApp !== null && typed.value.trim() === onlyApp));
  const check = () => {
    go.disabled = !mayGo();
  };
  typed?.addEventListener('input', check);
  const names = [...apps].slice(0, 3).map(printable).join(', ') + (apps.size > 3 ? ` and ${apps.size - 3} more` : '');
  const form = el(
    'form',
    { method: 'dialog' },
    hit(
      ['Sessions', count(rows.length)],
      ['Apps', names],
      ['Running tasks', taskWords(tasks), tasks.length > 0],
      ['Oldest', `${elapsed(dashboard.now() - oldest.start)}${oldest.user ? `, ${printable(oldest.user)}` : ''}`],
      asked > 0 && ['Already ending', count(asked)],
    ),
    field('Reason', reason),
    field('Your name', by),
    typed && field(el('span', {}, 'To go on, type ', el('b', {}, el('bdi', { text: printable(word) }))), typed),
    el(
      'div',
      { class: 'buttons' },
      el('button', { type: 'button', class: 'button', text: 'Cancel', on: { click: () => dialog.close() } }),
      go,
    ),
  );
  form.addEventListener('submit', event => {
    event.preventDefault();
    if (!mayGo()) return;
    remember('by', by.value.trim());
    const why = { reason: reason.value.trim(), by: by.value.trim() };
    // Those who ended while the dialog was open are past killing.
    const left = rows.filter(row => !row.ended);
    if (wholeApp !== null) killApp(dashboard, wholeApp, why);
    else killRows(dashboard, left, why);
    dashboard.clearSelection();
    dialog.close();
    page.changed();
  });
  const dialog = modal(what, form);
  dashboard.addEventListener('line', check);
  dialog.addEventListener('close', () => dashboard.removeEventListener('line', check));
  check();
}

/**
 * Writes to the users of sessions, and says of each whether it arrived.
 * @param {{ rows?: any[], app?: string, group?: { by: string, value: string } }} target as for a kill
 */
export function askMessage(dashboard, target, page) {
  const { wholeApp, all: to } = resolve(dashboard, target);
  if (to.length === 0) {
    page.say('There is nobody to write to');
    return;
  }
  const reachable = to.filter(row => row.connected).length;
  const text = el('textarea', { maxlength: '512', rows: '3', required: true, autofocus: true });
  const level = el(
    'select',
    {},
    el('option', { value: 'info', text: 'Information' }),
    el('option', { value: 'warning', text: 'Warning' }),
  );
  const by = byField();
  const send = el('button', { type: 'submit', class: 'primary', text: `Send to ${plural(to.length, 'session')}` });
  const outcome = el('p', { class: 'outcome', role: 'status' });
  const list = el('ul', { class: 'deliveries' });
  const form = el(
    'form',
    { method: 'dialog' },
    el('p', { class: 'soft', text: 'Shown to the users where their app shows messages. It ends nothing.' }),
    to.length > 1 &&
      hit(
        ['Sessions', count(to.length)],
        ['Reachable', reachableWords(reachable, to.length), reachable === 0],
      ),
    field('Message', text),
    field('Level', level),
    field('Your name', by),
    outcome,
    list,
    el(
      'div',
      { class: 'buttons' },
      el('button', { type: 'button', class: 'button', text: 'Close', on: { click: () => dialog.close() } }),
      send,
    ),
  );
  form.addEventListener('submit', async event => {
    event.preventDefault();
    const words = text.value.trim();
    if (words === '' || !dashboard.mayAct) return;
    remember('by', by.value.trim());
    send.disabled = true;
    setText(outcome, 'Sending…');
    list.replaceChildren();
    const told = deliveryTeller(outcome, list, dashboard.now());
    const what = { text: words, level: level.value, by: by.value.trim() };
    try {
      if (wholeApp !== null) await messageApp(dashboard, wholeApp, what, told);
      else await messageRows(to, what, told);
    } catch (error) {
      setText(outcome, `Not sent: ${error.message}`);
    }
    send.disabled = false;
    setText(send, 'Send again');
    page.say(outcome.textContent);
  });
  const dialog = modal(messageTitle(wholeApp, to), form);
}

function reachableWords(reachable, total) {
  if (reachable === total) return 'all';
  return reachable === 0 ? 'nobody: none has an open socket' : `${count(reachable)}, the others have no open socket`;
}

function messageTitle(wholeApp, to) {
  if (wholeApp !== null) return el('span', {}, 'Message to everyone of ', el('bdi', { text: printable(wholeApp) }));
  if (to.length > 1) return `Message to ${plural(to.length, 'session')}`;
  return el('span', {}, 'Message to ', el('bdi', { text: printable(to[0].user || to[0].app) }));
}

/** Tells of deliveries as they come in: how many in all, and each of the first DELIVERIES. */
function deliveryTeller(outcome, list, startedAt) {
  const counts = { delivered: 0, sent: 0, failed: 0 };
  return deliveries => {
    for (const { row, error, sent, deliveredAt } of deliveries) {
      counts[deliveredAt ? 'delivered' : sent ? 'sent' : 'failed'] += 1;
      if (list.children.length >= DELIVERIES) continue;
      const words = deliveredAt
        ? `delivered ${took(Math.max(0, Date.parse(deliveredAt) - startedAt))} ✓`
        : (error ?? (sent ? 'sent, not confirmed yet' : 'not reached: no socket'));
      list.append(
        el(
          'li',
          { class: deliveredAt ? 'ok' : 'not' },
          el('bdi', { text: `${printable(row.app)} ${printable(row.user || row.id)}` }),
          ` ${words}`,
        ),
      );
    }
    setText(
      outcome,
      `${count(counts.delivered)} delivered, ${count(counts.sent)} sent but not confirmed, ${count(counts.failed)} not reached`,
    );
  };
}

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
      text: 'Shift on a heading sorts by several columns. A right press on a cell copies it or filters by it. Rows hold still while the pointer or the focus is among them.',
    }),
    el(
      'div',
      { class: 'buttons' },
      el('button', {
        type: 'button',
        class: 'button',
        text: 'Close',
        autofocus: true,
        on: { click: () => dialog.close() },
      }),
    ),
  );
  dialog.classList.add('help');
  dialog.addEventListener('keydown', event => {
    if (event.key === '?') dialog.close();
  });
  page.changed();
}
