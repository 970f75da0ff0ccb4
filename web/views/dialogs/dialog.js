// What the dialogs are made of: the modal itself, its fields, and which sessions an action will reach.

import { isUnconfirmed } from '../../kills.js';
import { el } from '../../lib/dom.js';
import { recall } from '../../lib/remember.js';

/** A modal dialog that is gone once it is closed; the focus goes back where it was. */
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

export const field = (label, control, hint) =>
  el('label', { class: 'field' }, el('span', {}, label, hint && el('small', { text: hint })), control);

/** What an action will hit: names, values, and whether to mind them. */
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
 * Who a target means, now.
 * @param {{ rows?: any[], app?: string, group?: { by: string, value: string } }} target
 */
export function resolve(dashboard, target) {
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
