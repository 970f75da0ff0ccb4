// The banner over a table of the past: of when it is, what differs, steps from event to event, and the way back.

import { eventText } from '../event-columns.js';
import { el, setAttribute, setText } from '../lib/dom.js';
import { count, localTime, printable, shortTime } from '../lib/format.js';

export class PastView {
  #dashboard;
  #past;
  #words;
  #note;
  #steps;
  #single;

  /**
   * @param {import('../dashboard.js').Dashboard} dashboard
   * @param {import('../past.js').Past} past
   * @param {(words: string) => void} say
   */
  constructor(dashboard, past, say) {
    this.#dashboard = dashboard;
    this.#past = past;
    this.#words = el('strong', { class: 'when', role: 'status' });
    this.#note = el('span', { class: 'soft what' });
    const button = (text, title, act) => el('button', { type: 'button', class: 'button', text, title, on: { click: act } });
    const step = async direction => {
      if (!(await past.step(direction))) say(direction > 0 ? 'That was the last event' : 'That was the first event');
    };
    this.step = step;
    this.#steps = [
      button('‹ event', 'The event before (←)', () => step(-1)),
      button('event ›', 'The next event (→)', () => step(1)),
    ];
    this.#single = button('Stop comparing', 'Show the later moment alone', () => this.#stop());
    this.element = el(
      'section',
      { class: 'past', 'aria-label': 'The past', hidden: true },
      this.#words,
      this.#note,
      el('span', { class: 'grow' }),
      ...this.#steps,
      this.#single,
      button('Back to now', 'The live table (Esc)', () => dashboard.show({ at: null, versus: null })),
    );
  }

  #stop() {
    const { past } = this.#dashboard;
    this.#dashboard.show({ at: past ? new Date(past.at).toISOString() : this.#dashboard.view.at, versus: null });
  }

  render() {
    const { past, view } = this.#dashboard;
    this.element.hidden = !this.#past.open || view.page !== 'live';
    if (this.element.hidden) return;
    setText(this.#words, this.#when(past));
    const exact = past && this.#past.error === null ? [past.since, past.at].filter(Boolean).map(localTime) : [];
    setAttribute(this.#words, 'title', exact.join(' to ') || null);
    setText(this.#note, past === null ? '' : this.#what(past));
    for (const step of this.#steps) {
      step.hidden = past === null || past.since !== null;
      step.disabled = this.#past.loading;
    }
    this.#single.hidden = past === null || past.since === null;
  }

  #when(past) {
    if (this.#past.error !== null) return `The past cannot be shown: ${this.#past.error}`;
    if (past === null) return 'Looking back…';
    const clock = time => shortTime(time, this.#dashboard.liveNow());
    if (past.since === null) return `As it was at ${clock(past.at)}`;
    return `What differs from ${clock(past.since)} to ${clock(past.at)}`;
  }

  #what(past) {
    const parts = [];
    if (past.counts !== null) {
      const { came, went, changed } = past.counts;
      parts.push(`${count(came)} came, ${count(went)} went, ${count(changed)} changed`);
    }
    const { event } = this.#past;
    if (event !== null && event.seq === past.seq) {
      const who = [event.user_id, event.app_name].filter(Boolean).map(printable).join(' in ');
      parts.push(`after: ${eventText('kind', event, past.at)}${who ? `, ${who}` : ''}`);
    }
    if (!past.complete) parts.push('an older version wrote the log: some sessions and fields may be missing');
    return parts.join(' · ');
  }
}
