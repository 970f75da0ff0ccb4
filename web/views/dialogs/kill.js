// Asks before many sessions are ended, and says which ones before the button can be pressed.

import { killApp, killRows } from '../../actions.js';
import { el } from '../../lib/dom.js';
import { count, elapsed, plural, printable } from '../../lib/format.js';
import { remember } from '../../lib/remember.js';
import { byField, field, hit, lockField, modal, resolve } from './dialog.js';

/** For more sessions than this, the app's name or the number has to be typed. */
const MANY = 10;

function taskWords(rows) {
  if (rows.length === 0) return 'none';
  const first = rows.slice(0, 3).map(row => printable(row.task));
  return `${count(rows.length)}: ${first.join(', ')}${rows.length > 3 ? ' …' : ''}`;
}

/** Opens the dialog before many sessions are killed. */
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
  const lockFor = lockField();
  const nobodys = rows.filter(row => row.user === '').length;
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
    field(
      'Keep out for',
      lockFor,
      wholeApp !== null
        ? ' nobody can register in the app'
        : nobodys > 0
          ? ` not the ${plural(nobodys, 'session')} without a user`
          : ' the users, in these apps',
    ),
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
    const why = { reason: reason.value.trim(), by: by.value.trim(), lockFor: lockFor.value };
    // Sessions that ended while the dialog was open are left out.
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
