// What can be done with the ticked rows.

import { el, setText } from '../lib/dom.js';
import { count, plural } from '../lib/format.js';

export class BulkView {
  #dashboard;
  #words;
  #all;
  #kill;
  #message;

  constructor(dashboard, page) {
    this.#dashboard = dashboard;
    this.#words = el('span', { class: 'words' });
    this.#all = el('button', {
      type: 'button',
      class: 'link',
      on: {
        click: () =>
          dashboard.select(
            [...dashboard.matchingRows()].map(row => row.id),
            true,
          ),
      },
    });
    this.#message = el('button', {
      type: 'button',
      class: 'button',
      text: 'Message…',
      on: { click: () => page.message(dashboard.selectedRows()) },
    });
    this.#kill = el('button', {
      type: 'button',
      class: 'danger',
      text: 'Kill…',
      on: { click: () => page.killMany({ rows: dashboard.selectedRows() }) },
    });
    this.element = el(
      'section',
      { class: 'bulk', 'aria-label': 'Selected sessions', hidden: true },
      this.#words,
      this.#all,
      el('button', { type: 'button', class: 'link', text: 'clear', on: { click: () => dashboard.clearSelection() } }),
      el('span', { class: 'grow' }),
      this.#message,
      this.#kill,
    );
  }

  render() {
    const dashboard = this.#dashboard;
    const selected = dashboard.selection.size;
    this.element.hidden = selected === 0 || dashboard.view.page !== 'live';
    if (this.element.hidden) return;
    const { matching } = dashboard;
    setText(this.#words, `${count(selected)} selected`);
    this.#all.hidden = selected >= matching;
    setText(this.#all, `select all ${count(matching)} matching`);
    this.#kill.hidden = dashboard.server.role !== 'admin';
    this.#message.hidden = dashboard.server.role !== 'admin';
    this.#kill.disabled = !dashboard.mayAct;
    this.#message.disabled = !dashboard.mayAct;
    this.#kill.title = dashboard.mayAct ? plural(selected, 'session') : 'Not while the page is not live';
  }
}
