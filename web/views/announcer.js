// One line for screen readers: what was just done, and the counts when they change, at most every five seconds.

import { el } from '../lib/dom.js';
import { count } from '../lib/format.js';
import { badgeOf } from './header.js';

/** The least time between two announcements, in ms. */
const PACE = 5000;

export class Announcer {
  #dashboard;
  #said = '';
  #at = -Infinity;
  #timer = 0;
  #words = '';

  constructor(dashboard) {
    this.#dashboard = dashboard;
    this.element = el('p', { class: 'offscreen', role: 'status', 'aria-live': 'polite' });
    /** The same words on the page, for a moment after an action. */
    this.toast = el('p', { class: 'toast', hidden: true, 'aria-hidden': 'true' });
  }

  /** Says what an action of the user did. */
  say(words) {
    this.#words = words;
    this.toast.textContent = words;
    this.toast.hidden = false;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.toast.hidden = true;
    }, 2500);
  }

  /** Called at least once a second. What was done is announced before the counts. */
  render() {
    if (performance.now() - this.#at < PACE) return;
    const { store, live } = this.#dashboard;
    const { idle, running, stale, ending } = store.counts;
    const state = live
      ? `${count(idle)} idle, ${count(running)} running, ${count(stale)} stale, ${count(ending)} ending`
      : badgeOf(this.#dashboard).text.replace(/ in \d+ s/, '');
    const text = this.#words ? `${this.#words}.` : state;
    this.#words = '';
    if (text === this.#said) return;
    this.#said = text;
    this.#at = performance.now();
    this.element.textContent = text;
  }
}
