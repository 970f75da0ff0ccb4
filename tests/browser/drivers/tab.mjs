// One page in one of the three browsers. Each driver has the same few methods (`Driver`); what the tests need is built
// from them here.

import assert from 'node:assert/strict';
import { until } from '../client-pages.mjs';

/** How long the tests wait at most, in ms. */
const LONG = 30_000;

/**
 * @typedef {object} Browser
 * @property {string} name with its version
 * @property {() => Promise<Driver>} open a new page, in front
 * @property {() => Promise<void>} close
 *
 * @typedef {object} Driver
 * @property {(url: string) => Promise<void>} goto
 * @property {() => Promise<void>} reload
 * @property {() => Promise<void>} back
 * @property {(work: Function, args: any[]) => Promise<any>} evaluate runs `work(...args)` in the page, and awaits it
 * @property {(x: number, y: number) => Promise<void>} click a real press of the pointer at a place of the window
 * @property {(text: string) => Promise<void>} type real keys
 * @property {(key: string) => Promise<void>} press one key, by its DOM name
 * @property {() => Promise<void>} close as a user closes a tab
 */

export class Tab {
  /** @param {Driver} driver */
  constructor(driver) {
    this.driver = driver;
  }

  /** Opens `url` in a new page of `browser`. */
  static async open(browser, url) {
    const tab = new Tab(await browser.open());
    await tab.driver.goto(url);
    return tab;
  }

  ask(work, ...args) {
    return this.driver.evaluate(work, args);
  }

  /** Runs `work(...args)` in the page until its result is truthy, and returns that. */
  async until(what, work, ...args) {
    // Between two documents it fails.
    return until(what, () => this.ask(work, ...args).catch(() => false), LONG);
  }

  /** Waits until an element that matches `selector` shows `text`. */
  sees(selector, text = '') {
    return this.until(`${selector} shows ${text || 'anything'}`, shown, selector, text);
  }

  /** Waits until no element that matches `selector` shows `text`. */
  seesNo(selector, text = '') {
    return until(`no ${selector} shows ${text}`, async () => (await this.ask(shown, selector, text)) === null, LONG);
  }

  /** Presses the pointer on the element that matches `selector` and shows `text`, or has it as its label. */
  async click(selector, text = '') {
    const place = await this.until(`${selector} ${text} can be pressed`, shown, selector, text);
    await this.driver.click(place.x, place.y);
  }

  /** The users of the rows in view, from the top. */
  users() {
    return this.ask(() => [...document.querySelectorAll('.table-view:not([hidden]) tbody tr.row:not([hidden])')]
      .sort((a, b) => a.ariaRowIndex - b.ariaRowIndex)
      .map(row => row.querySelector('[data-column=user]').textContent));
  }

  /** Waits until the rows in view are those of `expected` users, in this order. */
  async showsUsers(...expected) {
    const same = async () => JSON.stringify(await this.users()) === JSON.stringify(expected);
    await until(`rows of ${expected}`, same, LONG).catch(async () => assert.deepEqual(await this.users(), expected));
  }

  isLive() {
    return this.sees('.badge.is-live');
  }
}

/**
 * The middle of the first visible element that matches `selector` and has `text` in its label or content, scrolled into
 * view; null while there is none. Runs in the page.
 */
function shown(selector, text) {
  for (const element of document.querySelectorAll(selector)) {
    if (!`${element.getAttribute('aria-label') ?? ''} ${element.textContent}`.includes(text)) continue;
    element.scrollIntoView({ block: 'nearest' });
    const { x, y, width, height } = element.getBoundingClientRect();
    if (width > 0 && height > 0) return { x: Math.round(x + width / 2), y: Math.round(y + height / 2) };
  }
  return null;
}
