// What an empty server shows: how to register the first session.

import { joining } from '../snippets.js';
import { copy, el } from '../lib/dom.js';

export class EmptyView {
  constructor(server, say) {
    this.element = el(
      'section',
      { class: 'empty', hidden: true },
      el('h2', { text: 'No sessions yet' }),
      el('p', {
        class: 'soft',
        text: 'This turns into the table as soon as the first session registers. Paste one of these into an app or a terminal:',
      }),
      ...joining(server).map(({ name, code }) =>
        el(
          'figure',
          {},
          el(
            'figcaption',
            {},
            el('span', { text: name }),
            copyButton(() => code, say, name),
          ),
          el('pre', { tabindex: '0', 'aria-label': `${name} snippet` }, el('code', { text: code })),
        ),
      ),
    );
  }
}

/** A button that copies what `text()` returns. */
export function copyButton(text, say, what = '') {
  const button = el('button', {
    type: 'button',
    class: 'button copy',
    text: 'Copy',
    'aria-label': what ? `Copy ${what}` : 'Copy',
  });
  button.addEventListener('click', async () => {
    const done = await copy(text());
    button.textContent = done ? 'Copied' : 'Not copied';
    say(done ? `${what || 'Text'} copied` : 'The browser refused to copy');
    setTimeout(() => {
      button.textContent = 'Copy';
    }, 1500);
  });
  return button;
}
