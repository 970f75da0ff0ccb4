// The top line: pages, the badge with the state of the connection, pause, theme, help, role.

import { el, setAttribute, setText, svg } from '../lib/dom.js';
import { timeOfDay, took } from '../lib/format.js';
import { recall, remember } from '../lib/remember.js';

const THEMES = ['system', 'light', 'dark'];

// Drawn, since few fonts have these signs.
const ICONS = {
  pause: 'M5 3h2v10H5zM9 3h2v10H9z',
  play: 'M5 3l8 5-8 5z',
  system: 'M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2zm0 1.5v9a4.5 4.5 0 0 1 0-9z',
  light:
    'M8 5a3 3 0 1 0 0 6 3 3 0 0 0 0-6zM7.4 1h1.2v2.4H7.4zM7.4 12.6h1.2V15H7.4zM1 7.4h2.4v1.2H1zM12.6 7.4H15v1.2h-2.4zM2.6 3.5l.9-.9 1.7 1.7-.9.9zM10.8 11.7l.9-.9 1.7 1.7-.9.9zM12.5 2.6l.9.9-1.7 1.7-.9-.9zM4.3 10.8l.9.9-1.7 1.7-.9-.9z',
  dark: 'M9.5 2A6 6 0 1 0 14 10.300A5 5 0 0 1 9.500 2z',
};
const icon = name =>
  svg(
    'svg',
    { class: 'icon', viewBox: '0 0 16 16', 'aria-hidden': 'true' },
    svg('path', { d: ICONS[name], 'fill-rule': 'evenodd' }),
  );

export class HeaderView {
  #dashboard;
  #page;
  #badge;
  #word;
  #pause;
  #theme;
  #role;
  #servers;
  #locks;
  #rules;
  #alerts;
  #pages;
  #shown = '';
  #paused = null;

