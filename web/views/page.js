// The whole page: its views, its keys, and what is drawn when.

import { COLUMNS, cellValue } from '../columns.js';
import { rules } from '../commands.js';
import { EVENT_COLUMNS, EVENT_PAGES, eventValue } from '../event-columns.js';
import { History } from '../history.js';
import { csv } from '../lib/csv.js';
import { download, el, isTyping } from '../lib/dom.js';
import { count } from '../lib/format.js';
import { Locks } from '../locks.js';
import { Past } from '../past.js';
import { Alerts } from '../alerts.js';
import { Servers } from '../servers.js';
import { Stats } from '../stats.js';
import { Announcer } from './announcer.js';
import { BandView } from './band.js';
import { BulkView } from './bulk.js';
import { showHelp } from './dialogs/help.js';
import { askKill } from './dialogs/kill.js';
import { askMessage } from './dialogs/message.js';
import { showLocks } from './dialogs/locks.js';
import { showRules } from './dialogs/rules.js';
import { showAlerts } from './dialogs/alerts.js';
import { showServers } from './dialogs/servers.js';
import { DrawerView } from './drawer.js';
import { EmptyView } from './empty.js';
import { FacetsView } from './facets.js';
import { FilterBarView } from './filterbar.js';
import { HeaderView } from './header.js';
import { HistoryView } from './history.js';
import { LoginView } from './login.js';
import { NumbersView } from './numbers.js';
import { OutcomesView } from './outcomes.js';
import { PastView } from './past.js';
import { TableView } from './table.js';

/** How often counts are drawn, in ms. Nobody can read them faster. */
const COUNTS_EVERY = 200;
/** The page is dimmed when the connection has been lost for this long, in ms. */
const DIM_AFTER = 1500;

export class Page {
  #dashboard;
  #stats;
  #history = new History();
  #servers = new Servers();
  #locks = new Locks();
  /** Whether the server has rules; a page that is limited to some apps is not told. */
  #hasRules = false;
  #alerts = new Alerts();
  #past;
  #second = -1;
  #counted = { at: -COUNTS_EVERY, key: '', timer: 0 };
  #changed;

