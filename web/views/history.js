// The tables of the ended sessions and of the audit log.

import { EVENT_COLUMNS, EVENT_PAGES, eventText, eventValue } from '../event-columns.js';
import { tabbed } from '../lib/csv.js';
import { copy, el, setAttribute, setText } from '../lib/dom.js';
import { count, printable } from '../lib/format.js';
import { toggled, without } from '../query.js';
import { Grid } from './grid.js';
import { menu } from './menu.js';

export class HistoryView {
  #dashboard;
  #history;
  #page;
  #version = -1;
  #columns = '';
  #day = '';
  #frozen = null;

  constructor(dashboard, history, page) {
    this.#dashboard = dashboard;
    this.#history = history;
    this.#page = page;
    this.grid = new Grid({
      label: 'Events',
      length: () => this.#events.length,
      lineAt: index => this.#events[index],
      keyOf: event => event.seq,
      versionOf: () => 0,
      kindOf: () => 'event',
      indexOf: event => this.#events.indexOf(event),
      create: () => new EventView(this),
      changed: () => this.#scrolled(),
    });
    this.grid.body.addEventListener('dblclick', event => this.#open(this.#eventOf(event.target)));
    this.grid.body.addEventListener('contextmenu', event => this.#menu(event));
    this.grid.body.addEventListener('pointerenter', () => {
      this.#frozen = this.#history.events;
    });
    this.grid.body.addEventListener('pointerleave', () => {
      this.#frozen = null;
      this.#version = -1;
      page.changed();
    });
    history.addEventListener('change', () => {
      // Older events at the end move no line. New ones in front wait while the pointer is in the table.
      if (this.#frozen && this.#frozen[0] === history.events[0]) this.#frozen = history.events;
      page.changed();
    });
    this.note = el('p', { class: 'nothing', hidden: true });
    this.element = el('div', { class: 'table-view history' }, this.grid.element, this.note);
  }

  get #events() {
    return this.#frozen ?? this.#history.events;
  }

  get columns() {
    return EVENT_PAGES[this.#history.page].columns;
  }

  get now() {
    return this.#dashboard.now();
  }

  #scrolled() {
    const { element } = this.grid;
    if (element.scrollTop + element.clientHeight * 3 > element.scrollHeight) this.#history.older();
    this.#page.changed();
  }

  #eventOf(target) {
    return this.grid.lineOf(target);
  }

  #open(event) {
    if (event?.session_id) this.#page.open(event.session_id);
  }

  #menu(pointer) {
    const event = this.#eventOf(pointer.target);
    if (!event) return;
    pointer.preventDefault();
    const dashboard = this.#dashboard;
    const key = pointer.target.closest('td')?.dataset.column ?? null;
    const column = key ? EVENT_COLUMNS[key] : null;
    const value = column?.filter ? String(eventValue(key, event, this.now)) : null;
    const items = [
      { text: 'Open the session', keys: 'Enter', act: () => this.#open(event) },
      column && {
        text: `Copy ${column.title.toLowerCase()}`,
        act: () => {
          copy(printable(String(eventValue(key, event, this.now))));
          this.#page.say('Cell copied');
        },
      },
      { text: 'Copy row', keys: 'c', act: () => this.#copy(event) },
      value && {
        text: `Only ${column.filter}: ${printable(value)}`,
        act: () => dashboard.show({ query: toggled(dashboard.view.query, column.filter, value) }),
      },
      value && {
        text: `Not ${column.filter}: ${printable(value)}`,
        act: () => dashboard.show({ query: without(dashboard.view.query, column.filter, value) }),
      },
    ];
    menu(items.filter(Boolean), { left: pointer.clientX, bottom: pointer.clientY }, pointer.target.closest('tr'));
  }

  #copy(event) {
    copy(tabbed(this.columns.map(key => eventValue(key, event, this.now))));
    this.#page.say('Row copied');
  }

  /** @returns {boolean} whether the table used the key */
  key(event) {
    if (this.grid.move(event.key)) return true;
    if (!this.grid.body.contains(document.activeElement)) return false;
    const line = this.grid.activeLine();
    if (!line) return false;
    if (event.key === 'Enter') this.#open(line);
    else if (event.key === 'c') this.#copy(line);
    else return false;
    return true;
  }

  words() {
    const { events, loaded, complete } = this.#history;
    const more = complete ? '' : '+';
    return events.length === loaded.length
      ? `${count(loaded.length)}${more} events`
      : `${count(events.length)} of ${count(loaded.length)}${more} events`;
  }

  render(now) {
    const history = this.#history;
    const { page } = this.#dashboard.view;
    if (!Object.hasOwn(EVENT_PAGES, page)) return;
    const columns = `${page}`;
    if (this.#columns !== columns) {
      this.#columns = columns;
      this.#frozen = null;
      this.grid.clear();
      this.grid.element.scrollTop = 0;
      this.grid.table.setAttribute('aria-label', EVENT_PAGES[page].title);
      this.grid.head.replaceChildren(
        ...this.columns.map(key =>
          el('th', {
            role: 'columnheader',
            scope: 'col',
            class: `head${EVENT_COLUMNS[key].right ? ' right' : ''}`,
            text: EVENT_COLUMNS[key].title,
          }),
        ),
      );
      this.grid.setTracks(this.columns.map(key => EVENT_COLUMNS[key].track));
    }
    const day = new Date(now).toDateString();
    const fresh = this.#version !== history.version || this.#day !== day;
    this.#version = history.version;
    this.#day = day;
    this.grid.render(fresh);
    const none = history.events.length === 0;
    this.note.hidden = !none;
    if (none)
      setText(
        this.note,
        history.error
          ? `The log cannot be read: ${history.error}`
          : history.loading
            ? 'Loading…'
            : this.#dashboard.view.query.trim()
              ? 'No event matches this filter.'
              : 'Nothing has ended yet.',
      );
  }
}

class EventView {
  #owner;
  #cells = [];
  #columns = null;

  constructor(owner) {
    this.#owner = owner;
    this.element = el('tr', { class: 'row event' });
  }

  fill(event) {
    const { columns, now } = this.#owner;
    if (this.#columns !== columns) {
      this.#columns = columns;
      this.#cells = columns.map(key =>
        el('td', {
          role: 'gridcell',
          class: `cell cell-${key}${EVENT_COLUMNS[key].right ? ' right' : ''}`,
          data: { column: key, title: EVENT_COLUMNS[key].title },
        }),
      );
      this.element.replaceChildren(...this.#cells);
    }
    this.#cells.forEach((cell, i) => {
      const key = columns[i];
      const text = eventText(key, event, now);
      setText(cell, text);
      setAttribute(cell, 'title', printable(EVENT_COLUMNS[key].hover?.(event) ?? '') || text || null);
    });
    setAttribute(this.element, 'data-kind', event.kind);
    setAttribute(this.element, 'data-cause', event.cause ?? null);
  }
}
