// The second step of a kill in the details: why, and then the button that does it.

import { el } from '../../lib/dom.js';

export class KillForm {
  #confirmed;

  /** @param {(reason: string) => void} confirmed */
  constructor(confirmed) {
    this.#confirmed = confirmed;
    this.element = el('form', { class: 'armed', hidden: true });
  }

  show() {
    const reason = el('input', {
      class: 'reason',
      maxlength: '512',
      placeholder: 'Reason (optional)',
      'aria-label': 'Reason',
    });
    this.element.replaceChildren(
      reason,
      el('button', { type: 'submit', class: 'danger', text: 'Kill now' }),
      el('button', { type: 'button', class: 'quiet', text: 'Cancel', on: { click: () => this.hide() } }),
    );
    this.element.onsubmit = event => {
      event.preventDefault();
      this.#confirmed(reason.value.trim());
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
