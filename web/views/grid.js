// A table of any length in which only the lines in view have elements. An element is bound to its line by a key: while
// the line is in view it keeps its element, and with it the focus and what is typed there. The line with the focus
// keeps its element out of view too.
//
// This is kept by hand because libraries for virtual tables need a framework or a build step, which this page does not
// have, or reuse the element that has the focus.

import { el, setAttribute } from '../lib/dom.js';
import { scrollFor, windowOf } from '../lib/virtual.js';

/**
 * @typedef {object} LineView
 * @property {HTMLTableRowElement} element
 * @property {(line: any, index: number) => void} fill shows a line
 */

export class Grid {
  #source;
  #views = new Map();
  #spare = new Map();
  #height = -1;
  #viewHeight = 0;
  #lineHeight = 36;
  #headHeight = 0;
  #measured = false;
  #columns = '';
  #scrollTop = 0;

  /**
   * @param {object} source
   * @param {string} source.label the name of the table for screen readers
   * @param {() => number} source.length
   * @param {(index: number) => any} source.lineAt
   * @param {(line: any) => number} source.indexOf its place now, -1 when it is not listed any more
   * @param {(line: any) => string|number} source.keyOf different for every line
   * @param {(line: any) => number} source.versionOf changes when the line looks different
   * @param {(line: any) => string} source.kindOf views are reused among lines of one kind
   * @param {(kind: string) => LineView} source.create
   * @param {() => void} source.changed called when scrolling or resizing needs a new frame
   */
  constructor(source) {
    this.#source = source;
    this.head = el('tr', { role: 'row', 'aria-rowindex': '1' });
    this.body = el('tbody', { role: 'rowgroup' });
    this.table = el(
      'table',
      { class: 'grid', role: 'grid', 'aria-label': source.label, 'aria-multiselectable': 'true' },
      el('thead', { role: 'rowgroup' }, this.head),
      this.body,
    );
    this.element = el('div', { class: 'scroller' }, this.table);
    // Read here, where it costs nothing. Read while drawing, it would force a layout in every frame.
    this.element.addEventListener(
      'scroll',
      () => {
        this.#scrollTop = this.element.scrollTop;
        source.changed();
      },
      { passive: true },
    );
    this.body.addEventListener('focusin', event => this.#focused(event));
    this.body.addEventListener('mousedown', event => this.#focusLine(event));
    new ResizeObserver(() => {
      this.#measured = false;
      source.changed();
    }).observe(this.element);
    /** The line that keys act on. */
    this.active = null;
    this.activeIndex = 0;
  }

  /** Sets the grid tracks of all lines. */
  setTracks(tracks) {
    this.table.style.setProperty('--tracks', tracks.join(' '));
    this.#measured = false;
  }

  #measure() {
    if (this.#measured) return;
    this.#viewHeight = this.element.clientHeight;
    this.#measured = this.#viewHeight > 0; // A hidden table has no sizes yet.
    this.#scrollTop = this.element.scrollTop;
    this.#headHeight = this.head.offsetHeight;
    this.#lineHeight = Number.parseFloat(getComputedStyle(this.element).getPropertyValue('--line')) || 36;
    this.#align();
  }

  /** Gives the places of the headings to the cells of all lines, so that no line needs a grid layout of its own. */
  #align() {
    const columns = [...this.head.children].map(cell => [cell.offsetLeft, cell.offsetWidth]);
    if (columns.join() === this.#columns) return;
    this.#columns = columns.join();
    columns.forEach(([left, width], i) => {
      this.table.style.setProperty(`--x${i + 1}`, `${left}px`);
      this.table.style.setProperty(`--w${i + 1}`, `${width}px`);
    });
  }

  /** Brings the lines in view up to date: all of them when `fresh`, else those that are new or changed. */
  render(fresh) {
    this.#measure();
    const length = this.#source.length();
    const lineHeight = this.#lineHeight;
    const range = windowOf({ length, lineHeight, scrollTop: this.#scrollTop, viewHeight: this.#viewHeight });
    if (range.height !== this.#height) {
      this.#height = range.height;
      this.body.style.height = `${range.height}px`;
    }
    setAttribute(this.table, 'aria-rowcount', length + 1);

    const wanted = new Map();
    for (let index = range.first; index < range.last; index += 1) {
      const line = this.#source.lineAt(index);
      if (line) wanted.set(this.#source.keyOf(line), { line, index });
    }
    const focusedKey = this.#release(wanted, lineHeight);
    for (const [key, { line, index }] of wanted) {
      let held = this.#views.get(key);
      if (!held) {
        held = this.#bind(key, this.#source.kindOf(line));
        this.#views.set(key, held);
      }
      this.#place(held, index, lineHeight);
      this.#fill(held, line, fresh);
    }
    // Hidden only now, since most released views were needed again at once.
    for (const views of this.#spare.values())
      for (const view of views) if (!view.element.hidden) view.element.hidden = true;
    // The focused line keeps its element out of view, so that typing and tabbing go on.
    if (focusedKey !== null) {
      const held = this.#views.get(focusedKey);
      this.#fill(held, held.line, fresh);
    }
    this.#rove(length);
  }

  /** Shows `line`, unless that is what it shows already. */
  #fill(held, line, fresh) {
    const version = this.#source.versionOf(line);
    const changed = held.line !== line || held.version !== version;
    held.line = line;
    held.version = version;
    if (fresh || changed) held.view.fill(line, held.index);
  }

  /** Releases the views of lines that left, except the focused one. Returns the key of that one, or null. */
  #release(wanted, lineHeight) {
    let focusedKey = null;
    const focused = this.body.contains(document.activeElement) ? document.activeElement.closest('tr') : null;
    for (const [key, held] of this.#views) {
      if (wanted.has(key)) continue;
      if (held.view.element === focused) {
        // Out of view it moves to its place. When it is no longer listed, its neighbour gets the focus.
        const index = this.#source.indexOf(held.line);
        if (index >= 0) {
          this.#place(held, index, lineHeight);
          focusedKey = key;
          continue;
        }
        this.#refocusAt = held.index;
      }
      this.#views.delete(key);
      const spare = this.#spare.get(held.kind);
      if (spare) spare.push(held.view);
      else this.#spare.set(held.kind, [held.view]);
    }
    return focusedKey;
  }

  #refocusAt = -1;

  #bind(key, kind) {
    let view = this.#spare.get(kind)?.pop();
    if (!view) {
      view = this.#source.create(kind);
      view.element.setAttribute('role', 'row');
      view.element.tabIndex = -1;
      this.body.append(view.element);
    }
    if (view.element.hidden) view.element.hidden = false;
    view.element.gridKey = key;
    view.element.toggleAttribute('data-active', key === this.active);
    return { view, kind, index: -1, top: -1, line: null, version: -1 };
  }

  #place(held, index, lineHeight) {
    if (held.index !== index) {
      held.index = index;
      held.view.element.setAttribute('aria-rowindex', index + 2);
    }
    const top = index * lineHeight;
    if (held.top !== top) {
      held.top = top;
      held.view.element.style.transform = `translateY(${top}px)`;
    }
  }

  /** Makes exactly one line reachable by Tab: the active one, else the first in view. */
  #rove(length) {
    if (this.#refocusAt >= 0) {
      const index = Math.min(this.#refocusAt, length - 1);
      this.#refocusAt = -1;
      if (index >= 0) this.focusIndex(index);
      else this.element.focus?.();
    }
    const active = this.active !== null ? this.#views.get(this.active) : undefined;
    if (active) this.activeIndex = active.index;
    let target = active;
    if (!target) {
      for (const held of this.#views.values()) if (!target || held.index < target.index) target = held;
    }
    for (const held of this.#views.values()) {
      const index = held === target ? 0 : -1;
      if (held.view.element.tabIndex !== index) {
        held.view.element.tabIndex = index;
        for (const control of held.view.element.querySelectorAll('button, input')) control.tabIndex = index;
      }
    }
  }

  #focused(event) {
    const key = event.target.closest('tr')?.gridKey;
    if (key !== undefined) this.#activate(key);
  }

  #activate(key) {
    const held = this.#views.get(key);
    if (!held) return;
    const before = this.active !== null ? this.#views.get(this.active) : null;
    before?.view.element.removeAttribute('data-active');
    this.active = key;
    this.activeIndex = held.index;
    held.view.element.setAttribute('data-active', '');
    this.#rove(this.#source.length());
  }

  #focusLine(event) {
    const line = event.target.closest('tr');
    if (line && !event.target.closest('button, input, a')) line.focus({ preventScroll: true });
  }

