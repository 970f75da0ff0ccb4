// One session, all of it: its life as a lane, its tasks and kill steps, its tags, what
// the log says of it, the user's other sessions, its raw JSON and how to end it from a
// terminal. Works for sessions that are long gone, as far as the log goes back.

import { timeline } from '../commands.js';
import { detail, KINDS, life, stepText } from '../event-columns.js';
import { killRows } from '../actions.js';
import { killCommand } from '../snippets.js';
import { el, setAttribute, setText, svg } from '../lib/dom.js';
import { ago, count, elapsed, localTime, plural, printable, shortTime } from '../lib/format.js';
import { recall } from '../lib/remember.js';
import { copyButton } from './empty.js';
import { stateBadge } from './glyphs.js';

const EVENTS = 40;
const OTHERS = 8;
/** The timeline is asked for again at most this often, in ms. */
const PACE = 700;
const WIDTH = 400;

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
  /** Whether something happened to the session since its timeline was asked for. */
  #stale = false;
  #second = -1;
  #back = null;
  #parts;

  constructor(dashboard, page, server) {
    this.#dashboard = dashboard;
    this.#page = page;
    this.#server = server;
    // At once and not with the next frame, so that a key pressed meanwhile finds the focus where it belongs.
    dashboard.addEventListener('view', () => this.render(dashboard.now()));
    const badge = stateBadge();
    this.#parts = {
      badge,
      title: el('h2', { tabindex: '-1' }),
      id: el('code', { class: 'id' }),
      facts: el('dl', { class: 'facts' }),
      lane: el('div', { class: 'lane' }),
      steps: el('ol', { class: 'steps-list' }),
      tasks: el('table', { class: 'small' }),
      meta: el('dl', { class: 'facts meta' }),
      events: el('table', { class: 'small events' }),
      others: el('ul', { class: 'others' }),
      raw: el('pre', { tabindex: '0', 'aria-label': 'Raw JSON' }),
      curl: el('pre', { tabindex: '0', 'aria-label': 'Command that ends the session' }),
      kill: el('button', { type: 'button', class: 'danger', text: 'Kill…', on: { click: () => this.#kill() } }),
      message: el('button', {
        type: 'button',
        class: 'button',
        text: 'Message…',
        on: { click: () => page.message({ rows: [this.#row()].filter(Boolean) }) },
      }),
      armed: el('form', { class: 'armed', hidden: true }),
    };
    const parts = this.#parts;
    this.#sections = {};
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
        el('p', { class: 'line actions' }, parts.message, parts.kill),
        parts.armed,
        section('facts', 'Now', parts.facts),
        section('lane', 'Its life', parts.lane, parts.steps),
        section('tasks', 'Tasks', parts.tasks),
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

  #sections;

  #row() {
    return this.#dashboard.store.rows.get(this.#id) ?? null;
  }

  get isOpen() {
    return this.#dashboard.view.session !== null;
  }

  close() {
    this.#dashboard.show({ session: null });
  }

  /** Follows the address: opens, changes or closes. */
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
    this.#stale = true;
    this.#dirty = true;
    this.#disarm();
    this.element.hidden = id === null;
    if (id === null) {
      // Back to the row; its element may show another session by now.
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
    this.#stale = false;
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

  // The kill takes two steps here too, and says why.
  #kill() {
    const { armed } = this.#parts;
    const reason = el('input', {
      class: 'reason',
      maxlength: '512',
      placeholder: 'Reason (optional)',
      'aria-label': 'Reason',
    });
    armed.replaceChildren(
      reason,
      el('button', { type: 'submit', class: 'danger', text: 'Kill now' }),
      el('button', { type: 'button', class: 'quiet', text: 'Cancel', on: { click: () => this.#disarm() } }),
    );
    armed.onsubmit = event => {
      event.preventDefault();
      const row = this.#row();
      if (row && this.#dashboard.mayAct)
        killRows(this.#dashboard, [row], { reason: reason.value.trim(), by: recall('by', '') });
      this.#disarm();
    };
    armed.hidden = false;
    reason.focus();
  }

  #disarm() {
    this.#parts.armed.hidden = true;
    this.#parts.armed.replaceChildren();
  }

  render(now) {
    this.#follow();
    if (this.#id === null) return;
    const row = this.#row();
    const seen = row
      ? `${row.state}|${row.reported}|${row.statusSince}|${row.task}|${row.taskStart}|${row.ended?.at}|${JSON.stringify(row.kill)}|${row.visibility}|${row.connected}`
      : 'none';
    if (seen !== this.#seen) {
      this.#seen = seen;
      this.#dirty = true;
      this.#stale = true;
    }
    if (this.#stale && performance.now() - this.#askedAt > PACE) this.#load();
    const second = Math.floor(now / 1000);
    if (!this.#dirty && second === this.#second) return;
    this.#second = second;
    this.#now(row, now);
    if (this.#dirty) this.#settled(row);
    this.#lane(now);
    this.#dirty = false;
  }

  /** What ticks: state, ages, other sessions. */
  #now(row, now) {
    const { badge, title, id, facts, kill, message } = this.#parts;
    const first = this.#events?.[0];
    const app = row?.app ?? first?.app_name ?? '';
    const user = row?.user || first?.user_id || '';
    setText(title, `${printable(app) || 'Session'}${user ? ` · ${printable(user)}` : ''}`);
    setText(id, printable(this.#id));
    const end = row?.ended ?? this.#ended();
    const state = end ? 'ended' : row ? row.state : 'ended';
    badge.show(
      state,
      end
        ? (end.cause ?? 'ended')
        : row
          ? row.state === 'running'
            ? row.reported
            : row.state
          : 'not here',
    );
    const may = row !== null && !row.ended;
    const admin = this.#dashboard.server.role === 'admin';
    kill.hidden = !may || !admin || row.state === 'ending';
    message.hidden = !may || !admin;
    kill.disabled = !this.#dashboard.mayAct;
    message.disabled = !this.#dashboard.mayAct;
    const list = [];
    if (row) {
      list.push(['Started', `${localTime(row.start)}, ${elapsed((end?.at ?? now) - row.start)} long`]);
      list.push(['Last beat', `${ago(now - row.beat)}, ${localTime(row.beat)}`]);
      if (row.task && !end)
        list.push(['Task', `${row.task}${row.taskStart ? `, for ${elapsed(now - row.taskStart)}` : ''}`]);
      list.push(['Socket', row.connected ? 'open' : row.due === null ? 'none, it pings' : `none, a beat each ${row.due / 1000} s`]);
      if (row.visibility) list.push(['Visibility', row.visibility]);
      if (row.client) list.push(['Client', row.client]);
      if (row.addr) list.push(['Address', row.addr]);
    }
    if (end)
      list.push([
        'Ended',
        `${end.cause ?? ''} ${localTime(end.at)}${end.by ? ` by ${end.by}` : ''}${end.reason ? `: ${end.reason}` : ''}`,
      ]);
    if (this.#error && !row) list.push(['', this.#error]);
    pairs(facts, list);
  }

  #ended() {
    const last = this.#events?.at(-1);
    return last?.kind === 'removed'
      ? { cause: last.cause, at: Date.parse(last.at), by: last.by, reason: last.reason }
      : null;
  }

  /** What changes only with news of the session. */
  #settled(row) {
    const { meta, raw, curl, events } = this.#parts;
    const now = this.#dashboard.now();
    const show = (name, on) => {
      this.#sections[name].hidden = !on;
    };
    pairs(meta, row ? Object.entries(row.meta) : []);
    show('meta', meta.children.length > 0);
    show('raw', row !== null);
    if (row) setText(raw, printableJson(row.toWire(row.ended?.at ?? now)));
    show('curl', row !== null && !row.ended);
    setText(curl, killCommand(this.#server, this.#id));
    const list = (this.#events ?? []).slice(-EVENTS).reverse();
    events.replaceChildren(
      el(
        'tbody',
        {},
        ...list.map(event =>
          el(
            'tr',
            {},
            el('td', {
              class: 'time',
              title: localTime(Date.parse(event.at)),
              text: shortTime(Date.parse(event.at), now),
            }),
            el('td', { text: KINDS[event.kind] ?? event.kind }),
            el(
              'td',
              {},
              el('bdi', { text: printable([detail(event), event.by && `by ${event.by}`].filter(Boolean).join(', ')) }),
            ),
          ),
        ),
      ),
    );
    show('events', list.length > 0);
    this.#others(row);
  }

  #others(row) {
    const { others } = this.#parts;
    const user = row?.user || this.#events?.[0]?.user_id || '';
    const found = [];
    let total = 0;
    if (user) {
      for (const other of this.#dashboard.store.rows.values()) {
        if (other.user !== user || other.id === this.#id || other.ended) continue;
        total += 1;
        if (found.length < OTHERS) found.push(other);
      }
    }
    this.#sections.others.hidden = found.length === 0;
    others.replaceChildren(
      ...found.map(other =>
        el(
          'li',
          {},
          el('button', {
            type: 'button',
            class: 'link',
            text: `${printable(other.app)}, ${other.state}${other.task ? `: ${printable(other.task)}` : ''}`,
            on: { click: () => this.#dashboard.show({ session: other.id }) },
          }),
        ),
      ),
      (total > found.length && el('li', { class: 'soft', text: `and ${count(total - found.length)} more` })) || '',
    );
  }

  #lane(now) {
    const { lane, steps, tasks } = this.#parts;
    const known = (this.#events ?? []).length > 0;
    this.#sections.lane.hidden = !known;
    this.#sections.tasks.hidden = !known;
    if (!known) return;
    const told = life(this.#events, now);
    const whole = Math.max(1, told.end - told.start);
    const x = time => ((time - told.start) / whole) * WIDTH;
    if (this.#dirty || !told.ended) {
      lane.replaceChildren(
        svg(
          'svg',
          { viewBox: `0 0 ${WIDTH} 20`, preserveAspectRatio: 'none', role: 'img', 'aria-label': laneWords(told) },
          ...told.spans.map(span =>
            svg(
              'rect',
              {
                class: `layer is-${span.state}`,
                x: x(span.from).toFixed(2),
                y: 2,
                height: 16,
                width: Math.max(0.6, x(span.to) - x(span.from)).toFixed(2),
              },
              svg('title', {
                text: `${span.state}${span.task ? `: ${printable(span.task)}` : ''}, ${elapsed(span.to - span.from)}`,
              }),
            ),
          ),
          ...told.steps.map(step =>
            svg(
              'path',
              { class: 'mark is-kill', d: `M${x(step.at).toFixed(1)} 0V20`, 'vector-effect': 'non-scaling-stroke' },
              svg('title', { text: stepText(step) }),
            ),
          ),
        ),
        el(
          'div',
          { class: 'scale', 'aria-hidden': 'true' },
          el('span', { text: shortTime(told.start, now) }),
          el('span', { text: told.ended ? shortTime(told.end, now) : 'now' }),
        ),
      );
    }
    steps.replaceChildren(...told.steps.map(step => el('li', { text: stepText(step), title: localTime(step.at) })));
    steps.hidden = told.steps.length === 0;
    this.#sections.tasks.hidden = told.tasks.length === 0;
    tasks.replaceChildren(
      el(
        'tbody',
        {},
        ...told.tasks
          .slice(-12)
          .reverse()
          .map(task =>
            el(
              'tr',
              {},
              el('td', {}, el('bdi', { text: printable(task.name) })),
              el('td', { class: 'time', text: shortTime(task.from, now) }),
              el('td', { class: 'right', text: `${elapsed(task.to - task.from)}${task.open ? ' …' : ''}` }),
            ),
          ),
      ),
    );
  }
}

function pairs(list, entries) {
  const text = JSON.stringify(entries);
  if (list.shownPairs === text) return;
  list.shownPairs = text;
  list.replaceChildren(
    ...entries.flatMap(([name, value]) => [
      el('dt', {}, el('bdi', { text: printable(name) })),
      el('dd', {}, el('bdi', { text: printable(String(value)) })),
    ]),
  );
}

/** JSON keeps its line breaks; what is in its strings is spelled out as JSON spells it. */
function printableJson(value) {
  return JSON.stringify(value, null, 2).split('\n').map(printable).join('\n');
}

function laneWords(told) {
  const sums = new Map();
  for (const span of told.spans) sums.set(span.state, (sums.get(span.state) ?? 0) + span.to - span.from);
  return `${told.ended ? 'Ended' : 'Going on'}: ${[...sums].map(([state, span]) => `${state} for ${elapsed(span)}`).join(', ')}; ${plural(told.tasks.length, 'task')}`;
}
