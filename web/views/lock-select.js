// How long the user of a session is kept out after a kill: a choice beside the reason.

import { el } from '../lib/dom.js';
import { LOCK_FOR } from '../locks.js';

export const lockSelect = () =>
  el(
    'select',
    { class: 'lock-for', 'aria-label': 'Keep out for', title: 'Keep the user out of the app' },
    ...LOCK_FOR.map(([value, text]) => el('option', { value, text: value === '' ? 'keep out for…' : text })),
  );
