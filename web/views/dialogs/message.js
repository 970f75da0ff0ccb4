// Writes to the users of sessions, and says of each whether the message arrived.

import { messageApp, messageRows } from '../../actions.js';
import { el, setText } from '../../lib/dom.js';
import { count, plural, printable, took } from '../../lib/format.js';
import { remember } from '../../lib/remember.js';
import { byField, closeButton, field, hit, modal, resolve } from './dialog.js';

/** At most this many deliveries are listed one by one; all are counted. */
const DELIVERIES = 50;

/**
 * Opens the dialog that sends a message to the users of sessions, and then lists the deliveries.
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
      hit(['Sessions', count(to.length)], ['Reachable', reachableWords(reachable, to.length), reachable === 0]),
    field('Message', text),
    field('Level', level),
    field('Your name', by),
    outcome,
    list,
    el(
      'div',
      { class: 'buttons' },
      closeButton(),
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
    const onDelivery = deliveryList(outcome, list, dashboard.now());
    const what = { text: words, level: level.value, by: by.value.trim() };
    try {
      if (wholeApp !== null) await messageApp(dashboard, wholeApp, what, onDelivery);
      else await messageRows(to, what, onDelivery);
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

/** Makes the function that shows deliveries as they come in: the counts, and each of the first DELIVERIES. */
function deliveryList(outcome, list, startedAt) {
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
