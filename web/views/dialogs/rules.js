// The rules in force and what they have done, asked for again while they are shown; and the rehearsal of a rule.

import { rehearseRule, releaseRule, rules } from '../../commands.js';
import { el, setAttribute, setText } from '../../lib/dom.js';
import { count, elapsed, localTime, plural, printable, shortTime } from '../../lib/format.js';
import { closeButton, field, modal } from './dialog.js';

/** How often the list is asked for, in ms. */
const EVERY = 2000;
/** The most sessions of a rehearsal that are listed. */
const LISTED = 100;

const HEADINGS = [['Rule'], ['When'], ['Then'], ['Limit'], ['Warned', 'right'], ['Ended', 'right'], ['Called off', 'right'], ['']];

/** What a rule does, in words. */
export function thenWords({ then, warn, grace }) {
  if (then === 'notify') return 'notify';
  if (!grace) return 'kill';
  return `${warn ? 'warn, ' : ''}kill after ${elapsed(grace * 1000)}`;
}

const quoted = text => `"${text.replace(/[\\"]/g, '\\$&').replace(/\n/g, '\\n').replace(/\t/g, '\\t')}"`;

/** The rule as it would stand in the rules file. */
export function tomlOf(rule) {
  const lines = [
    ['name', quoted(rule.name)],
    ['when', quoted(rule.when)],
    rule.warn && ['warn', quoted(rule.warn)],
    rule.grace > 0 && ['grace', quoted(`${rule.grace}s`)],
    ['then', quoted(rule.then)],
    rule.reason && ['reason', quoted(rule.reason)],
    rule.notify.length > 0 && ['notify', `[${rule.notify.map(quoted).join(', ')}]`],
    ['limit', quoted(rule.limit)],
  ];
  return `[[rule]]\n${lines
    .filter(Boolean)
    .map(([name, value]) => `${name} = ${value}`)
    .join('\n')}\n`;
}

/** What a rehearsal tells, in one sentence. */
export function outcomeWords(told) {
  const parts = [];
  if (told.warned_count > 0) parts.push(`warned ${plural(told.warned_count, 'session')}`);
  parts.push(`ended ${plural(told.ended_count, 'session')}`);
  if (told.tasks_cut > 0) parts.push(`cut off ${plural(told.tasks_cut, 'task')}`);
  if (told.called_off > 0) parts.push(`called off ${count(told.called_off)}`);
  return `It would have ${parts.join(', ')}.`;
}

/** @param {import('../../dashboard.js').Dashboard} dashboard */
export function showRules(dashboard) {
  if (document.querySelector('dialog.rules')) return;
  const body = el('tbody');
  const note = el('p', { class: 'soft', role: 'status' });
  const rehearsal = rehearsalPart();
  const dialog = modal(
    'Rules',
    el(
      'div',
      { class: 'scroll' },
      el('table', {}, el('thead', {}, el('tr', {}, ...HEADINGS.map(([text, side]) => el('th', { scope: 'col', class: side, text })))), body),
    ),
    note,
    rehearsal.element,
    el('div', { class: 'buttons' }, closeButton({ autofocus: true })),
  );
  dialog.classList.add('rules');
  /** The lines by the names of their rules; kept, so that a press is not lost when the list comes anew. */
  const lines = new Map();
  const refresh = async () => {
    try {
      const told = await rules();
      const shown = told.rules.map(rule => {
        if (!lines.has(rule.name)) lines.set(rule.name, line(rehearsal.put, refresh));
        const { element, show } = lines.get(rule.name);
        show(rule, dashboard);
        return element;
      });
      if (shown.length !== body.children.length || shown.some((element, i) => body.children[i] !== element))
        body.replaceChildren(...shown);
      setText(note, noteOf(told));
      note.classList.toggle('warn', told.refused !== null);
    } catch (error) {
      setText(note, `The rules cannot be read now: ${error.message}`);
    }
  };
  const timer = setInterval(refresh, EVERY);
  dialog.addEventListener('close', () => clearInterval(timer));
  refresh();
}

function noteOf(told) {
  if (told.refused) return `The file as it is now is refused, and an older one is in force: ${told.refused}`;
  if (told.rules.length === 0) return 'There are no rules. They stand in a file that the server reads: --rules rules.toml.';
  if (!told.keeper) return 'Another server judges the rules; only it knows what they have done.';
  return `The file was read ${localTime(Date.parse(told.read_at))}.`;
}

