// The live table: its lines, the chip that says how many updates wait, and what can be pressed in it.

import { killRows } from '../actions.js';
import { COLUMNS, cellText } from '../columns.js';
import { el, setAttribute, setText } from '../lib/dom.js';
import { plural, printable } from '../lib/format.js';
import { recall } from '../lib/remember.js';
import { Grid } from './grid.js';
import { Headings } from './headings.js';
import { GroupView, RowView } from './row.js';
import { copyRow, rowMenu } from './row-menu.js';

export class TableView {
  #dashboard;
  #ask;
  #open;
  #pointer = false;
  #focus = false;
  #shown = { view: -1, lines: -1, data: -1, selection: -1, second: -1, line: '' };
  #lastPicked = null;
  #headings;

  /**
   * @param {import('../dashboard.js').Dashboard} dashboard
   * @param {{ changed: () => void, killMany: (target) => void, message: (target) => void, open: (id: string) => void, say: (text: string) => void }} page
   */
  constructor(dashboard, page) {
    this.#dashboard = dashboard;
    this.#ask = page;
    this.#open = page.open;
    this.grid = new Grid({
      label: 'Sessions',
      length: () => dashboard.lines.length,
      lineAt: index => dashboard.lineAt(index),
      keyOf: line => (line.by ? `${line.by} ${line.value}` : line.slot),
      versionOf: line => line.version ?? 0,
      kindOf: line => (line.by ? 'group' : 'row'),
      indexOf: line => dashboard.indexOfLine(line),
      create: kind => (kind === 'group' ? new GroupView(dashboard) : new RowView(dashboard)),
      changed: page.changed,
    });
    this.#headings = new Headings(dashboard, this.grid);
    this.chip = el('button', {
      type: 'button',
      class: 'chip',
      hidden: true,
      on: {
        click: () => {
          dashboard.catchUp();
          page.changed();
        },
      },
    });
    this.nothing = el('p', { class: 'nothing', hidden: true });
    this.element = el('div', { class: 'table-view' }, this.grid.element, this.nothing, this.chip);
    this.#listen();
  }

  #listen() {
    const { body } = this.grid;
    body.addEventListener('pointerenter', () => {
      this.#pointer = true;
      this.#hold();
    });
    body.addEventListener('pointerleave', () => {
      this.#pointer = false;
      this.#hold();
    });
    body.addEventListener('focusin', () => {
      this.#focus = true;
      this.#hold();
    });
    body.addEventListener('focusout', event => {
      this.#focus = body.contains(event.relatedTarget);
      this.#hold();
    });
    body.addEventListener('click', event => this.#pressed(event));
    body.addEventListener('dblclick', event => {
      const row = this.#rowOf(event.target);
      if (row && !event.target.closest('button, input')) this.#open(row.id);
    });
    body.addEventListener('contextmenu', event => this.#menu(event));
    // Titles with exact values are set when the pointer enters a cell; most cells never need one.
    body.addEventListener('pointerover', event => this.#hover(event));
  }

  #hold() {
    // A pointer that was left on a wall display must not stop it.
    this.#dashboard.hold(!this.#dashboard.view.wall && (this.#pointer || this.#focus));
    this.#ask.changed();
  }

  #rowOf(target) {
    const line = this.grid.lineOf(target);
    return line?.by ? null : line;
  }

