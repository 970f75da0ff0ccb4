// The details of one session: state and facts, life, tags, log, the user's other sessions, raw JSON, and how to end it
// from a terminal. They work for sessions that ended long ago too, as far back as the log goes.

import { spare, timeline } from '../commands.js';
import { killRows } from '../actions.js';
import { killCommand } from '../snippets.js';
import { el, setText } from '../lib/dom.js';
import { printable } from '../lib/format.js';
import { lockOf } from '../locks.js';
import { recall } from '../lib/remember.js';
import { KillForm } from './drawer/kill-form.js';
import { LifeView } from './drawer/life.js';
import { factsOf, fillEvents, fillOthers, fillPairs, printableJson } from './drawer/lists.js';
import { copyButton } from './empty.js';
import { stateBadge } from './glyphs.js';

/** The timeline is asked for again at most this often, in ms. */
const PACE = 700;

export class DrawerView {
  #dashboard;
  #page;
  #server;
  #id = null;
  #events = null;
  #error = null;
  #askedAt = 0;
  #seen = null;
  #dirty = false;
  /** Whether the session changed since its timeline was asked for. */
  #outdated = false;
  #second = -1;
  #back = null;
  #parts;
  #sections = {};
  #life = new LifeView();
  #killForm = new KillForm((reason, lockFor) => this.#kill(reason, lockFor));

