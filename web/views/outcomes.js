// The card of the kills that this page asked for: each with its steps, failures first, until the card is closed.
// Failures can be selected for another try.

import { steps, verdict } from '../kills.js';
import { el, setAttribute, setText } from '../lib/dom.js';
import { count, plural, printable } from '../lib/format.js';

const SHOWN = 30;
const RANK = { refused: 0, unconfirmed: 0, asking: 1, requested: 1, delivered: 1, acknowledged: 1, gone: 2 };

export class OutcomesView {
  #dashboard;
  #title;
  #list;
  #more;
  #again;
  #version = -1;
  #second = -1;
  #folded = false;
  #fold;

  constructor(dashboard, page) {
    this.#dashboard = dashboard;
    this.#title = el('span', { class: 'words' });
    this.#list = el('ul');
    this.#more = el('p', { class: 'soft' });
    this.#again = el('button', {
      type: 'button',
      class: 'button',
      text: 'Select the failures',
      on: { click: () => this.#select(page) },
    });
    this.#fold = el('button', {
      type: 'button',
      class: 'tool',
      text: '–',
      on: {
        click: () => {
          this.#folded = !this.#folded;
          this.#version = -1;
          page.changed();
        },
      },
    });
    this.element = el(
      'section',
      { class: 'outcomes', 'aria-label': 'Kills', tabindex: '-1', hidden: true },
      el(
        'header',
        {},
        this.#title,
        el('span', { class: 'grow' }),
        this.#again,
        this.#fold,
        el('button', {
          type: 'button',
          class: 'tool',
          text: '✕',
          'aria-label': 'Put the list away',
          on: {
            click: () => {
              dashboard.kills.clear();
              page.changed();
            },
          },
        }),
      ),
      this.#list,
      this.#more,
    );
  }

  #select(page) {
    const ids = this.#dashboard.kills
      .failed()
      .map(kill => kill.id)
      .filter(id => this.#dashboard.store.rows.get(id)?.ended === null);
    if (ids.length === 0) page.say('None of them is there any more');
    else this.#dashboard.select(ids, true);
    page.changed();
  }

  render(now) {
    const { kills } = this.#dashboard;
    const second = Math.floor(now / 1000);
    if (second !== this.#second) kills.tick(now);
    if (this.#version === kills.version && this.#second === second) return;
    this.#version = kills.version;
    this.#second = second;
    const all = [...kills.all.values()];
    const appears = this.element.hidden && all.length > 0;
    this.element.hidden = all.length === 0;
    // The dialog is closed, and the button that opened it may be gone too.
    if (appears && document.activeElement === document.body) this.element.focus({ preventScroll: true });
    if (all.length === 0) return;
    const gone = all.filter(kill => kill.state === 'gone').length;
    const failed = all.filter(kill => RANK[kill.state] === 0).length;
    setText(
      this.#title,
      `${count(gone)} of ${plural(all.length, 'kill')} done${failed > 0 ? `, ${count(failed)} not confirmed` : ''}`,
    );
    this.#again.hidden = failed === 0;
    setText(this.#fold, this.#folded ? '+' : '–');
    setAttribute(this.#fold, 'aria-label', this.#folded ? 'Show the list' : 'Fold the list');
    setAttribute(this.#fold, 'aria-expanded', String(!this.#folded));
    this.#list.hidden = this.#folded;
    const shown = all
      .reverse()
      .sort((a, b) => RANK[a.state] - RANK[b.state])
      .slice(0, this.#folded ? 0 : SHOWN);
    while (this.#list.children.length > shown.length) this.#list.lastChild.remove();
    while (this.#list.children.length < shown.length) this.#list.append(item());
    shown.forEach((kill, i) => this.#list.children[i].show(kill, now));
    setText(this.#more, all.length > SHOWN && !this.#folded ? `and ${count(all.length - SHOWN)} more` : '');
  }
}

function item() {
  const who = el('bdi', { class: 'who' });
  const state = el('span', { class: 'told' });
  const line = el('span', { class: 'kill-steps' });
  const element = el('li', {}, who, line, state);
  element.show = (kill, now) => {
    setText(who, `${printable(kill.app)} · ${printable(kill.user || kill.id)}`);
    setText(
      line,
      kill.requestedAt
        ? steps(kill)
            .filter(step => step.done)
            .map(step => `${step.text} ✓`)
            .join('  ')
        : '',
    );
    setText(state, kill.state === 'gone' ? '' : verdict(kill, now));
    setAttribute(element, 'class', `is-${kill.state}`);
  };
  return element;
}
