// The life of a session from its events: its states over time, the steps of its kill, its tasks.

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
   * @param {boolean} changed whether there are new events; without them only the life of a live session is drawn again
   * @returns {boolean} whether there are tasks to show
   */
  render(events, now, changed) {
    const timeline = life(events, now);
    if (changed || !timeline.ended) this.lane.replaceChildren(drawing(timeline), scale(timeline, now));
    this.steps.replaceChildren(
      ...timeline.steps.map(step => el('li', { text: stepText(step), title: localTime(step.at) })),
    );
    this.steps.hidden = timeline.steps.length === 0;
    this.tasks.replaceChildren(
      el(
        'tbody',
        {},
        ...timeline.tasks
          .slice(-TASKS)
          .reverse()
          .map(task => taskLine(task, now)),
      ),
    );
    return timeline.tasks.length > 0;
  }
}

function drawing(timeline) {
  const whole = Math.max(1, timeline.end - timeline.start);
  const x = time => ((time - timeline.start) / whole) * WIDTH;
  return svg(
    'svg',
    { viewBox: `0 0 ${WIDTH} 20`, preserveAspectRatio: 'none', role: 'img', 'aria-label': laneWords(timeline) },
    ...timeline.spans.map(span =>
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
    ...timeline.steps.map(step =>
      svg(
        'path',
        { class: 'mark is-kill', d: `M${x(step.at).toFixed(1)} 0V20`, 'vector-effect': 'non-scaling-stroke' },
        svg('title', { text: stepText(step) }),
      ),
    ),
  );
}

const scale = (timeline, now) =>
  el(
    'div',
    { class: 'scale', 'aria-hidden': 'true' },
    el('span', { text: shortTime(timeline.start, now) }),
    el('span', { text: timeline.ended ? shortTime(timeline.end, now) : 'now' }),
  );

const taskLine = (task, now) =>
  el(
    'tr',
    {},
    el('td', {}, el('bdi', { text: printable(task.name) })),
    el('td', { class: 'time', text: shortTime(task.from, now) }),
    el('td', { class: 'right', text: `${elapsed(task.to - task.from)}${task.open ? ' …' : ''}` }),
  );

function laneWords(timeline) {
  const sums = new Map();
  for (const span of timeline.spans) sums.set(span.state, (sums.get(span.state) ?? 0) + span.to - span.from);
  return `${timeline.ended ? 'Ended' : 'Going on'}: ${[...sums].map(([state, span]) => `${state} for ${elapsed(span)}`).join(', ')}; ${plural(timeline.tasks.length, 'task')}`;
}