  constructor(dashboard, page, server) {
    this.#dashboard = dashboard;
    this.#page = page;
    this.#server = server;
    // At once and not with the next frame, so that the focus is right for a key that is pressed in between.
    dashboard.addEventListener('view', () => this.render(dashboard.now()));
    const badge = stateBadge();
    this.#parts = {
      badge,
      title: el('h2', { tabindex: '-1' }),
      id: el('code', { class: 'id' }),
      facts: el('dl', { class: 'facts' }),
      meta: el('dl', { class: 'facts meta' }),
      events: el('table', { class: 'small events' }),
      others: el('ul', { class: 'others' }),
      raw: el('pre', { tabindex: '0', 'aria-label': 'Raw JSON' }),
      curl: el('pre', { tabindex: '0', 'aria-label': 'Command that ends the session' }),
      kill: el('button', {
        type: 'button',
        class: 'danger',
        text: 'Kill…',
        on: { click: () => this.#killForm.show(Boolean(this.#row()?.user)) },
      }),
      spare: el('button', {
        type: 'button',
        class: 'button',
        text: 'Spare it',
        title: 'Call off what the rule is about to do',
        hidden: true,
        on: { click: () => this.#spare() },
      }),
      message: el('button', {
        type: 'button',
        class: 'button',
        text: 'Message…',
        on: { click: () => page.message({ rows: [this.#row()].filter(Boolean) }) },
      }),
    };
    const parts = this.#parts;
    const section = (name, title, ...content) => {
      const node = el('section', {}, el('h3', { text: title }), ...content);
      this.#sections[name] = node;
      return node;
    };
    this.element = el(
      'aside',
      { class: 'drawer', 'aria-label': 'Session', hidden: true },
      el(
        'header',
        {},
        parts.title,
        badge.element,
        el('span', { class: 'grow' }),
        el('button', {
          type: 'button',
          class: 'tool',
          text: '✕',
          'aria-label': 'Close details',
          title: 'Close (Esc)',
          on: { click: () => this.close() },
        }),
      ),
      el(
        'div',
        { class: 'body', tabindex: '0', role: 'region', 'aria-label': 'Session details' },
        el(
          'p',
          { class: 'line' },
          parts.id,
          copyButton(() => this.#id, page.say, 'Session id'),
        ),
        el('p', { class: 'line actions' }, parts.spare, parts.message, parts.kill),
        this.#killForm.element,
        section('facts', 'State', parts.facts),
        section('lane', 'Life', this.#life.lane, this.#life.steps),
        section('tasks', 'Tasks', this.#life.tasks),
        section('meta', 'Meta', parts.meta),
        section('events', 'What the log says', parts.events),
        section('others', 'The user’s other sessions', parts.others),
        section(
          'raw',
          'Raw JSON',
          el(
            'div',
            { class: 'with-copy' },
            parts.raw,
            copyButton(() => parts.raw.textContent, page.say, 'JSON'),
          ),
        ),
        section(
          'curl',
          'End it from a terminal',
          el(
            'div',
            { class: 'with-copy' },
            parts.curl,
            copyButton(() => parts.curl.textContent, page.say, 'Command'),
          ),
        ),
      ),
    );
  }

  #row() {
    return this.#dashboard.store.rows.get(this.#id) ?? null;
  }

  get isOpen() {
    return this.#dashboard.view.session !== null;
  }

  close() {
    this.#dashboard.show({ session: null });
  }

  /** Follows the view: opens, changes or closes the details. */
  #follow() {
    const id = this.#dashboard.view.session;
    if (id === this.#id) return;
    const before = this.#id;
    if (before === null) this.#back = document.activeElement;
    this.#id = id;
    this.#events = null;
    this.#error = null;
    this.#seen = null;
    this.#askedAt = -PACE;
    this.#outdated = true;
    this.#dirty = true;
    this.#killForm.hide();
    this.element.hidden = id === null;
    if (id === null) {
      // Back to the row. The element that had the focus may show another session now.
      if (!this.#page.focusRow(before) && this.#back?.isConnected && !this.#back.closest('tr'))
        this.#back.focus({ preventScroll: true });
      this.#back = null;
    } else {
      this.element.querySelector('.body').scrollTop = 0;
      this.#parts.title.focus({ preventScroll: true });
    }
  }

  async #load() {
    const id = this.#id;
    this.#askedAt = performance.now();
    this.#outdated = false;
    try {
      const answer = await timeline(id);
      if (id !== this.#id) return;
      this.#events = answer.events;
      this.#error = null;
    } catch (error) {
      if (id !== this.#id) return;
      this.#error = error.status === 404 ? 'The log knows no session of this id.' : error.message;
    }
    this.#dirty = true;
    this.#page.changed();
  }

  #kill(reason, lockFor) {
    const row = this.#row();
    if (row && this.#dashboard.mayAct) killRows(this.#dashboard, [row], { reason, lockFor, by: recall('by', '') });
  }

  async #spare() {
    try {
      const { called_off: rules } = await spare(this.#id);
      this.#page.say(rules.length > 0 ? `Called off: ${rules.join(', ')}` : 'Nothing was due any more');
    } catch (error) {
      this.#page.say(`It could not be spared: ${error.message}`);
    }
  }

  render(now) {
    this.#follow();
    if (this.#id === null) return;
    const row = this.#row();
    const seen = row
      ? `${row.state}|${row.reported}|${row.statusSince}|${row.task}|${row.taskStart}|${row.ended?.at}|${JSON.stringify(row.kill)}|${row.visibility}|${row.connected}|${JSON.stringify(row.ruled)}`
      : 'none';
    if (seen !== this.#seen) {
      this.#seen = seen;
      this.#dirty = true;
      this.#outdated = true;
    }
    if (this.#outdated && performance.now() - this.#askedAt > PACE) this.#load();
    const second = Math.floor(now / 1000);
    if (!this.#dirty && second === this.#second) return;
    this.#second = second;
    this.#now(row, now);
    if (this.#dirty) this.#settled(row);
    this.#showLife(now);
    this.#dirty = false;
  }

  /** Shows what changes with time: state, ages. */
  #now(row, now) {
    const { badge, title, id, facts, kill, message, spare: spareButton } = this.#parts;
    const first = this.#events?.[0];
    const app = row?.app ?? first?.app_name ?? '';
    const user = row?.user || first?.user_id || '';
    setText(title, `${printable(app) || 'Session'}${user ? ` · ${printable(user)}` : ''}`);
    setText(id, printable(this.#id));
    const end = row?.ended ?? this.#ended();
    const state = end ? 'ended' : row ? row.state : 'ended';
    badge.show(state, end ? (end.cause ?? 'ended') : liveWord(row));
    const may = row !== null && !row.ended;
    const admin = this.#dashboard.role === 'admin';
    kill.hidden = !may || !admin || row.state === 'ending';
    message.hidden = !may || !admin;
    spareButton.hidden = !may || !admin || !row.ruled;
    spareButton.disabled = !this.#dashboard.mayAct;
    kill.disabled = !this.#dashboard.mayAct;
    message.disabled = !this.#dashboard.mayAct;
    fillPairs(facts, factsOf(row, end, this.#error, row && !end ? lockOf(this.#dashboard.locks, row, now) : null, now));
  }

  #ended() {
    const last = this.#events?.at(-1);
    return last?.kind === 'removed'
      ? { cause: last.cause, at: Date.parse(last.at), by: last.by, reason: last.reason }
      : null;
  }

  /** Shows what changes only when the session changes. */
  #settled(row) {
    const { meta, raw, curl, events, others } = this.#parts;
    const now = this.#dashboard.now();
    const show = (name, on) => {
      this.#sections[name].hidden = !on;
    };
    fillPairs(meta, row ? Object.entries(row.meta) : []);
    show('meta', meta.children.length > 0);
    show('raw', row !== null);
    if (row) setText(raw, printableJson(row.toWire(row.ended?.at ?? now)));
    show('curl', row !== null && !row.ended);
    setText(curl, killCommand(this.#server, this.#id));
    show('events', fillEvents(events, this.#events ?? [], now));
    const user = row?.user || this.#events?.[0]?.user_id || '';
    const open = id => this.#dashboard.show({ session: id });
    show('others', fillOthers(others, this.#dashboard.store.rows.values(), user, this.#id, open));
  }

  #showLife(now) {
    const known = (this.#events ?? []).length > 0;
    this.#sections.lane.hidden = !known;
    this.#sections.tasks.hidden = !(known && this.#life.render(this.#events, now, this.#dirty));
  }
}

/** A running session is shown by the word that it reported. */
function liveWord(row) {
  if (row === null) return 'not here';
  return row.state === 'running' ? row.reported : row.state;
}
