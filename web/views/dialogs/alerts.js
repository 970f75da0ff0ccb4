// The targets of alerts, each with a test, and what they were told. It is asked for again while it is open.

import { outcome } from '../../alerts.js';
import { testTarget } from '../../commands.js';
import { el, setText } from '../../lib/dom.js';
import { ago, localTime, printable } from '../../lib/format.js';
import { closeButton, modal } from './dialog.js';

/** How often the list is asked for, in ms. */
const EVERY = 2000;

const HEADINGS = ['When', 'Alert', 'Target', 'State', 'Last answer'];

/**
 * @param {import('../../dashboard.js').Dashboard} dashboard
 * @param {import('../../alerts.js').Alerts} alerts
 */
export function showAlerts(dashboard, alerts) {
  if (document.querySelector('dialog.alerts')) return;
  const targets = el('ul', { class: 'targets' });
  const body = el('tbody');
  const note = el('p', { class: 'soft', role: 'status' });
  const dialog = modal(
    'Alerts',
    targets,
    el(
      'div',
      { class: 'scroll' },
      el('table', {}, el('thead', {}, el('tr', {}, ...HEADINGS.map(text => el('th', { scope: 'col', text })))), body),
    ),
    note,
    el('div', { class: 'buttons' }, closeButton({ autofocus: true })),
  );
  dialog.classList.add('alerts');
  /** What was said of a test stays until the next one. */
  let said = '';
  const test = async (name, button) => {
    button.disabled = true;
    try {
      await testTarget(name);
      said = `A test for ${printable(name)} is on its way.`;
    } catch (error) {
      said = `The test was refused: ${error.message}.`;
    }
    button.disabled = false;
    fill();
    alerts.refresh();
  };
  /** The lines of the targets by name; kept, so that a press is not lost when the list comes anew. */
  const lines = new Map();
  const fill = () => {
    const now = dashboard.now();
    const mayTest = dashboard.server.role === 'admin';
    const shown = alerts.targets.map(target => {
      if (!lines.has(target.name)) lines.set(target.name, targetLine(target, test));
      const { element, show } = lines.get(target.name);
      show(target, mayTest);
      return element;
    });
    if (shown.length !== targets.children.length || shown.some((element, i) => targets.children[i] !== element))
      targets.replaceChildren(...shown);
    body.replaceChildren(...alerts.list.map(alert => alertLine(alert, now)));
    if (alerts.error) setText(note, `The list cannot be read now: ${alerts.error}.`);
    else setText(note, said || (alerts.list.length === 0 ? 'Nothing was told yet.' : ''));
  };
  alerts.addEventListener('change', fill);
  const timer = setInterval(() => alerts.refresh(), EVERY);
  dialog.addEventListener('close', () => {
    clearInterval(timer);
    alerts.removeEventListener('change', fill);
  });
  fill();
  alerts.refresh();
}

function targetLine({ name }, test) {
  const where = el('span', { class: 'soft' });
  const button = el('button', { type: 'button', class: 'button', text: 'Send a test' });
  button.addEventListener('click', () => test(name, button));
  const element = el('li', {}, el('b', {}, el('bdi', { text: printable(name) })), where, button);
  const show = ({ kind, address, on }, mayTest) => {
    const occasions = on.length === 0 ? 'rules that name it' : on.join(', ');
    setText(where, `${kind} to ${printable(address)}: ${occasions}`);
    button.hidden = !mayTest;
    button.setAttribute('aria-label', `Send a test to ${name}`);
  };
  return { element, show };
}

function alertLine(alert, now) {
  const at = Date.parse(alert.created);
  const next = alert.state === 'waiting' && alert.tries > 0 ? `; next try ${localTime(Date.parse(alert.next_try))}` : '';
  const listed = alert.subjects.map(subject => [subject.id, subject.user].filter(Boolean).join(' · ')).join('\n');
  return el(
    'tr',
    { class: `is-${alert.state}` },
    el('td', { title: localTime(at), text: ago(now - at) }),
    el('td', { class: 'what', title: printable(listed) }, el('bdi', { text: printable(alert.title) })),
    el('td', {}, el('bdi', { text: printable(alert.target) })),
    el('td', { text: outcome(alert), title: `${alert.id}${next}` }),
    el('td', {}, el('bdi', { text: printable(alert.answer ?? '') })),
  );
}
