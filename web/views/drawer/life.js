// The life of a session as its events tell it: the lane of its states, the steps of its kill, its tasks.

import { life, stepText } from '../../event-columns.js';
import { el, svg } from '../../lib/dom.js';
import { elapsed, localTime, plural, printable, shortTime } from '../../lib/format.js';

const WIDTH = 400;
/** The newest tasks that are listed. */
const TASKS = 12;

export class LifeView {
  constructor() {
    this.lane = el('div', { class: 'lane' });
    this.steps = el('ol', { class: 'steps-list' });
    this.tasks = el('table', { class: 'small' });
  }

  /**
   * @param {object[]} events of the session, oldest first, at least one
   * @param {number} now
   * @param {boolean} changed whether there are other events than before; without that only a running life is drawn anew
   * @returns {boolean} whether there are tasks to show
   */
  render(events, now, changed) {
    const told = life(events, now);
    if (changed || !told.ended) this.lane.replaceChildren(drawing(told), scale(told, now));
    this.steps.replaceChildren(...told.steps.map(step => el('li', { text: stepText(step), title: localTime(step.at) })));
    this.steps.hidden = told.steps.length === 0;
    this.tasks.replaceChildren(el('tbody', {}, ...told.tasks.slice(-TASKS).reverse().map(task => taskLine(task, now))));
    return told.tasks.length > 0;
  }
}

function drawing(told) {
  const whole = Math.max(1, told.end - told.start);
  const x = time => ((time - told.start) / whole) * WIDTH;
  return svg(
    'svg',
    { viewBox: `0 0 ${WIDTH} 20`, preserveAspectRatio: 'none', role: 'img', 'aria-label': laneWords(told) },
    ...told.spans.map(span =>
      svg(
        'rect',
        {
          class: `layer is-${span.state}`,
          x: x(span.from).toFixed(2),
          y: 2,
          height: 16,
          width: Math.max(0.6, x(span.to) - x(span.from)).toFixed(2),
        },
        svg('title', {
          text: `${span.state}${span.task ? `: ${printable(span.task)}` : ''}, ${elapsed(span.to - span.from)}`,
        }),
      ),
    ),
    ...told.steps.map(step =>
      svg(
        'path',
        { class: 'mark is-kill', d: `M${x(step.at).toFixed(1)} 0V20`, 'vector-effect': 'non-scaling-stroke' },
        svg('title', { text: stepText(step) }),
      ),
    ),
  );
}

const scale = (told, now) =>
  el(
    'div',
    { class: 'scale', 'aria-hidden': 'true' },
    el('span', { text: shortTime(told.start, now) }),
    el('span', { text: told.ended ? shortTime(told.end, now) : 'now' }),
  );

const taskLine = (task, now) =>
  el(
    'tr',
    {},
    el('td', {}, el('bdi', { text: printable(task.name) })),
    el('td', { class: 'time', text: shortTime(task.from, now) }),
    el('td', { class: 'right', text: `${elapsed(task.to - task.from)}${task.open ? ' …' : ''}` }),
  );

function laneWords(told) {
  const sums = new Map();
  for (const span of told.spans) sums.set(span.state, (sums.get(span.state) ?? 0) + span.to - span.from);
  return `${told.ended ? 'Ended' : 'Going on'}: ${[...sums].map(([state, span]) => `${state} for ${elapsed(span)}`).join(', ')}; ${plural(told.tasks.length, 'task')}`;
}
