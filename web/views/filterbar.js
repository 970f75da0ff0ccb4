// The filter, how many sessions match it, and the choices of groups and columns.

import { COLUMNS } from '../columns.js';
import { EVENT_FIELDS, SESSION_FIELDS } from '../fields.js';
import { GROUPINGS } from '../grouping.js';
import { el, setAttribute, setText } from '../lib/dom.js';
import { count } from '../lib/format.js';
import { menu } from './menu.js';

/** How long after the last key the rows are filtered, in ms. */
const TYPING = 120;
const LIVE_EXAMPLE = 'app:risk status:running user:ana meta.env:prod idle:>5m';
const LOG_EXAMPLE = 'app:risk user:ana cause:killed by:joe reason:memory';

export class FilterBarView {
  #dashboard;
  #page;
  #timer = 0;
  #count;
  #unknown;
  #clear;
  #group;
  #hints;
  #shown = null;

  constructor(dashboard, page) {
    this.#dashboard = dashboard;
    this.#page = page;
    this.#hints = el('datalist', { id: 'filter-hints' });
    this.input = el('input', {
      type: 'text',
      id: 'filter',
      class: 'filter',
      spellcheck: 'false',
      autocomplete: 'off',
      autocapitalize: 'off',
      enterkeyhint: 'search',
      'aria-label': 'Filter',
      list: 'filter-hints',
    });
    this.input.addEventListener('input', () => {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#apply(), TYPING);
    });
    this.input.addEventListener('blur', () => this.#apply());
    this.input.addEventListener('keydown', event => {
      if (event.key === 'Enter') this.#apply();
      else if (event.key === 'Escape' && this.input.value !== '') {
        this.input.value = '';
        this.#apply();
      } else if (event.key === 'Escape') this.input.blur();
      else return;
      event.stopPropagation();
    });
    this.#count = el('span', { class: 'matches' });
    this.#unknown = el('span', { class: 'unknown', role: 'note', hidden: true });
    this.#clear = el('button', {
      type: 'button',
      class: 'tool clear',
      text: '✕',
      'aria-label': 'Clear the filter',
      on: {
        click: () => {
          dashboard.show({ query: '' });
          this.input.focus();
        },
      },
    });
    // At once and not with the next frame. Until then a key would act on the field's old text, and leaving the field
    // would bring the old filter back.
    dashboard.addEventListener('view', () => this.#follow());
    this.#group = el(
      'select',
      { class: 'group-by', 'aria-label': 'Group by' },
      el('option', { value: '', text: 'No groups' }),
      ...Object.entries(GROUPINGS).map(([key, { title }]) =>
        el('option', { value: key, text: `By ${title.toLowerCase()}` }),
      ),
    );
    this.#group.addEventListener('change', () => dashboard.show({ group: this.#group.value || null }));
    this.columns = el('button', {
      type: 'button',
      class: 'button',
      text: 'Columns',
      'aria-haspopup': 'menu',
      on: { click: () => this.#columns() },
    });
    this.element = el(
      'div',
      { class: 'filter-bar', role: 'search' },
      el('div', { class: 'filter-field' }, el('kbd', { text: '/', 'aria-hidden': 'true' }), this.input, this.#clear),
      this.#hints,
      this.#unknown,
      this.#count,
      this.#group,
      this.columns,
      el('button', {
        type: 'button',
        class: 'button',
        text: 'CSV',
        title: 'Save what is shown as comma-separated values',
        on: { click: () => page.csv() },
      }),
    );
  }

  #apply() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    if (this.input.value !== this.#dashboard.view.query) this.#dashboard.show({ query: this.input.value });
  }

  /** Takes a filter that was changed elsewhere, by a number or by going back, into the field. */
  #follow() {
    const { query } = this.#dashboard.view;
    if (query === this.#shown) return;
    this.#shown = query;
    clearTimeout(this.#timer);
    this.#timer = 0;
    if (this.input.value !== query) this.input.value = query;
  }

  focus() {
    this.input.focus();
    this.input.select();
  }

  #columns() {
    const dashboard = this.#dashboard;
    const offered = Object.entries(COLUMNS).filter(([, { several }]) => dashboard.several || !several);
    const items = offered.map(([key, { title }]) => ({
      text: title,
      checked: dashboard.view.columns.includes(key),
      act: () => {
        const chosen = new Set(dashboard.view.columns);
        if (chosen.has(key)) chosen.delete(key);
        else chosen.add(key);
        // Columns have a fixed order, whatever the order in which they were chosen.
        if (chosen.size > 0) dashboard.show({ columns: Object.keys(COLUMNS).filter(each => chosen.has(each)) });
      },
    }));
    const box = this.columns.getBoundingClientRect();
    menu(items, { left: box.left, bottom: box.bottom + 4 }, this.columns);
  }

  render() {
    const dashboard = this.#dashboard;
    const { view } = dashboard;
    this.#follow();
    this.#clear.hidden = this.input.value === '';
    const live = view.page === 'live';
    this.#group.hidden = !live;
    this.columns.hidden = !live;
    if (this.#group.value !== (view.group ?? '')) this.#group.value = view.group ?? '';
    setText(this.#count, live ? this.#matches() : this.#page.historyWords());
    const unknown = live ? dashboard.unknownQualifiers : this.#page.unknownInHistory();
    this.#unknown.hidden = unknown.length === 0;
    if (unknown.length > 0) setText(this.#unknown, `not understood: ${unknown.join(' ')}`);
    setAttribute(this.input, 'aria-invalid', unknown.length > 0 ? 'true' : null);
    if (this.#hints.dataset.page !== view.page) {
      this.#hints.dataset.page = view.page;
      const fields = live ? SESSION_FIELDS : EVENT_FIELDS;
      setAttribute(this.input, 'placeholder', `Filter: words, or ${live ? LIVE_EXAMPLE : LOG_EXAMPLE}`);
      this.#hints.replaceChildren(...Object.values(fields).map(field => el('option', { value: field.hint })));
    }
  }

  #matches() {
    const { store, view, matching } = this.#dashboard;
    return view.query.trim() === ''
      ? `${count(store.live)} ${store.live === 1 ? 'session' : 'sessions'}`
      : `${count(matching)} of ${count(store.live)}`;
  }
}