function line(put, refresh) {
  const name = el('bdi');
  const head = el('th', { scope: 'row' }, name);
  const cells = HEADINGS.slice(1).map(([, side]) => el('td', { class: side }));
  const [when, then, limit, warned, ended, calledOff, act] = cells;
  when.append(el('code', {}, el('bdi')));
  let rule = null;
  const rehearse = el('button', { type: 'button', class: 'link', text: 'Rehearse', on: { click: () => put(rule) } });
  const release = el('button', {
    type: 'button',
    class: 'button',
    text: 'Let it act again',
    on: {
      click: async event => {
        const button = event.currentTarget;
        button.disabled = true;
        await releaseRule(rule.name).catch(error => setText(button, error.message));
        button.disabled = false;
        refresh();
      },
    },
  });
  act.append(release, rehearse);
  const number = value => (value === undefined ? '' : count(value));
  const show = (now, dashboard) => {
    rule = now;
    setText(name, printable(rule.name));
    setText(when.querySelector('bdi'), printable(rule.when));
    setText(then, thenWords(rule));
    setAttribute(then, 'title', rule.warn ?? rule.reason ?? null);
    const braked = rule.braked ? Date.parse(rule.braked) : 0;
    setText(limit, braked ? `stopped ${shortTime(braked, dashboard.now())}` : rule.limit);
    limit.classList.toggle('warn', braked > 0);
    setAttribute(limit, 'title', braked ? `It reached its limit of ${rule.limit} and ends nobody until it is released.` : null);
    setText(warned, number(rule.warned));
    setText(ended, number(rule.ended));
    setText(calledOff, number(rule.called_off));
    if (rule.since) setAttribute(warned, 'title', `since ${localTime(Date.parse(rule.since))}`);
    release.hidden = !braked || dashboard.server.role !== 'admin';
  };
  return { element: el('tr', {}, head, ...cells), show };
}

/** The form that asks what a rule would have done, and its answer. */
function rehearsalPart() {
  const text = el('textarea', { rows: '8', spellcheck: 'false', maxlength: '8000', 'aria-label': 'The rule' });
  const since = el(
    'select',
    {},
    ...[
      ['24h', 'the last day'],
      ['7d', 'the last 7 days'],
      ['30d', 'the last 30 days'],
    ].map(([value, words]) => el('option', { value, text: words })),
  );
  const told = el('div', { class: 'told', role: 'status' });
  const form = el(
    'form',
    {},
    field('A rule, as it would stand in the file', text),
    field('Judged over', since),
    el('button', { type: 'submit', class: 'button', text: 'Rehearse' }),
    told,
  );
  form.addEventListener('submit', async event => {
    event.preventDefault();
    setText(told, 'Reading the log…');
    try {
      told.replaceChildren(...answer(await rehearseRule(text.value, since.value)));
    } catch (error) {
      told.replaceChildren(el('p', { class: 'warn', text: error.message }));
    }
  });
  const element = el('details', { class: 'rehearsal' }, el('summary', { text: 'Rehearse a rule before it is switched on' }), form);
  const put = rule => {
    text.value = tomlOf(rule);
    element.open = true;
    form.requestSubmit();
  };
  return { element, put };
}

function answer(told) {
  const now = Date.now();
  const at = time => shortTime(Date.parse(time), now);
  const row = (what, act) =>
    el(
      'tr',
      {},
      el('td', { class: 'time', text: at(act.at), title: localTime(Date.parse(act.at)) }),
      el('td', { text: what }),
      el('td', {}, el('bdi', { text: printable(act.app_name) })),
      el('td', {}, el('bdi', { text: printable(act.user_id ?? '') })),
      el('td', {}, el('bdi', { text: printable(act.current_task ?? '') })),
    );
  const acts = [...told.warned.map(act => ['warned', act]), ...told.ended.map(act => ['ended', act])]
    .sort((a, b) => (a[1].at < b[1].at ? -1 : 1))
    .slice(0, LISTED);
  const words = [
    outcomeWords(told),
    told.braked && `Its limit would have stopped it ${at(told.braked)}.`,
    told.unknown > 0 && `${plural(told.unknown, 'session')} began before the log tells, and could be judged only from then on.`,
    ...told.notes.map(note => `${note[0].toUpperCase()}${note.slice(1)}.`),
  ];
  return [
    el('p', { text: words.filter(Boolean).join(' ') }),
    ...(acts.length > 0 ? [el('table', { class: 'small' }, el('tbody', {}, ...acts.map(([what, act]) => row(what, act))))] : []),
  ];
}
