// The values of apps, states and users with their counts. A press on one filters by it.

import { FACETS } from '../facets.js';
import { toggled, valuesOf } from '../query.js';
import { el, setAttribute, setText } from '../lib/dom.js';
import { count, printable } from '../lib/format.js';
import { STATES } from '../states.js';
import { shape } from './glyphs.js';

const TITLES = { app: 'App', status: 'Status', user: 'User' };
const SHOWN = { app: 10, status: 5, user: 8 };
/** With more users than this, finding the largest counts takes a few ms. */
const MANY = 2000;
/** It is then done only this often, in ms. */
const PACE = 500;

export class FacetsView {
  #dashboard;
  #lists;
  #version = -1;
  #view = -1;
  #at = 0;

  constructor(dashboard, page) {
    this.#dashboard = dashboard;
    this.#lists = FACETS.map(facet => {
      const list = el('ul');
      const total = el('span', { class: 'total' });
      list.addEventListener('click', event => {
        const button = event.target.closest('button');
        if (!button) return;
        if (button.classList.contains('facet-kill')) page.killMany({ app: button.facetValue });
        else dashboard.show({ query: toggled(dashboard.view.query, facet, button.facetValue) });
      });
      return {
        facet,
        list,
        total,
        items: [],
        element: el('section', { class: 'facet' }, el('h2', {}, el('span', { text: TITLES[facet] }), total), list),
      };
    });
    this.element = el(
      'aside',
      { class: 'facets', 'aria-label': 'Filter by value' },
      ...this.#lists.map(list => list.element),
    );
  }

  render(now) {
    const dashboard = this.#dashboard;
    const chosenAnew = this.#view !== dashboard.viewVersion;
    const pace = dashboard.facets.counts.user.size > MANY ? PACE : 0;
    if (!chosenAnew && (this.#version === dashboard.facets.version || now - this.#at < pace)) return;
    this.#version = dashboard.facets.version;
    this.#view = dashboard.viewVersion;
    this.#at = now;
    // Under the pointer or the focus the values keep their places, and only the counts change.
    const still = this.element.matches(':hover') || this.element.contains(document.activeElement);
    for (const list of this.#lists) this.#fill(list, still);
  }

  #fill({ facet, list, total, items }, still) {
    const { facets, view, role } = this.#dashboard;
    const chosen = valuesOf(view.query, facet);
    const top =
      still && items.length > 0
        ? items.map(({ value }) => ({ value, count: facets.counts[facet].get(value) ?? 0 }))
        : facets.top(facet, SHOWN[facet], facet === 'status' ? STATES : chosen);
    if (facet === 'status') top.sort((a, b) => STATES.indexOf(a.value) - STATES.indexOf(b.value));
    const size = facets.counts[facet].size;
    setText(total, facet !== 'status' && size > top.length ? count(size) : '');
    while (items.length < top.length) {
      const item = facetItem(facet);
      items.push(item);
      list.append(item.element);
    }
    while (items.length > top.length) items.pop().element.remove();
    top.forEach(({ value, count: number }, i) =>
      items[i].show(value, number, chosen.includes(value), facet === 'app' && role === 'admin'),
    );
  }
}

function facetItem(facet) {
  const name = el('bdi', { class: 'name' });
  const number = el('span', { class: 'number' });
  const mark = facet === 'status' ? shape('idle') : null;
  const button = el('button', { type: 'button', class: 'facet-value' }, mark, name, number);
  const kill = facet === 'app' ? el('button', { type: 'button', class: 'facet-kill', text: 'Kill…' }) : null;
  const element = el('li', {}, button, kill);
  return {
    element,
    value: null,
    show(value, total, pressed, killable) {
      this.value = value;
      const text = value === '' ? `no ${facet}` : printable(value);
      button.facetValue = value;
      setText(name, text);
      setText(number, count(total));
      setAttribute(button, 'aria-pressed', String(pressed));
      setAttribute(button, 'title', text);
      element.classList.toggle('none', total === 0);
      if (mark) mark.className = `shape is-${value}`;
      if (kill) {
        kill.facetValue = value;
        kill.hidden = !killable || total === 0;
        setAttribute(kill, 'aria-label', `Kill… all sessions of ${text}`);
      }
    },
  };
}