  constructor(dashboard, page) {
    this.#dashboard = dashboard;
    this.#page = page;
    this.#word = el('span', { class: 'word' });
    this.#badge = el(
      'button',
      { type: 'button', class: 'badge', on: { click: () => page.retry() } },
      el('span', { class: 'dot', 'aria-hidden': 'true' }),
      this.#word,
    );
    this.#pause = el('button', {
      type: 'button',
      class: 'tool',
      title: 'Hold the rows still (space)',
      on: { click: () => this.togglePause() },
    });
    this.#theme = el('button', { type: 'button', class: 'tool', on: { click: () => this.nextTheme() } });
    this.#alerts = el('button', {
      type: 'button',
      class: 'tool alerts',
      text: 'Alerts',
      title: 'What was told to whom',
      hidden: true,
      on: { click: () => page.alerts() },
    });
    this.#servers = el('button', {
      type: 'button',
      class: 'tool servers',
      text: 'Servers',
      title: 'The servers that share the database',
      hidden: true,
      on: { click: () => page.servers() },
    });
    this.#locks = el('button', { type: 'button', class: 'tool locks', title: 'Who cannot register', on: { click: () => page.locks() } });
    this.#rules = el('button', {
      type: 'button',
      class: 'tool servers',
      text: 'Rules',
      title: 'What the server does by itself',
      hidden: true,
      on: { click: () => page.rules() },
    });
    this.#role = el('span', { class: 'role', hidden: true });
    this.#pages = [
      ['live', 'Live'],
      ['ended', 'Ended'],
      ['log', 'Audit log'],
    ].map(([key, text]) =>
      el('button', {
        type: 'button',
        class: 'tab',
        data: { page: key },
        text,
        on: { click: () => dashboard.show({ page: key, query: this.#carried(key) }) },
      }),
    );
    this.element = el(
      'header',
      { class: 'top' },
      el('h1', {}, el('span', { class: 'mark', 'aria-hidden': 'true' }), el('span', { text: 'sessionwatch' })),
      el('nav', { class: 'tabs', 'aria-label': 'Pages' }, ...this.#pages),
      el('span', { class: 'grow' }),
      this.#locks,
      this.#alerts,
      this.#servers,
      this.#rules,
      this.#badge,
      this.#pause,
      this.#theme,
      el('button', {
        type: 'button',
        class: 'tool help',
        text: '?',
        title: 'Keys and filters (?)',
        'aria-label': 'Help',
        on: { click: () => page.help() },
      }),
      this.#role,
    );
    this.#applyTheme(recall('theme', 'system'));
  }

  /** The filter for another page: kept between the two pages of the log, dropped between them and the live page. */
  #carried(key) {
    const { page, query } = this.#dashboard.view;
    return (page === 'live') === (key === 'live') ? query : '';
  }

  togglePause() {
    const dashboard = this.#dashboard;
    dashboard.pause(!dashboard.paused);
    this.#page.changed();
    this.#page.say(dashboard.paused ? 'Paused: rows hold still' : 'Going on');
  }

  nextTheme() {
    const now = recall('theme', 'system');
    const next = THEMES[(THEMES.indexOf(now) + 1) % THEMES.length];
    remember('theme', next === 'system' ? null : next);
    this.#applyTheme(next);
    this.#page.say(`Theme: ${next}`);
  }

  #applyTheme(theme) {
    if (theme === 'system') delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    this.#theme.replaceChildren(icon(theme));
    setAttribute(this.#theme, 'title', `Theme: ${theme} (t)`);
    setAttribute(this.#theme, 'aria-label', `Theme: ${theme}`);
  }

  render() {
    const dashboard = this.#dashboard;
    const { state, text, title } = badgeOf(dashboard);
    if (this.#shown !== state) {
      this.#shown = state;
      this.#badge.className = `badge is-${state}`;
    }
    setText(this.#word, text);
    setAttribute(this.#badge, 'title', title);
    if (this.#paused !== dashboard.paused) {
      this.#paused = dashboard.paused;
      this.#pause.replaceChildren(icon(dashboard.paused ? 'play' : 'pause'));
    }
    setAttribute(this.#pause, 'aria-pressed', String(dashboard.paused));
    setAttribute(this.#pause, 'aria-label', dashboard.paused ? 'Go on' : 'Pause');
    this.#servers.hidden = !dashboard.several;
    setText(this.#locks, dashboard.locks.length > 0 ? `Locks ${dashboard.locks.length}` : 'Locks');
    this.#rules.hidden = !this.#page.hasRules();
    this.#alerts.hidden = !this.#page.anyAlerts();
    this.#role.hidden = dashboard.server.epoch === null;
    setText(this.#role, dashboard.server.role);
    for (const tab of this.#pages)
      setAttribute(tab, 'aria-current', dashboard.view.page === tab.dataset.page ? 'page' : null);
  }
}

/** The text of the badge, from the state of the connection and of the store. */
export function badgeOf(dashboard, now = Date.now()) {
  const { line, store } = dashboard;
  const asOf = dashboard.freshest ? `as of ${timeOfDay(dashboard.freshest)}` : '';
  if (line.state === 'denied') return { state: 'lost', text: 'Not signed in', title: 'The server wants a login' };
  if (line.state === 'waiting') {
    const seconds = Math.max(1, Math.ceil((line.retryAt - now) / 1000));
    return {
      state: 'lost',
      text: `Reconnecting in ${seconds} s${asOf ? ` · ${asOf}` : ''}`,
      title: 'The server cannot be reached. Press to try now.',
    };
  }
  if (line.state === 'connecting')
    return { state: 'lost', text: asOf ? `Reconnecting… · ${asOf}` : 'Connecting…', title: '' };
  if (!store.whole) {
    const { part, parts } = store.loading;
    return {
      state: 'loading',
      text: parts > 1 ? `Loading ${Math.floor((part / parts) * 100)} %` : 'Loading…',
      title: 'The server sends all sessions',
    };
  }
  const delay = dashboard.delay === null ? '' : ` ${took(dashboard.delay)}`;
  return {
    state: dashboard.paused ? 'paused' : 'live',
    text: `${dashboard.paused ? 'Paused' : 'Live'}${delay}`,
    title:
      dashboard.delay === null
        ? 'Connected; nothing has changed yet'
        : `The last change reached this page ${took(dashboard.delay)} after the server sent it`,
  };
}
