// A small menu at a place of the window. Arrow keys move in it; Escape and a press elsewhere close it, and the focus
// goes back where it was.

import { el } from '../lib/dom.js';

let open = null;

/**
 * @param {{ text: string, act: () => void, keys?: string, danger?: boolean, checked?: boolean }[]} items an
 *   item with `checked` is a choice, which leaves the menu open
 * @param {{ left: number, bottom: number, right?: number }} place in px of the window
 * @param {HTMLElement|null} back where the focus goes afterwards
 */
export function menu(items, place, back) {
  open?.();
  const buttons = items.map(item => {
    const button = el(
      'button',
      {
        type: 'button',
        tabindex: '-1',
        class: item.danger ? 'danger-text' : '',
        role: item.checked === undefined ? 'menuitem' : 'menuitemcheckbox',
        'aria-checked': item.checked === undefined ? null : String(item.checked),
      },
      el('bdi', { text: item.text }),
      item.keys && el('kbd', { text: item.keys }),
    );
    button.addEventListener('click', () => {
      if (item.checked === undefined) close(true);
      else button.setAttribute('aria-checked', String(button.getAttribute('aria-checked') !== 'true'));
      item.act();
    });
    return button;
  });
  const element = el('div', { class: 'menu', role: 'menu' }, ...buttons);
  (document.querySelector('main') ?? document.body).append(element);
  const { width, height } = element.getBoundingClientRect();
  element.style.left = `${Math.max(4, Math.min(place.left, innerWidth - width - 4))}px`;
  element.style.top = `${Math.max(4, Math.min(place.bottom, innerHeight - height - 4))}px`;

  const close = focus => {
    if (open !== close) return;
    open = null;
    element.remove();
    removeEventListener('pointerdown', outside, true);
    removeEventListener('blur', away);
    if (focus && back?.isConnected) back.focus({ preventScroll: true });
  };
  const outside = event => {
    if (!element.contains(event.target)) close(false);
  };
  const away = () => close(false);
  open = close;
  addEventListener('pointerdown', outside, true);
  addEventListener('blur', away);
  element.addEventListener('contextmenu', event => event.preventDefault());
  element.addEventListener('keydown', event => {
    const at = buttons.indexOf(document.activeElement);
    const to = { ArrowDown: at + 1, j: at + 1, ArrowUp: at - 1, k: at - 1, Home: 0, End: buttons.length - 1 }[
      event.key
    ];
    if (to !== undefined) buttons[(to + buttons.length) % buttons.length].focus();
    else if (event.key === 'Escape' || event.key === 'Tab') close(true);
    else if (event.key !== 'Enter' && event.key !== ' ') return;
    event.stopPropagation();
    if (event.key !== 'Enter' && event.key !== ' ') event.preventDefault();
  });
  buttons[0]?.focus({ preventScroll: true });
}
