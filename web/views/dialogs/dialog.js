// What the dialogs share: the modal, its fields, and the sessions that an action will reach.

import { isUnconfirmed } from '../../kills.js';
import { el } from '../../lib/dom.js';
import { recall } from '../../lib/remember.js';
import { LOCK_FOR } from '../../locks.js';

/** Opens a modal dialog. Closing it removes it, and the focus goes back where it was. */
export function modal(title, ...content) {
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

/** The button that closes the dialog that it is in. */
export const closeButton = (props = {}) =>
  el('button', {
    type: 'button',
    class: 'button',
    text: 'Close',
    ...props,
    on: { click: event => event.currentTarget.closest('dialog').close() },
  });

export const field = (label, control, hint) =>
  el('label', { class: 'field' }, el('span', {}, label, hint && el('small', { text: hint })), control);

/** The choice of how long the users of a kill are kept out. */
export const lockField = (props = {}) =>
  el('select', { ...props }, ...LOCK_FOR.map(([value, text]) => el('option', { value, text })));

/** The list of what an action will reach: names, values, and whether a value is a warning. */
export const hit = (...entries) =>
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

export function byField() {
  return el('input', {
    value: recall('by', ''),
    maxlength: '128',
    autocomplete: 'name',
    placeholder: 'for the audit log',
  });
}

/**
 * The sessions that a target means now.
 * @param {{ rows?: any[], app?: string, group?: { by: string, value: string } }} target
 */
export function resolve(dashboard, target) {
  const app =
    target.app ?? (target.group?.by === 'app' && dashboard.view.query.trim() === '' ? target.group.value : null);
  // The apps `.` and `..` cannot be named in a path, where a browser resolves them.
  const wholeApp = app !== null && /^\.\.?$/.test(app) ? null : app;
  const rows = app !== null ? dashboard.rowsOfApp(app) : (target.rows ?? dashboard.rowsOfGroup(target.group));
  // Rows that were selected one by one may be killed again when the first kill is unconfirmed.
  const now = dashboard.now();
  const again = row => target.rows !== undefined && isUnconfirmed(row, now);
  return {
    wholeApp,
    all: rows.filter(row => !row.ended),
    rows: rows.filter(row => !row.ended && (row.state !== 'ending' || again(row))),
    asked: rows.filter(row => row.state === 'ending' && !again(row)).length,
  };
}
