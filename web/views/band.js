// A chart of the last hour, or of as much of it as there is a record of: sessions by state, stacked, with marks for
// kills and for starts of the server. Dragging over it filters by a range of time.

import { withValues } from '../query.js';
import { el, setAttribute, svg } from '../lib/dom.js';
import { count, hourAndMinute, localMinute, plural } from '../lib/format.js';

const MINUTE = 60_000;
const HOUR = 3_600_000;
const WIDTH = 1000;
const HEIGHT = 44;
const STACK = ['stale', 'ending', 'running', 'idle', 'hidden'];

export class BandView {
  #dashboard;
  #stats;
  #layers;
  #marks;
  #brush;
  #tip;
  #drawn = null;
  #from = null;
  #end = 0;
  /** How much time the chart shows, in ms. */
  #span = HOUR;

  constructor(dashboard, stats) {
    this.#dashboard = dashboard;
    this.#stats = stats;
    this.#layers = STACK.map(state => svg('path', { class: `layer is-${state}` }));
    this.#marks = svg('g', { class: 'marks' });
    this.#brush = svg('rect', { class: 'brush', y: 0, height: HEIGHT, width: 0 });
    this.#tip = el('span', { class: 'tip', hidden: true });
    this.chart = svg(
      'svg',
      {
        viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
        preserveAspectRatio: 'none',
        role: 'img',
        'aria-label': 'Sessions by state in the last hour',
      },
      svg(
        'defs',
        {},
        svg(
          'pattern',
          { id: 'hatch', width: 5, height: 5, patternUnits: 'userSpaceOnUse', patternTransform: 'rotate(45)' },
          svg('rect', { class: 'hatch-ground', width: 5, height: 5 }),
          svg('rect', { class: 'hatch-line', width: 2, height: 5 }),
        ),
      ),
      ...this.#layers,
      this.#marks,
      this.#brush,
    );
    this.scale = el('div', { class: 'scale', 'aria-hidden': 'true' }, ...Array.from({ length: 5 }, () => el('span')));
    this.element = el('section', { class: 'band', 'aria-label': 'The last hour' }, this.chart, this.scale, this.#tip);
    this.chart.addEventListener('pointerdown', event => this.#start(event));
    this.chart.addEventListener('pointermove', event => this.#move(event));
    this.chart.addEventListener('pointerup', event => this.#stop(event));
    this.chart.addEventListener('pointerleave', () => {
      this.#tip.hidden = true;
    });
  }

  #time(event) {
    const box = this.chart.getBoundingClientRect();
    const share = Math.max(0, Math.min(1, (event.clientX - box.left) / box.width));
    return this.#end - this.#span + share * this.#span;
  }

  #x(time) {
    return ((time - this.#end + this.#span) / this.#span) * WIDTH;
  }

  #start(event) {
    if (event.button !== 0) return;
    this.#from = this.#time(event);
    this.chart.setPointerCapture(event.pointerId);
  }

  #move(event) {
    const time = this.#time(event);
    this.#point(event, time);
    if (this.#from === null) return;
    const [low, high] = [this.#from, time].sort((a, b) => a - b);
    this.#brush.setAttribute('x', this.#x(low));
    this.#brush.setAttribute('width', this.#x(high) - this.#x(low));
  }

  #point(event, time) {
    const { minutes } = this.#stats;
    if (minutes.length === 0) return;
    const nearest = minutes.reduce((best, minute) =>
      Math.abs(minute.time - time) < Math.abs(best.time - time) ? minute : best,
    );
    const near = Math.abs(nearest.time - time) < 90_000;
    const parts = near
      ? STACK.filter(state => nearest[state] > 0).map(state => `${count(nearest[state])} ${state}`)
      : ['no record'];
    if (near && nearest.ended > 0) parts.push(`${count(nearest.ended)} ended`);
    if (near && nearest.kills > 0) parts.push(plural(nearest.kills, 'kill'));
    this.#tip.hidden = false;
    this.#tip.textContent = `${hourAndMinute(time)}  ${parts.join(' · ') || 'nobody'}`;
    const box = this.chart.getBoundingClientRect();
    const left = Math.min(box.width - this.#tip.offsetWidth - 4, Math.max(4, event.clientX - box.left + 12));
    this.#tip.style.transform = `translateX(${left}px)`;
  }

  #stop(event) {
    if (this.#from === null) return;
    const [low, high] = [this.#from, this.#time(event)].sort((a, b) => a - b);
    this.#from = null;
    this.#brush.setAttribute('width', 0);
    const { view } = this.#dashboard;
    const key = view.page === 'live' ? 'started' : 'at';
    // A press without a drag removes the range.
    const values = high - low < 30_000 ? [] : [`${localMinute(low)}..${localMinute(high + 59_999)}`];
    this.#dashboard.show({ query: withValues(view.query, key, values) });
  }

  render(now) {
    if (this.#drawn === this.#stats.minutes) return;
    const { minutes, restarts } = this.#stats;
    this.#drawn = minutes;
    this.#end = Math.max(now, minutes.at(-1)?.time ?? 0);
    this.#span = this.#stats.chartSpan(this.#end);
    const highest = Math.max(1, ...minutes.map(minute => STACK.reduce((sum, state) => sum + minute[state], 0)));
    const floor = minutes.map(() => 0);
    STACK.forEach((state, layer) => {
      let path = '';
      minutes.forEach((minute, i) => {
        const value = minute[state];
        if (value === 0) return;
        const left = Math.max(0, this.#x(minute.time));
        // Each minute overlaps the next one a little, so that no thin line is seen between them.
        const right = Math.min(WIDTH, this.#x(Math.min(minute.time + MINUTE * 1.02, this.#end)));
        const low = HEIGHT - (floor[i] / highest) * (HEIGHT - 4);
        const high = HEIGHT - ((floor[i] + value) / highest) * (HEIGHT - 4);
        path += `M${left.toFixed(1)} ${low.toFixed(2)}V${high.toFixed(2)}H${right.toFixed(1)}V${low.toFixed(2)}Z`;
        floor[i] += value;
      });
      this.#layers[layer].setAttribute('d', path);
    });
    const mark = (time, kind, title) => {
      const x = this.#x(time);
      return svg(
        'path',
        { class: `mark is-${kind}`, d: `M${x.toFixed(1)} 0V${HEIGHT}`, 'vector-effect': 'non-scaling-stroke' },
        svg('title', { text: title }),
      );
    };
    const first = this.#end - this.#span;
    this.#marks.replaceChildren(
      ...minutes
        .filter(minute => minute.kills > 0 && minute.time > first)
        .map(minute =>
          mark(minute.time + MINUTE / 2, 'kill', `${plural(minute.kills, 'kill')}, ${hourAndMinute(minute.time)}`),
        ),
      ...restarts
        .filter(time => time > first)
        .map(time => mark(time, 'restart', `server started, ${hourAndMinute(time)}`)),
    );
    [...this.scale.children].forEach((tick, i) => {
      tick.textContent = i === 4 ? 'now' : hourAndMinute(first + (i * this.#span) / 4);
    });
    const last = minutes.at(-1);
    const span = this.#span === HOUR ? 'hour' : plural(this.#span / MINUTE, 'minute');
    setAttribute(this.element, 'aria-label', `The last ${span}`);
    if (last) {
      setAttribute(
        this.chart,
        'aria-label',
        `Sessions by state in the last ${span}, at most ${count(highest)} at once; now ${STACK.map(state => `${count(last[state])} ${state}`).join(', ')}`,
      );
    }
  }
}
