// The second step of a kill in the details: why, and then the button that does it.

import { el } from '../../lib/dom.js';
import { lockSelect } from '../lock-select.js';

export class KillForm {
  #confirmed;

  /** @param {(reason: string, lockFor: string) => void} confirmed */
  constructor(confirmed) {
    this.#confirmed = confirmed;
    this.element = el('form', { class: 'armed', hidden: true });
  }

  /** @param {boolean} hasUser whether there is a user to keep out */
  show(hasUser) {
    const lockFor = hasUser ? lockSelect() : null;
    const reason = el('input', {
      class: 'reason',
      maxlength: '512',
      placeholder: 'Reason (optional)',
      'aria-label': 'Reason',
    });
    this.element.replaceChildren(
      reason,
      lockFor,
      el('button', { type: 'submit', class: 'danger', text: 'Kill now' }),
      el('button', { type: 'button', class: 'quiet', text: 'Cancel', on: { click: () => this.hide() } }),
    );
    this.element.onsubmit = event => {
      event.preventDefault();
      this.#confirmed(reason.value.trim(), lockFor?.value ?? '');
      this.hide();
    };
    this.element.hidden = false;
    reason.focus();
  }

  hide() {
    this.element.hidden = true;
    this.element.replaceChildren();
  }
}
