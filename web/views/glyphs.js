// Shows a state by a shape, a word and a colour, never by colour alone. CSS draws the shape by its class.

import { el, setText } from '../lib/dom.js';

/** Makes a badge of shape and word; `show` changes it. */
export function stateBadge() {
  const shape = el('span', { class: 'shape', 'aria-hidden': 'true' });
  const word = el('span', { class: 'word' });
  const element = el('span', { class: 'state' }, shape, word);
  let shown = '';
  return {
    element,
    show(state, text) {
      if (shown !== state) {
        element.className = `state is-${state}`;
        shown = state;
      }
      setText(word, text);
    },
  };
}

/** The shape alone, for legends and numbers. */
export const shape = state => el('span', { class: `shape is-${state}`, 'aria-hidden': 'true' });

const strips = new Map();

/** A strip of beats as a CSS image: one cell for each of `.`, `0` and `1`. */
export function stripImage(strip) {
  let image = strips.get(strip);
  if (image === undefined) {
    const colour = { 1: 'var(--beat)', 0: 'var(--missed)', '.': 'var(--unknown)' };
    const cell = 100 / strip.length;
    const stops = [...strip].flatMap((beat, i) => [
      `${colour[beat]} ${i * cell}% ${(i + 0.72) * cell}%`,
      `transparent ${(i + 0.72) * cell}% ${(i + 1) * cell}%`,
    ]);
    image = `linear-gradient(to right, ${stops.join(', ')})`;
    strips.set(strip, image);
  }
  return image;
}
