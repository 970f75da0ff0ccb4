// The lines of the live table: a session, and the heading of a group.

import { COLUMNS, cellText, stripWords } from '../columns.js';
import { killOf, steps, verdict } from '../kills.js';
import { el, setAttribute, setText } from '../lib/dom.js';
import { count, localTime, plural, printable, shortTime } from '../lib/format.js';
import { lockOf } from '../locks.js';
import { STATES } from '../states.js';
import { shape, stateBadge, stripImage } from './glyphs.js';
import { lockSelect } from './lock-select.js';

/** How long a new row glows, in ms. */
const GLOW = 1000;

/** The line of a session. Its cells are made again when other columns are chosen. */
export class RowView {
  #dashboard;
  #cells = [];
  #columns = null;
  #kill;
  #steps;
  #tick;
  #armed = null;

  constructor(dashboard) {
    this.#dashboard = dashboard;
    this.element = el('tr', { class: 'row' });
    this.#tick = el('input', { type: 'checkbox', class: 'pick', tabindex: '-1', data: { act: 'select' } });
    this.#kill = el('button', { type: 'button', class: 'kill', text: 'Kill', tabindex: '-1', data: { act: 'kill' } });
    this.#steps = el('span', { class: 'steps' });
    this.actions = el('td', { role: 'gridcell', class: 'cell-actions' }, this.#kill);
  }

  #build(columns) {
    this.#columns = columns;
    this.#cells = columns.map(key => {
      const cell = el('td', {
        role: 'gridcell',
        class: `cell cell-${key}${COLUMNS[key].right ? ' right' : ''}`,
        data: { column: key, title: COLUMNS[key].title },
      });
      if (key === 'state') {
        const badge = stateBadge();
        cell.append(badge.element);
        return { key, cell, badge };
      }
      if (key === 'beats') {
        const strip = el('span', { class: 'strip', role: 'img' });
        cell.append(strip);
        return { key, cell, strip };
      }
      return { key, cell };
    });
    this.element.replaceChildren(
      el('td', { role: 'gridcell', class: 'cell-pick' }, this.#tick),
      ...this.#cells.map(({ cell }) => cell),
      this.actions,
    );
  }

  fill(row) {
    const dashboard = this.#dashboard;
    const now = dashboard.now();
    if (this.#columns !== dashboard.columns) this.#build(dashboard.columns);
    if (this.#armed && (this.#armed.row !== row || row.ended || row.state === 'ending')) this.disarm(false);
    const { element } = this;
    const selected = dashboard.selection.has(row.id);
    const telling = row.ended || row.differs || row.state === 'ending' ? ' telling' : '';
    const name = `row is-${row.ended ? 'ended' : row.state}${telling}${row.bornAt && now - row.bornAt < GLOW ? ' born' : ''}${row.differs ? ` differs-${row.differs.kind}` : ''}${selected ? ' selected' : ''}`;
    if (element.shownName !== name) {
      element.className = name;
      element.shownName = name;
    }
    setAttribute(element, 'aria-selected', String(selected));
    if (this.#tick.checked !== selected) this.#tick.checked = selected;
    setAttribute(this.#tick, 'disabled', row.ended !== null);
    setAttribute(this.#tick, 'aria-label', `Select ${describe(row)}`);

    for (const part of this.#cells) {
      const column = COLUMNS[part.key];
      const text = cellText(column, row, now);
      if (part.badge) {
        part.badge.show(row.ended ? 'ended' : row.state, text);
      } else if (part.strip) {
        if (part.shown !== text) {
          part.shown = text;
          part.strip.style.backgroundImage = stripImage(text);
          part.strip.setAttribute('aria-label', stripWords(text, row.due));
        }
      } else {
        setText(part.cell, text);
      }
    }
    const lock = lockOf(dashboard.locks, row, now);
    this.#mark(lock && !row.ended ? lock : null);
    this.#act(row, lock, now);
  }

  /** Marks a live session whose user is locked out. */
  #mark(lock) {
    const user = this.#cells.find(part => part.key === 'user')?.cell;
    if (!user || (!lock && !user.classList.contains('locked'))) return;
    user.classList.toggle('locked', lock !== null);
    setAttribute(user, 'title', lock && lockWords(lock));
  }

  #act(row, lock, now) {
    const dashboard = this.#dashboard;
    if (row.differs) {
      this.#actions(this.#steps);
      const words = printable(row.differs.words);
      setText(this.#steps, words);
      setAttribute(this.#steps, 'class', `steps is-${row.differs.kind}`);
      setAttribute(this.#steps, 'title', words);
    } else if (row.ended || row.state === 'ending') {
      this.#actions(this.#steps);
      const kill = killOf(row, now);
      const words = row.ended && !kill.requestedAt ? endWords(row, now) : stepWords(kill, now);
      setText(this.#steps, lock ? `${words}  locked out ${untilWords(lock, now)}` : words);
      setAttribute(this.#steps, 'class', `steps is-${row.ended ? 'gone' : kill.state}`);
      setAttribute(this.#steps, 'title', row.ended ? endWords(row, now) : verdict(kill, now));
    } else if (!this.#armed) {
      this.#actions(dashboard.role === 'admin' ? this.#kill : null);
      setAttribute(this.#kill, 'disabled', !dashboard.mayAct);
      setAttribute(this.#kill, 'aria-label', `Kill ${describe(row)}`);
    } else {
      setAttribute(this.#armed.confirm, 'disabled', !dashboard.mayAct);
    }
  }

  #actions(content) {
    if (this.actions.firstChild === content) return;
    this.actions.classList.toggle('wide', content !== null && content !== this.#kill);
    if (content) this.actions.replaceChildren(content);
    else this.actions.replaceChildren();
  }

  /**
   * The second step of a kill: in place of the button come a field for the reason and the button that kills. Under the
   * pointer is Cancel.
   */
  arm(row, confirmed) {
    this.disarm(false);
    const reason = el('input', {
      class: 'reason',
      placeholder: 'Reason (optional)',
      maxlength: '512',
      'aria-label': `Reason for killing ${describe(row)}`,
    });
    const lockFor = row.user ? lockSelect() : null;
    const confirm = el('button', { type: 'button', class: 'danger', text: 'Kill now' });
    const cancel = el('button', { type: 'button', class: 'quiet', text: 'Cancel' });
    const form = el(
      'span',
      { class: 'armed', role: 'group', 'aria-label': `Kill ${describe(row)}` },
      reason,
      lockFor,
      confirm,
      cancel,
    );
    const go = () => {
      if (!this.#dashboard.mayAct) return;
      const words = reason.value.trim();
      this.disarm(true);
      confirmed(row, words, lockFor?.value ?? '');
    };
    confirm.addEventListener('click', go);
    cancel.addEventListener('click', () => this.disarm(true));
    form.addEventListener('keydown', event => {
      if (event.key === 'Escape') this.disarm(true);
      else if (event.key === 'Enter' && event.target === reason) go();
      else if (event.key === 'Enter') return;
      else if (event.key !== 'Tab') {
        event.stopPropagation();
        return;
      }
      event.stopPropagation();
      if (event.key !== 'Tab') event.preventDefault();
    });
    form.addEventListener('click', event => event.stopPropagation());
    this.#armed = { row, confirm };
    this.actions.classList.add('wide');
    this.actions.replaceChildren(form);
    reason.focus();
  }

  /** Goes back to the first step. With `focus` the line gets the focus. */
  disarm(focus) {
    if (!this.#armed) return;
    this.#armed = null;
    if (focus || this.actions.contains(document.activeElement)) this.element.focus({ preventScroll: true });
    this.#actions(this.#kill);
  }
}

const describe = row => `${printable(row.app)}${row.user ? `, ${printable(row.user)}` : ''}`;

function stepWords(kill, now) {
  const words = steps(kill)
    .filter(({ done }) => done)
    .map(({ text }) => `${text} ✓`)
    .join('  ');
  if (kill.state === 'gone') return words;
  return `${words}  ${kill.state === 'unconfirmed' ? 'unconfirmed' : kill.connected ? '…' : verdict(kill, now)}`;
}

function endWords(row, now) {
  const { cause, at, by, reason } = row.ended;
  return `${cause ?? 'ended'} ${shortTime(at, now)}${by ? ` by ${printable(by)}` : ''}${reason ? `: ${printable(reason)}` : ''}`;
}

const untilWords = (lock, now) => (lock.until ? `until ${shortTime(Date.parse(lock.until), now)}` : 'until lifted');

/** What a lock does to a user who is still on. */
const lockWords = lock =>
  `Cannot register again ${lock.until ? `until ${localTime(Date.parse(lock.until))}` : 'until the lock is lifted'}: ${printable(lock.reason)}`;

/** The heading of a group: its name and counts, and the buttons for a message to it and for its kill. */
export class GroupView {
  #dashboard;
  #fold;
  #name;
  #size;
  #parts;
  #kill;
  #message;

  constructor(dashboard) {
    this.#dashboard = dashboard;
    this.#name = el('bdi', { class: 'group-name' });
    this.#fold = el('button', { type: 'button', class: 'fold', tabindex: '-1', data: { act: 'fold' } }, this.#name);
    this.#size = el('span', { class: 'group-size' });
    this.#parts = STATES.map(state => {
      const number = el('span', { class: 'number' });
      return { state, number, element: el('span', { class: 'group-part', title: state }, shape(state), number) };
    });
    const button = (kind, text, act) =>
      el('button', { type: 'button', class: kind, text, tabindex: '-1', data: { act } });
    this.#message = button('write', 'Message…', 'message-group');
    this.#kill = button('kill', 'Kill group…', 'kill-group');
    this.element = el(
      'tr',
      { class: 'group' },
      el(
        'td',
        { role: 'gridcell', class: 'group-cell' },
        this.#fold,
        this.#size,
        ...this.#parts.map(part => part.element),
        el('span', { class: 'group-actions' }, this.#message, this.#kill),
      ),
    );
  }

  fill(group) {
    setText(this.#name, group.value === '' ? `no ${group.by}` : printable(group.value));
    setAttribute(this.#fold, 'aria-expanded', String(!group.folded));
    setText(this.#size, plural(group.live, 'session'));
    for (const { state, number, element } of this.#parts) {
      element.hidden = group.states[state] === 0;
      setText(number, count(group.states[state]));
    }
    const name = this.#name.textContent;
    for (const [button, words] of [
      [this.#message, 'Message…'],
      [this.#kill, 'Kill group…'],
    ]) {
      button.hidden = this.#dashboard.role !== 'admin';
      setAttribute(button, 'disabled', !this.#dashboard.mayAct || group.live === 0);
      setAttribute(button, 'aria-label', `${words} ${name}`);
    }
  }
}