  #groupOf(target) {
    const line = this.grid.lineOf(target);
    return line?.by ? line : null;
  }

  #pressed(event) {
    const dashboard = this.#dashboard;
    const act = event.target.closest('[data-act]')?.dataset.act;
    const row = this.#rowOf(event.target);
    if (act === 'select' && row) this.#pick(row, !dashboard.selection.has(row.id), event.shiftKey);
    else if (act === 'kill' && row) this.arm(row);
    else if (act === 'fold') dashboard.fold(this.#groupOf(event.target).value, event.shiftKey);
    else if (act === 'kill-group') this.#ask.killMany({ group: this.#groupOf(event.target) });
    else if (act === 'message-group') this.#ask.message({ group: this.#groupOf(event.target) });
    else return;
    this.#ask.changed();
  }

  /** Selects a row; with shift all rows from the last selected one to it. */
  #pick(row, selected, range) {
    const dashboard = this.#dashboard;
    const ids = [row.id];
    if (range && this.#lastPicked && this.#lastPicked !== row.id) {
      const rows = [...dashboard.matchingRows()].map(each => each.id);
      const [from, to] = [rows.indexOf(this.#lastPicked), rows.indexOf(row.id)].sort((a, b) => a - b);
      if (from >= 0) ids.push(...rows.slice(from, to + 1));
    }
    this.#lastPicked = row.id;
    dashboard.select(ids, selected);
  }

  /** The two steps of a kill, in the row itself. */
  arm(row) {
    if (!this.#dashboard.mayAct || row.ended || row.state === 'ending') return;
    const view = this.grid.elementOf(row.slot);
    view?.arm(row, (target, reason, lockFor) => {
      killRows(this.#dashboard, [target], { reason, lockFor, by: recall('by', '') });
      this.#ask.changed();
    });
  }

  /** Puts the focus on the row of a session, if it is in view. @returns {boolean} whether it is */
  focusRow(id) {
    const row = this.#dashboard.store.rows.get(id);
    const element = row && this.grid.elementOf(row.slot)?.element;
    element?.focus({ preventScroll: true });
    return Boolean(element);
  }

  // Keys, passed on by the page

  /** @returns {boolean} whether the table used the key */
  key(event) {
    const dashboard = this.#dashboard;
    if (this.grid.move(event.key)) return true;
    const line = this.grid.activeLine();
    const inside = this.grid.body.contains(document.activeElement);
    if (!line || (!inside && this.grid.active === null)) return false;
    if (line.by) {
      if (inside && ['Enter', 'ArrowRight', 'ArrowLeft'].includes(event.key) && !event.target.closest('button'))
        dashboard.fold(line.value);
      else if (event.key === 'K') this.#ask.killMany({ group: line });
      else return false;
      return true;
    }
    switch (event.key) {
      case 'x':
        if (!line.ended) this.#pick(line, !dashboard.selection.has(line.id), false);
        return true;
      case 'X':
        if (!line.ended) this.#pick(line, true, true);
        return true;
      case 'K':
        this.#armActive(line);
        return true;
      case 'c':
        copyRow(dashboard, line, this.#ask.say);
        return true;
      case 'Enter':
        if (!inside || event.target.closest('button, input')) return false;
        this.#open(line.id);
        return true;
      case 'ContextMenu':
      case 'F10':
        if (!inside || (event.key === 'F10' && !event.shiftKey)) return false;
        this.#openMenu(line, null, this.grid.elementOf(line.slot).element.getBoundingClientRect());
        return true;
      default:
        return false;
    }
  }

  /** Whether the arrow keys fold: the line with the focus is a group's. */
  onGroup() {
    return this.grid.body.contains(document.activeElement) && Boolean(this.grid.activeLine()?.by);
  }

  #armActive(row) {
    if (!this.grid.elementOf(row.slot)) this.grid.focusIndex(this.grid.activeIndex);
    this.arm(row);
  }

  // What can be done with a cell

  #menu(event) {
    const row = this.#rowOf(event.target);
    if (!row || event.target.closest('input')) return;
    event.preventDefault();
    this.#openMenu(row, event.target.closest('td')?.dataset.column ?? null, {
      left: event.clientX,
      bottom: event.clientY,
    });
  }

  #openMenu(row, key, place) {
    const back = this.grid.elementOf(row.slot)?.element;
    rowMenu(this.#dashboard, row, { key, place, back, arm: () => this.arm(row) }, this.#ask);
  }

  #hover(event) {
    const cell = event.target.closest('td[data-column]');
    const row = cell && this.#rowOf(cell);
    if (!row) return;
    const column = COLUMNS[cell.dataset.column];
    const now = this.#dashboard.now();
    const exact = printable(column.hover?.(row, now) ?? '') || cellText(column, row, now);
    setAttribute(cell, 'title', exact || null);
  }

  render(now) {
    const dashboard = this.#dashboard;
    const shown = this.#shown;
    if (shown.view !== dashboard.viewVersion) this.#headings.render();
    const line = `${dashboard.live} ${dashboard.role}`;
    const second = Math.floor(now / 1000);
    // Whether every line has to be filled. A row that changed by itself is known by its version.
    const fresh =
      shown.view !== dashboard.viewVersion ||
      shown.selection !== dashboard.selectionVersion ||
      shown.second !== second ||
      shown.line !== line;
    const moved = shown.data !== dashboard.dataVersion || shown.lines !== dashboard.linesVersion;
    this.#shown = {
      view: dashboard.viewVersion,
      lines: dashboard.linesVersion,
      data: dashboard.dataVersion,
      selection: dashboard.selectionVersion,
      second,
      line,
    };
    this.grid.render(fresh);
    if (!fresh && !moved) return;
    this.#headings.tick();
    const waiting = dashboard.wouldMove.size;
    this.chip.hidden = waiting === 0;
    setText(this.chip, `${plural(waiting, 'update')} ${waiting === 1 ? 'waits' : 'wait'}`);
    const { past, store } = dashboard;
    const none = dashboard.ordering.length === 0 && dashboard.ordering.settled && (store.live > 0 || past !== null);
    this.nothing.hidden = !none;
    if (none)
      setText(
        this.nothing,
        past !== null && store.live === 0
          ? past.since === null
            ? 'No session was live then.'
            : 'Nothing differs.'
          : dashboard.view.wall && dashboard.view.query === ''
            ? 'Nothing is wrong.'
            : 'No session matches this filter.',
      );
  }
}
