// The bar of actions for the selected rows.

import { el, setText } from '../lib/dom.js';
import { count, plural, printable } from '../lib/format.js';

/** Whether all matching rows belong to one app is looked up at most this often, in ms: there may be very many. */
const PACE = 500;

export class BulkView {
  #dashboard;
  #words;
  #all;
  #kill;
  #message;
  #everyone;
  #app = null;
  #seen = { lines: -1, at: 0 };

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
      on: { click: () => page.message({ rows: dashboard.selectedRows() }) },
    });
    this.#everyone = el('button', {
      type: 'button',
      class: 'button everyone',
      on: { click: () => page.message({ app: this.#app }) },
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
      this.#everyone,
      this.#message,
      this.#kill,
    );
  }

  /** Where all matching rows belong to one app, a message can go to the whole app. */
  #oneApp(now) {
    const dashboard = this.#dashboard;
    if (this.#seen.lines === dashboard.linesVersion || now - this.#seen.at < PACE) return;
    this.#seen = { lines: dashboard.linesVersion, at: now };
    this.#app = dashboard.onlyApp;
    if (this.#app !== null) setText(this.#everyone, `Message all of ${printable(this.#app)}…`);
  }

  render(now) {
    const dashboard = this.#dashboard;
    const selected = dashboard.selection.size;
    this.element.hidden = selected === 0 || dashboard.view.page !== 'live';
    if (this.element.hidden) return;
    const { matching } = dashboard;
    const admin = dashboard.role === 'admin';
    this.#oneApp(now);
    setText(this.#words, `${count(selected)} selected`);
    this.#all.hidden = selected >= matching;
    setText(this.#all, `select all ${count(matching)} matching`);
    for (const button of [this.#kill, this.#message, this.#everyone]) {
      button.hidden = !admin;
      button.disabled = !dashboard.mayAct;
    }
    this.#everyone.hidden ||= this.#app === null;
    this.#kill.title = dashboard.mayAct ? plural(selected, 'session') : 'Not while the page is not live';
  }
}
