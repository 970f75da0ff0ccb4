// The locks: whom they keep out, why and until when, with a button to lift each and a form for a new one. A lock that
// begins later is a maintenance window, which is announced to its users.

import { el } from '../../lib/dom.js';
import { elapsed, localTime, printable } from '../../lib/format.js';
import { remember } from '../../lib/remember.js';
import { holds, whom } from '../../locks.js';
import { byField, closeButton, field, modal } from './dialog.js';

const HEADINGS = ['Keeps out', 'Why', 'By', 'Until', ''];

/** When a lock ends, or begins: `1:30 left`, `in 2:00:00`, `lifted by hand`. */
export function timeWords(lock, now) {
  if (lock.from && Date.parse(lock.from) > now) return `begins in ${elapsed(Date.parse(lock.from) - now)}`;
  return lock.until ? `${elapsed(Math.max(0, Date.parse(lock.until) - now))} left` : 'until lifted';
}

const timeHint = lock =>
  [lock.from && `from ${localTime(Date.parse(lock.from))}`, lock.until && `until ${localTime(Date.parse(lock.until))}`]
    .filter(Boolean)
    .join(' ');

/**
 * @param {import('../../dashboard.js').Dashboard} dashboard
 * @param {import('../../locks.js').Locks} locks
 */
export function showLocks(dashboard, locks, page) {
  if (document.querySelector('dialog.locks')) return;
  const mayAct = () => dashboard.mayAct && dashboard.server.role === 'admin';
  const body = el('tbody');
  const table = el(
    'table',
    {},
    el('thead', {}, el('tr', {}, ...HEADINGS.map(text => el('th', { scope: 'col', text })))),
    body,
  );
  const note = el('p', { class: 'soft', role: 'status' });
  const dialog = modal('Locks', el('div', { class: 'scroll' }, table), note, mayAct() ? newLock(locks, page) : null, el('div', { class: 'buttons' }, closeButton()));
  dialog.classList.add('locks');
  const lift = async (lock, button) => {
    button.disabled = true;
    try {
      await locks.lift(lock.lock_id);
      page.say(`Lifted: ${printable(whom(lock))}`);
    } catch (error) {
      note.textContent = error.message;
      button.disabled = false;
    }
  };
  const line = (lock, now) => {
    const button = el('button', { type: 'button', class: 'button', text: 'Lift', 'aria-label': `Lift: ${printable(whom(lock))}` });
    button.addEventListener('click', () => lift(lock, button));
    return el(
      'tr',
      { class: holds(lock, now) ? null : 'is-planned' },
      el('th', { scope: 'row' }, el('bdi', { text: printable(whom(lock)) })),
      el('td', { text: printable(lock.reason) }),
      el('td', { text: printable(lock.by) }),
      el('td', { title: timeHint(lock), text: timeWords(lock, now) }),
      el('td', {}, mayAct() ? button : null),
    );
  };
  const fill = () => {
    const now = dashboard.now();
    table.hidden = locks.list.length === 0;
    body.replaceChildren(...locks.list.map(lock => line(lock, now)));
    note.textContent = locks.error
      ? `The locks cannot be read now: ${locks.error}.`
      : locks.list.length === 0
        ? 'Nobody is locked out.'
        : 'Sessions that are live stay; new ones are refused.';
  };
  locks.addEventListener('change', fill);
  dialog.addEventListener('close', () => locks.removeEventListener('change', fill));
  fill();
}

/** A time of `<input type="datetime-local">` as the API takes it; undefined for an empty one. */
const wireTime = input => (input.value ? new Date(input.value).toISOString() : undefined);

/** The form for a new lock. */
function newLock(locks, page) {
  const app = el('input', { maxlength: '256', placeholder: 'all apps' });
  const user = el('input', { maxlength: '256', placeholder: 'all users' });
  const filter = el('input', { maxlength: '2000', spellcheck: 'false', placeholder: 'such as meta.env:test client:python*' });
  const reason = el('input', { maxlength: '512', required: true, placeholder: 'shown to those who are kept out' });
  const from = el('input', { type: 'datetime-local' });
  const until = el('input', { type: 'datetime-local' });
  const by = byField();
  const wrong = el('p', { class: 'wrong', role: 'alert', hidden: true });
  const form = el(
    'form',
    {},
    el('h3', { text: 'New lock' }),
    el('div', { class: 'pair' }, field('App', app), field('User', user)),
    field('Filter', filter, ' as in the filter bar, for the session as it would begin'),
    field('Reason', reason),
    el('div', { class: 'pair' }, field('From', from, ' a later start is announced to the users'), field('Until', until, ' empty: until lifted')),
    field('Your name', by),
    wrong,
    el('div', { class: 'buttons' }, el('button', { type: 'submit', class: 'danger', text: 'Lock' })),
  );
  form.addEventListener('submit', async event => {
    event.preventDefault();
    remember('by', by.value.trim());
    wrong.hidden = true;
    try {
      await locks.make({
        app_name: app.value.trim(),
        user_id: user.value.trim(),
        filter: filter.value.trim(),
        reason: reason.value.trim(),
        from: wireTime(from),
        until: wireTime(until),
        by: by.value.trim(),
      });
      form.reset();
      page.say('Locked');
    } catch (error) {
      wrong.textContent = error.message;
      wrong.hidden = false;
    }
  });
  return form;
}
