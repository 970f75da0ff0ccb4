// The headings of the live table: they sort, select all that match, and set the widths of the columns.

import { COLUMNS, pressed } from '../columns.js';
import { el } from '../lib/dom.js';

export class Headings {
  #dashboard;
  #grid;
  #shown = '';
  #all = null;

  /**
   * @param {import('../dashboard.js').Dashboard} dashboard
   * @param {import('./grid.js').Grid} grid whose head they are
   */
  constructor(dashboard, grid) {
    this.#dashboard = dashboard;
    this.#grid = grid;
    grid.head.addEventListener('click', event => this.#sort(event));
  }

  #sort(event) {
    const key = event.target.closest('[data-sort]')?.dataset.sort;
    if (key) this.#dashboard.show({ sort: pressed(this.#dashboard.view.sort, key, event.shiftKey) });
  }

  /** Shows whether all, some or none of the matching rows are selected. */
  tick() {
    const { selection, matching } = this.#dashboard;
    this.#all.checked = selection.size > 0 && selection.size >= matching;
    this.#all.indeterminate = selection.size > 0 && selection.size < matching;
  }

  render() {
    const { columns } = this.#dashboard;
    const { sort, wall } = this.#dashboard.view;
    // Made again only when they differ: a heading that is replaced between press and release gets no click.
    const wanted = JSON.stringify([columns, sort, wall]);
    if (wanted === this.#shown) return;
    this.#shown = wanted;
    const focused = document.activeElement?.dataset?.sort;
    this.#all = this.#selectAll();
    this.#grid.head.replaceChildren(
      el('th', { role: 'columnheader', scope: 'col', class: 'cell-pick' }, this.#all),
      ...columns.map(key => heading(key, sort)),
      el(
        'th',
        { role: 'columnheader', scope: 'col', class: 'cell-actions' },
        el('span', { class: 'offscreen', text: 'Actions' }),
      ),
    );
    // The wall has no checkboxes and no buttons, and everything is larger.
    const track = key =>
      COLUMNS[key].track.replace(/^(\d+)px$/, (_, width) => `${wall ? Math.round(width * 1.6) : width}px`);
    this.#grid.setTracks([...(wall ? [] : ['36px']), ...columns.map(track), wall ? '24px' : '84px']);
    this.#grid.table.setAttribute('aria-colcount', columns.length + 2);
    if (focused) this.#grid.head.querySelector(`[data-sort="${focused}"]`)?.focus();
  }

  #selectAll() {
    const all = el('input', { type: 'checkbox', class: 'pick', 'aria-label': 'Select all matching sessions' });
    all.addEventListener('change', () => {
      // Decided by the selection and not by the checkbox, which may be one frame behind.
      const dashboard = this.#dashboard;
      if (dashboard.selection.size > 0 && dashboard.selection.size >= dashboard.matching) dashboard.clearSelection();
      else
        dashboard.select(
          [...dashboard.matchingRows()].map(row => row.id),
          true,
        );
    });
    return all;
  }
}

function heading(key, sort) {
  const at = sort.findIndex(entry => entry.key === key);
  const direction = at < 0 ? null : sort[at].down ? 'descending' : 'ascending';
  return el(
    'th',
    {
      role: 'columnheader',
      scope: 'col',
      class: `head cell-${key}${COLUMNS[key].right ? ' right' : ''}`,
      'aria-sort': direction,
    },
    el(
      'button',
      { type: 'button', class: `sort${direction ? ` ${direction}` : ''}`, data: { sort: key } },
      el('span', { text: COLUMNS[key].title }),
      direction &&
        el('span', {
          class: 'arrow',
          'aria-hidden': 'true',
          text: `${sort[at].down ? '↓' : '↑'}${sort.length > 1 ? at + 1 : ''}`,
        }),
    ),
  );
}