  /**
   * @param {import('../dashboard.js').Dashboard} dashboard
   * @param {{ changed: () => void, retry: () => void, login: (token: string) => Promise<void> }} wires
   */
  constructor(dashboard, wires) {
    this.#dashboard = dashboard;
    this.#changed = wires.changed;
    this.#stats = new Stats(dashboard.fed);
    const server = new URL('.', document.baseURI).href.replace(/\/$/, '');
    this.announcer = new Announcer(dashboard);
    const say = words => this.announcer.say(words);
    const page = {
      changed: wires.changed,
      retry: wires.retry,
      say,
      help: () => showHelp(page),
      servers: () => showServers(dashboard, this.#servers),
      locks: () => showLocks(dashboard, this.#locks, page),
      rules: () => showRules(dashboard),
      hasRules: () => this.#hasRules,
      alerts: () => showAlerts(dashboard, this.#alerts),
      anyAlerts: () => this.#alerts.any,
      open: id => dashboard.show({ session: id }),
      focusRow: id => dashboard.view.page === 'live' && this.table.focusRow(id),
      killMany: target => askKill(dashboard, target, page),
      message: target => askMessage(dashboard, target, page),
      csv: () => this.#csv(),
      historyWords: () => this.historyView.words(),
      unknownInHistory: () => this.#history.unknown,
    };
    this.page = page;
    this.header = new HeaderView(dashboard, page);
    this.numbers = new NumbersView(dashboard, this.#stats);
    this.band = new BandView(dashboard, this.#stats);
    this.#past = new Past(dashboard);
    this.past = new PastView(dashboard, this.#past, say);
    this.filterBar = new FilterBarView(dashboard, page);
    this.facets = new FacetsView(dashboard, page);
    this.table = new TableView(dashboard, page);
    this.historyView = new HistoryView(dashboard, this.#history, page);
    this.bulk = new BulkView(dashboard, page);
    this.outcomes = new OutcomesView(dashboard, page);
    this.drawer = new DrawerView(dashboard, page, server);
    this.empty = new EmptyView(server, say);
    this.login = new LoginView(wires.login);

    this.main = el(
      'main',
      {},
      this.numbers.element,
      this.band.element,
      this.past.element,
      this.filterBar.element,
      el(
        'div',
        { class: 'middle' },
        this.facets.element,
        this.table.element,
        this.historyView.element,
        this.empty.element,
        this.drawer.element,
      ),
      this.bulk.element,
    );
    document.body.append(
      this.header.element,
      this.main,
      this.login.element,
      this.outcomes.element,
      this.announcer.element,
      this.announcer.toast,
    );

    this.#stats.addEventListener('change', wires.changed);
    this.#past.addEventListener('change', wires.changed);
    this.#servers.addEventListener('change', () => dashboard.setSeveral(this.#servers.several));
    dashboard.addEventListener('whole', () => {
      this.#stats.refresh();
      this.#servers.refresh();
      this.#askRules();
      this.#alerts.refresh();
    });
    this.#alerts.addEventListener('change', wires.changed);
    dashboard.addEventListener('nodes', () => this.#servers.refresh());
    // A hint may have been missed while there was no connection.
    for (const news of ['hello', 'hint:locks']) dashboard.addEventListener(news, () => this.#locks.refresh());
    this.#locks.addEventListener('change', () => {
      dashboard.locks = this.#locks.list;
      wires.changed();
    });
    for (const news of ['selection', 'kills', 'hold']) dashboard.addEventListener(news, wires.changed);
    document.addEventListener('keydown', event => this.#key(event));
  }

  async #askRules() {
    try {
      const told = await rules();
      this.#hasRules = told.rules.length > 0 || told.refused !== null;
      this.#changed();
    } catch {
      // The list of the rules tells why, when it is opened.
    }
  }

  #key(event) {
    if (
      event.defaultPrevented ||
      event.ctrlKey ||
      event.metaKey ||
      event.altKey ||
      document.querySelector('dialog[open]')
    )
      return;
    if (isTyping(event.target)) return;
    const table = this.#dashboard.view.page === 'live' ? this.table : this.historyView;
    // Buttons and links handle these keys themselves.
    const onControl = event.target.closest?.('button, a, select, summary') && [' ', 'Enter'].includes(event.key);
    if (onControl) return;
    switch (event.key) {
      case '/':
        this.filterBar.focus();
        break;
      case '?':
        this.page.help();
        break;
      case 't':
        this.header.nextTheme();
        break;
      case ' ':
        this.header.togglePause();
        break;
      case '.':
        this.#dashboard.catchUp();
        this.page.changed();
        break;
      case 'ArrowLeft':
      case 'ArrowRight':
        if (this.#dashboard.past === null || this.#dashboard.past.since !== null || table.onGroup()) {
          if (!table.key(event)) return;
          this.page.changed();
        } else this.past.step(event.key === 'ArrowRight' ? 1 : -1);
        break;
      case 'Escape':
        if (!this.#escape()) return;
        break;
      default:
        if (this.drawer.element.contains(event.target) || !table.key(event)) return;
        this.page.changed();
    }
    event.preventDefault();
  }

  /** One step back for each press: closes the details, clears the selection, leaves the table. */
  #escape() {
    if (this.drawer.isOpen) this.drawer.close();
    else if (this.#dashboard.selection.size > 0) this.#dashboard.clearSelection();
    else if (this.#past.open) this.#dashboard.show({ at: null, versus: null });
    else if (document.activeElement !== document.body) document.activeElement.blur();
    else return false;
    return true;
  }

  #csv() {
    const dashboard = this.#dashboard;
    const now = dashboard.now();
    // In the past the file bears its time.
    const stamp = new Date(now).toISOString().slice(0, 19).replaceAll(':', '');
    const { page } = dashboard.view;
    if (page === 'live') {
      const { columns } = dashboard;
      const { order, length } = dashboard.ordering;
      const rows = Array.from(order.subarray(0, length), slot => dashboard.store.slots[slot]);
      download(
        `sessions-${stamp}.csv`,
        csv(
          columns.map(key => COLUMNS[key].title),
          rows.map(row => columns.map(key => cellValue(COLUMNS[key], row, now))),
        ),
      );
      this.announcer.say(`${count(rows.length)} rows saved as CSV`);
      return;
    }
    const { columns } = EVENT_PAGES[page];
    const { events } = this.#history;
    download(
      `${page === 'ended' ? 'ended-sessions' : 'audit-log'}-${stamp}.csv`,
      csv(
        columns.map(key => EVENT_COLUMNS[key].title),
        events.map(event => columns.map(key => eventValue(key, event, now))),
      ),
    );
    this.announcer.say(`${count(events.length)} rows saved as CSV`);
  }

  /** Updates the counts of this minute, once a second. */
  #carryStats(now) {
    const second = Math.floor(now / 1000);
    if (second === this.#second || !this.#dashboard.live) return;
    this.#second = second;
    this.#stats.advance(now);
  }

  render(now) {
    const dashboard = this.#dashboard;
    const { view, line, store } = dashboard;
    const denied = line.state === 'denied';
    this.login.show(denied);
    this.main.hidden = denied;
    document.documentElement.classList.toggle('wall', view.wall);
    const lost = line.lostAt > 0 && Date.now() - line.lostAt > DIM_AFTER;
    this.main.classList.toggle('dimmed', lost && !dashboard.live);
    this.announcer.render();
    const due = this.#countsDue();
    if (due) this.header.render();
    if (denied) return;
    const live = dashboard.liveNow();
    this.#carryStats(live);
    if (due) this.numbers.render();
    this.band.render(live);
    this.past.render();
    if (due || view.page !== 'live') this.filterBar.render();
    this.#middle(now, view, store, due);
    this.bulk.render(now);
    this.outcomes.render(live);
    this.drawer.render(now);
    this.#title();
  }

  /** Whether to draw the counts: at once after an action of the user, else every COUNTS_EVERY ms. */
  #countsDue() {
    const { viewVersion, line, store, paused, server } = this.#dashboard;
    const counted = this.#counted;
    const key = [viewVersion, line.state, store.whole, paused, server.role, server.epoch].join();
    const wait = counted.at + COUNTS_EVERY - performance.now();
    if (key === counted.key && wait > 0) {
      counted.timer ||= setTimeout(() => {
        counted.timer = 0;
        this.#changed();
      }, wait);
      return false;
    }
    counted.key = key;
    counted.at = performance.now();
    return true;
  }

  #middle(now, view, store, due) {
    const dashboard = this.#dashboard;
    const live = view.page === 'live';
    const nobody = live && !this.#past.open && store.whole && store.rows.size === 0;
    this.empty.element.hidden = !nobody || view.wall;
    this.table.element.hidden = !live || (nobody && !view.wall);
    this.facets.element.hidden = !live || nobody;
    this.historyView.element.hidden = live;
    if (live) {
      this.table.render(now);
      if (due) this.facets.render(now);
    } else {
      this.#history.show(view.page, view.query);
      this.#history.refresh(dashboard.fed.seq);
      this.historyView.render(now);
    }
    if (live !== this.wasLive) {
      // The table that is not shown keeps no elements.
      if (live) this.historyView.grid.clear();
      else {
        this.table.grid.clear();
        dashboard.hold(false);
      }
      this.wasLive = live;
    }
  }

  #title() {
    const { counts } = this.#dashboard.fed;
    const title = counts.stale > 0 ? `(${counts.stale} stale) sessionwatch` : 'sessionwatch';
    if (document.title !== title) document.title = title;
  }
}
