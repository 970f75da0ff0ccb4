// The number of sessions in each state, with a line of the last hour. A press filters by the state.

import { toggled, valuesOf } from '../query.js';
import { el, setAttribute, setText, svg } from '../lib/dom.js';
import { count } from '../lib/format.js';
import { STATES } from '../states.js';
import { shape } from './glyphs.js';

const TITLES = {
  idle: 'Idle',
  running: 'Running',
  hidden: 'Hidden',
  stale: 'Stale',
  ending: 'Ending',
  ended: 'Ended 24 h',
};
const WIDTH = 96;
const HEIGHT = 22;

export class NumbersView {
  #dashboard;
  #stats;
  #tiles;
  #drawn = null;

  constructor(dashboard, stats) {
    this.#dashboard = dashboard;
    this.#stats = stats;
    this.#tiles = [...STATES, 'ended'].map(state => this.#tile(state));
    this.element = el(
      'section',
      { class: 'numbers', 'aria-label': 'Sessions by state' },
      ...this.#tiles.map(tile => tile.element),
    );
  }

  #tile(state) {
    const number = el('span', { class: 'count' });
    const line = svg('path', { class: 'line' });
    const area = svg('path', { class: 'area' });
    const element = el(
      'button',
      { type: 'button', class: `tile is-${state}`, on: { click: () => this.#press(state) } },
      el('span', { class: 'name' }, shape(state), el('span', { text: TITLES[state] })),
      number,
      svg(
        'svg',
        { class: 'spark', viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', 'aria-hidden': 'true' },
        area,
        line,
      ),
    );
    return { state, element, number, line, area };
  }

  #press(state) {
    const dashboard = this.#dashboard;
    if (state === 'ended') dashboard.show({ page: dashboard.view.page === 'ended' ? 'live' : 'ended', query: '' });
    else if (dashboard.view.page !== 'live') dashboard.show({ page: 'live', query: toggled('', 'status', state) });
    else dashboard.show({ query: toggled(dashboard.view.query, 'status', state) });
  }

  render() {
    const dashboard = this.#dashboard;
    const chosen = dashboard.view.page === 'live' ? valuesOf(dashboard.view.query, 'status') : [];
    for (const { state, element, number } of this.#tiles) {
      const value = state === 'ended' ? this.#stats.endedIn24h : dashboard.store.counts[state];
      setText(number, value === null ? '–' : count(value));
      setAttribute(
        element,
        'aria-pressed',
        String(state === 'ended' ? dashboard.view.page === 'ended' : chosen.includes(state)),
      );
      element.classList.toggle('none', value === 0);
    }
    if (this.#drawn !== this.#stats.minutes) {
      this.#drawn = this.#stats.minutes;
      const end = this.#drawn.at(-1)?.time ?? 0;
      for (const tile of this.#tiles) draw(tile, this.#drawn, this.#stats.chartSpan(end));
    }
  }
}

/** The last `span` ms as a line over a soft area; a gap where the server was down. */
function draw({ state, line, area }, minutes, span) {
  if (minutes.length < 2) return; // A line needs two minutes.
  const end = minutes[minutes.length - 1].time;
  const x = time => WIDTH - ((end - time) / span) * WIDTH;
  const highest = Math.max(1, ...minutes.map(minute => minute[state]));
  const y = value => HEIGHT - 1.5 - (value / highest) * (HEIGHT - 4);
  let path = '';
  let soft = '';
  let before = null;
  for (const minute of minutes) {
    const joined = before && minute.time - before.time < 90_000;
    const point = `${x(minute.time).toFixed(1)} ${y(minute[state]).toFixed(1)}`;
    if (joined) {
      path += `L${point}`;
      soft += `L${point}`;
    } else {
      if (before) soft += `V${HEIGHT}Z`;
      path += `M${point}`;
      soft += `M${x(minute.time).toFixed(1)} ${HEIGHT}L${point}`;
    }
    before = minute;
  }
  line.setAttribute('d', path);
  area.setAttribute('d', `${soft}V${HEIGHT}Z`);
}
