// The list of the servers that share the store. It is asked for again while it is open.

import { el, setAttribute, setText } from '../../lib/dom.js';
import { ago, count, elapsed, localTime, printable, timeOfDay, took } from '../../lib/format.js';
import { withValues } from '../../query.js';
import { closeButton, modal } from './dialog.js';

/** How often the list is asked for, in ms. */
const EVERY = 2000;

/** The headings, and the side of their cells. */
const HEADINGS = [
  ['Server'],
  ['State'],
  ['Up', 'right'],
  ['Sockets', 'right'],
  ['Dashboards', 'right'],
  ['Lag', 'right'],
  ['Last seen', 'right'],
  ['Version'],
];

/** A server's lag in words: `none`, `3 events, 40 ms`; nothing where it is not known. */
export function lagWords({ lag, lag_ms: waited }) {
  if (lag === 0 || (lag === null && waited === 0)) return 'none';
  const events = lag === null ? [] : [`${count(lag)} ${lag === 1 ? 'event' : 'events'}`];
  return [...events, ...(waited === null ? [] : [took(waited)])].join(', ');
}

/** What a server does: `gone`, `keeper` or `up`. */
export const stateWord = server => (server.gone ? 'gone' : server.keeper ? 'keeper' : 'up');

/**
 * @param {import('../../dashboard.js').Dashboard} dashboard
 * @param {import('../../servers.js').Servers} servers
 */
export function showServers(dashboard, servers) {
  if (document.querySelector('dialog.servers')) return;
  const body = el('tbody');
  const note = el('p', { class: 'soft', role: 'status' });
  const dialog = modal(
    'Servers',
    el(
      'div',
      { class: 'scroll' },
      el('table', {}, el('thead', {}, el('tr', {}, ...HEADINGS.map(([text, side]) => el('th', { scope: 'col', class: side, text })))), body),
    ),
    note,
    el('div', { class: 'buttons' }, closeButton({ autofocus: true })),
  );
  dialog.classList.add('servers');
  const filter = name => {
    dialog.close();
    dashboard.show({ page: 'live', query: withValues('', 'node', [name]) });
  };
  /** The lines by the numbers of their servers; kept, so that a press is not lost when the list comes anew. */
  const lines = new Map();
  const fill = () => {
    const now = dashboard.now();
    const shown = servers.list.map(server => {
      if (!lines.has(server.node)) lines.set(server.node, line(server, filter));
      const { element, show } = lines.get(server.node);
      show(server, servers.answeredBy === server.node, now);
      return element;
    });
    if (shown.length !== body.children.length || shown.some((element, i) => body.children[i] !== element))
      body.replaceChildren(...shown);
    note.textContent = servers.error
      ? `The list cannot be read now: ${servers.error}. It is as of ${timeOfDay(servers.asOf)}.`
      : 'A press on a name shows the sessions whose socket that server holds.';
  };
  servers.addEventListener('change', fill);
  const timer = setInterval(() => servers.refresh(), EVERY);
  dialog.addEventListener('close', () => {
    clearInterval(timer);
    servers.removeEventListener('change', fill);
  });
  fill();
  servers.refresh();
}

function line({ name, url }, filter) {
  const here = el('small', { text: ' this page' });
  const cells = HEADINGS.slice(1).map(([, side]) => el('td', { class: side }));
  const [state, up, sockets, dashboards, lag, seen, version] = cells;
  const press = el(
    'button',
    { type: 'button', class: 'link', title: url, on: { click: () => filter(name) } },
    el('bdi', { text: printable(name) }),
  );
  const element = el(
    'tr',
    {},
    el('th', { scope: 'row' }, press, here),
    ...cells,
  );
  const number = value => (value === null ? '' : count(value));
  const show = (server, isHere, now) => {
    const seenAt = Date.parse(server.seen_at);
    const startedAt = Date.parse(server.started_at);
    setAttribute(element, 'class', server.gone ? 'is-gone' : null);
    here.hidden = !isHere;
    setText(state, stateWord(server));
    setText(up, elapsed((server.gone ? seenAt : now) - startedAt));
    setAttribute(up, 'title', `since ${localTime(startedAt)}`);
    setText(sockets, number(server.sockets));
    setText(dashboards, number(server.dashboards));
    setText(lag, server.gone ? '' : lagWords(server));
    setText(seen, ago(now - seenAt));
    setAttribute(seen, 'title', localTime(seenAt));
    setText(version, printable(server.version));
  };
  return { element, show };
}
