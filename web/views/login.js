// The login form, for a server that asks for a token. The token is sent once and not kept by the page.

import { el } from '../lib/dom.js';

export class LoginView {
  /**
   * @param {(token: string) => Promise<void>} login rejects with a message for the user
   */
  constructor(login) {
    this.field = el('input', {
      type: 'password',
      id: 'token',
      autocomplete: 'current-password',
      required: true,
      spellcheck: 'false',
    });
    this.error = el('p', { class: 'error', role: 'alert' });
    const button = el('button', { type: 'submit', class: 'primary', text: 'Sign in' });
    const form = el(
      'form',
      {},
      el('h2', { text: 'Sign in' }),
      el('p', {
        class: 'soft',
        text: 'Paste the admin or view token, or open the link that the server printed at its start.',
      }),
      el('label', { class: 'field' }, el('span', { text: 'Token' }), this.field),
      this.error,
      el('div', { class: 'buttons' }, button),
    );
    form.addEventListener('submit', async event => {
      event.preventDefault();
      button.disabled = true;
      this.error.textContent = '';
      try {
        await login(this.field.value.trim());
        this.field.value = '';
      } catch (error) {
        this.error.textContent = error.message;
        this.field.select();
      } finally {
        button.disabled = false;
      }
    });
    this.element = el('section', { class: 'login', role: 'main', hidden: true }, form);
  }

  show(wanted) {
    if (this.element.hidden === !wanted) return;
    this.element.hidden = !wanted;
    if (wanted) this.field.focus();
  }
}
