// A chart of the last hour, or of as much of it as there is a record of, and of longer spans: sessions by state, stacked,
// with marks for kills and for starts of the server. Dragging over it filters by a range of time; a press opens the table
// as it was then.

import { valuesOf, withValues } from '../query.js';
import { el, setAttribute, svg } from '../lib/dom.js';
import { count, hourAndMinute, localMinute, plural } from '../lib/format.js';

const MINUTE = 60_000;
const HOUR = 3_600_000;
const WIDTH = 1000;
const HEIGHT = 44;
const DAY = 24 * HOUR;
/** The spans to choose from, and their names. */
const SPANS = { '1h': 'hour', '24h': '24 hours', '7d': '7 days', '30d': '30 days' };
const STACK = ['stale', 'ending', 'running', 'idle', 'hidden'];

export class BandView {
  #dashboard;
  #stats;
  #layers;
  #marks;
  #brush;
  #tip;
  #drawn = null;
  /** The line at the moment that is shown. */
  #hand;
  #handAt = null;
  #buttons;
  #from = null;
  #end = 0;
  /** How much time the chart shows, in ms. */
  #span = HOUR;

  constructor(dashboard, stats) {
    this.#dashboard = dashboard;
    this.#stats = stats;
    this.#layers = STACK.map(state => svg('path', { class: `layer is-${state}` }));
    this.#marks = svg('g', { class: 'marks' });
    this.#hand = svg('path', { class: 'mark is-hand', 'vector-effect': 'non-scaling-stroke' });
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
      this.#hand,
      this.#brush,
    );
    this.scale = el('div', { class: 'scale', 'aria-hidden': 'true' }, ...Array.from({ length: 5 }, () => el('span')));
    this.#buttons = Object.entries(SPANS).map(([key, words]) =>
      el('button', {
        type: 'button',
        class: 'link',
        text: key.replace(/(\d)([hd])/, '$1 $2'),
        title: `The last ${words}`,
        'aria-label': `${key.replace(/(\d)([hd])/, '$1 $2')}: show the last ${words}`,
        data: { span: key },
        on: { click: () => this.#stats.choose(key) },
      }),
    );
    const spans = el('span', { class: 'spans', role: 'group', 'aria-label': 'Span of the chart' }, ...this.#buttons);
    this.element = el(
      'section',
      { class: 'band', 'aria-label': 'The last hour' },
      this.chart,
      this.scale,
      spans,
      this.#tip,
    );
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
    const { minutes, step } = this.#shown();
    if (minutes.length === 0) return;
    const nearest = minutes.reduce((best, minute) =>
      Math.abs(minute.time + step / 2 - time) < Math.abs(best.time + step / 2 - time) ? minute : best,
    );
    const near = Math.abs(nearest.time + step / 2 - time) < step + 30_000;
    const parts = near
      ? STACK.filter(state => nearest[state] > 0).map(state => `${count(nearest[state])} ${state}`)
      : ['no record'];
    if (near && nearest.ended > 0) parts.push(`${count(nearest.ended)} ended`);
    if (near && nearest.kills > 0) parts.push(plural(nearest.kills, 'kill'));
    this.#tip.hidden = false;
    this.#tip.textContent = `${this.#clock(time)}  ${parts.join(' · ') || 'nobody'}`;
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
    const isPress = high - low < (this.#span / HOUR) * 30_000;
    const hasRange = valuesOf(view.query, view.page === 'live' ? 'started' : 'at').length > 0;
    if (isPress && view.page === 'live' && !hasRange) {
      this.#open(low, event.shiftKey);
      return;
    }
    const key = view.page === 'live' ? 'started' : 'at';
    // A press without a drag removes the range that there is.
    const values = isPress ? [] : [`${localMinute(low)}..${localMinute(high + 59_999)}`];
    this.#dashboard.show({ query: withValues(view.query, key, values) });
  }

  /** Shows the table as it was; a second press with shift compares it with the first moment. */
  #open(time, compare) {
    const { view } = this.#dashboard;
    const at = new Date(Math.min(time, this.#dashboard.liveNow())).toISOString();
    if (compare && view.at !== null) this.#dashboard.show({ versus: at });
    else this.#dashboard.show({ at, versus: null });
  }

  /** The counts that are shown: of the last hour, or of a longer span. */
  #shown() {
    const { long, minutes } = this.#stats;
    return long === null ? { minutes, step: MINUTE } : { minutes: long.minutes, step: long.step };
  }

  /** A time on the scale: with its day where the chart shows several. */
  #clock(time) {
    if (this.#span <= DAY) return hourAndMinute(time);
    const day = new Date(time).toLocaleDateString(undefined, { day: 'numeric', month: 'short' });
    return this.#span > 7 * DAY ? day : `${day} ${hourAndMinute(time)}`;
  }

  #renderHand() {
    const { past } = this.#dashboard;
    const key = past === null ? '' : `${past.at} ${past.since} ${this.#end} ${this.#span}`;
    if (key === this.#handAt) return;
    this.#handAt = key;
    const line = time => (time === null || time < this.#end - this.#span ? '' : `M${this.#x(time).toFixed(1)} 0V${HEIGHT}`);
    this.#hand.setAttribute('d', past === null ? '' : line(past.at) + line(past.since));
  }

  render(now) {
    this.#draw(now);
    this.#renderHand();
  }

  #draw(now) {
    const { minutes, step } = this.#shown();
    if (this.#drawn === minutes) return;
    const { restarts, long } = this.#stats;
    this.#drawn = minutes;
    this.#end = Math.max(now, minutes.at(-1)?.time ?? 0);
    this.#span = long === null ? this.#stats.chartSpan(this.#end) : long.span;
    for (const button of this.#buttons)
      setAttribute(button, 'aria-pressed', String(button.dataset.span === (long?.key ?? '1h')));
    const highest = Math.max(1, ...minutes.map(minute => STACK.reduce((sum, state) => sum + minute[state], 0)));
    const floor = minutes.map(() => 0);
    STACK.forEach((state, layer) => {
      let path = '';
      minutes.forEach((minute, i) => {
        const value = minute[state];
        if (value === 0) return;
        const left = Math.max(0, this.#x(minute.time));
        // Each minute overlaps the next one a little, so that no thin line is seen between them.
        const right = Math.min(WIDTH, this.#x(Math.min(minute.time + step * 1.02, this.#end)));
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
          mark(minute.time + step / 2, 'kill', `${plural(minute.kills, 'kill')}, ${this.#clock(minute.time)}`),
        ),
      ...restarts
        .filter(time => time > first)
        .map(time => mark(time, 'restart', `server started, ${this.#clock(time)}`)),
    );
    [...this.scale.children].forEach((tick, i) => {
      tick.textContent = i === 4 ? 'now' : this.#clock(first + (i * this.#span) / 4);
    });
    const last = minutes.at(-1);
    const span = long !== null ? SPANS[long.key] : this.#span === HOUR ? 'hour' : plural(this.#span / MINUTE, 'minute');
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