  /** The line with the focus, or that had it last and is still listed. */
  activeLine() {
    const held = this.active !== null ? this.#views.get(this.active) : null;
    if (held) return held.line;
    return this.activeIndex < this.#source.length() ? this.#source.lineAt(this.activeIndex) : null;
  }

  /** The line whose element contains `target`: what the user sees there, whatever happened since it was drawn. */
  lineOf(target) {
    return this.#views.get(target.closest('tr')?.gridKey)?.line ?? null;
  }

  /** The element that shows the line with `key`, if it is in view. */
  elementOf(key) {
    return this.#views.get(key)?.view ?? null;
  }

  /** Moves the focus to line `index`, scrolling as little as possible. */
  focusIndex(index) {
    const length = this.#source.length();
    if (length === 0) return;
    const at = Math.max(0, Math.min(length - 1, index));
    this.#measure();
    const viewHeight = this.#viewHeight - this.#headHeight;
    const scrollTop = scrollFor({ index: at, lineHeight: this.#lineHeight, scrollTop: this.#scrollTop, viewHeight });
    if (scrollTop !== this.#scrollTop) {
      this.element.scrollTop = scrollTop;
      this.#scrollTop = this.element.scrollTop;
    }
    this.render(false);
    const line = this.#source.lineAt(at);
    const held = line && this.#views.get(this.#source.keyOf(line));
    held?.view.element.focus({ preventScroll: true });
  }

  get pageLines() {
    return Math.max(1, Math.floor((this.#viewHeight - this.#headHeight) / this.#lineHeight) - 1);
  }

  /** Keys that move the focus. @returns {boolean} whether the key was one of them */
  move(key) {
    const step = { j: 1, ArrowDown: 1, k: -1, ArrowUp: -1, PageDown: this.pageLines, PageUp: -this.pageLines }[key];
    // The lines may have changed since they were drawn; the next line is the next of those listed now.
    if (step !== undefined) this.render(false);
    const inside = this.body.contains(document.activeElement);
    if (step !== undefined)
      this.focusIndex(inside ? this.activeIndex + step : this.active === null ? this.#firstSeen() : this.activeIndex);
    else if (inside && key === 'Home') this.focusIndex(0);
    else if (inside && key === 'End') this.focusIndex(this.#source.length() - 1);
    else return false;
    return true;
  }

  #firstSeen() {
    return Math.ceil(this.#scrollTop / this.#lineHeight);
  }

  /** Removes all elements of a table that is not shown. The next render makes them again. */
  clear() {
    for (const held of this.#views.values()) held.view.element.remove();
    for (const views of this.#spare.values()) for (const view of views) view.element.remove();
    this.#views.clear();
    this.#spare.clear();
    this.#measured = false;
  }
}
