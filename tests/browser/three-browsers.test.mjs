// The core of the dashboard and of the browser client in Chromium, Firefox and WebKit: the same scenarios over three
// drivers (`drivers/`). The other files here test details and large numbers in Chromium alone.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { api, servePages, startServer } from './support.mjs';
import { TERMINATED, history, session, sessionPage, sessions, until, wire } from './client-pages.mjs';
import { population, startCrowd } from './dashboard-support.mjs';
import * as chromium from './drivers/chromium.mjs';
import * as firefox from './drivers/firefox.mjs';
import { Tab } from './drivers/tab.mjs';
import * as webkit from './drivers/webkit.mjs';

const LIMIT = { timeout: 120_000 };
const MANY = 5_000;

const kinds = async (server, id) =>
  (await history(server, id)).map(({ kind }) => kind).filter(kind => kind !== 'status_changed');

const gone = (server, id) => until(`${id} is removed`, async () => !(await session(server, id)), 30_000);

for (const [name, { launch }] of Object.entries({ Chromium: chromium, Firefox: firefox, WebKit: webkit }))
  describe(name, () => {
    let browser;

    before(async () => {
      browser = await launch();
      console.log(`# ${browser.name}`);
    });
    after(() => browser?.close());

    /** Starts a server for the test, stopped after it. */
    async function serve(t, args, options) {
      const server = await startServer(args, options);
      t.after(() => server.stop());
      return server;
    }

    /** Opens a page, closed after the test. */
    async function open(t, url) {
      const tab = await Tab.open(browser, url);
      t.after(() => tab.driver.close().catch(() => {}));
      return tab;
    }

    describe('the dashboard', () => {
      const register = (server, fields) => api(server.url, 'POST', '/sessions', { app_name: 'shop', ...fields });

      test('loads, and follows what happens without a reload', LIMIT, async t => {
        const server = await serve(t);
        const tab = await open(t, server.url);
        await tab.isLive();
        await tab.sees('.empty', 'No sessions yet');
        const ana = await register(server, { user_id: 'ana' });
        await tab.showsUsers('ana');
        await register(server, { user_id: 'bob', status: 'running', current_task: 'Q4 report' });
        await tab.showsUsers('bob', 'ana');
        await tab.sees('td[data-column=task]', 'Q4 report');
        await tab.sees('.matches', '2 sessions');
        await api(server.url, 'DELETE', `/sessions/${ana.session_id}`);
        await tab.sees('tr.row.is-ended', 'ana');
        await tab.sees('.matches', '1 session');
      });

      test('gets its frames in the cheapest form that the browser can read', LIMIT, async t => {
        const server = await serve(t, ['--allow-host', '127.0.0.1']);
        const line = await wire(server);
        t.after(() => line.close());
        const tab = await open(t, line.url);
        await tab.isLive();
        const { session_id: id } = await register(server, { user_id: 'ana' });
        await tab.showsUsers('ana');
        await api(server.url, 'PUT', `/sessions/${id}/status`, { status: 'running', current_task: 'Q4 report' });
        await tab.sees('td[data-column=task]', 'Q4 report');
        const inflates = await tab.ask(() => {
          try {
            return Boolean(new DecompressionStream('deflate-raw'));
          } catch {
            return false;
          }
        });
        console.log(`# ${browser.name}: ${line.protocols}`);
        assert.deepEqual(line.protocols, [inflates ? 'sessionwatch.v1.patch.z' : 'sessionwatch.v1.patch']);
      });

      test('filters by the keyboard and by a press, and the address says how', LIMIT, async t => {
        const server = await serve(t);
        for (const [app_name, user_id, status] of [['risk', 'ana', 'running'], ['risk', 'bob'], ['shop', 'eve', 'running']])
          await register(server, { app_name, user_id, ...(status && { status }) });
        const tab = await open(t, server.url);
        await tab.isLive();
        await tab.driver.press('/');
        await tab.driver.type('app:risk');
        await tab.driver.press('Enter');
        await tab.showsUsers('ana', 'bob');
        await tab.click('.numbers .tile', 'Running');
        await tab.showsUsers('ana');
        await tab.sees('.matches', '1 of 3');
        assert.equal(await tab.ask(() => new URL(location.href).searchParams.get('q')), 'app:risk status:running');
        await tab.driver.reload();
        await tab.isLive();
        await tab.showsUsers('ana');
        await tab.click('.clear');
        await tab.showsUsers('eve', 'ana', 'bob');
      });

      test('shows the same sessions again after the server was killed and started, by a resume', LIMIT, async t => {
        const first = await startServer();
        const { db, port } = first;
        t.after(() => first.stop());
        await register(first, { user_id: 'ana' });
        const tab = await open(t, first.url);
        await tab.showsUsers('ana');
        await first.kill9();
        await tab.sees('.badge.is-lost', 'Reconnecting');
        await tab.sees('main.dimmed');
        await tab.showsUsers('ana');
        assert.equal(await tab.ask(() => document.querySelector('tr.row:not([hidden]) .kill').disabled), true);
        const second = await serve(t, [], { db, listen: `127.0.0.1:${port}` });
        await tab.isLive();
        await register(second, { user_id: 'bob' });
        await tab.showsUsers('bob', 'ana');
        await tab.seesNo('main.dimmed');
      });

      test('asks for a token where the server is strict, and lets a viewer look', LIMIT, async t => {
        const server = await serve(t, ['--strict']);
        const { tokens } = JSON.parse(readFileSync(`${server.db}.tokens`, 'utf8'));
        const secret = role => tokens.find(token => token.role === role).token;
        await api(server.url, 'POST', '/sessions', { app_name: 'risk', user_id: 'ana' },
          { authorization: `Bearer ${secret('ingest')}` });
        const tab = await open(t, server.url);
        await tab.click('#token');
        await tab.driver.type('not-a-token');
        await tab.driver.press('Enter');
        await tab.sees('.login .error', 'token');
        await tab.ask(() => { document.querySelector('#token').value = ''; });
        await tab.driver.type(secret('view'));
        await tab.click('.login button', 'Sign in');
        await tab.isLive();
        await tab.showsUsers('ana');
        await tab.sees('.role', 'view');
        await tab.seesNo('tr.row .kill');
      });

      test('holds 5,000 sessions that change all the time, of which only those in view are elements', LIMIT, async t => {
        const server = await serve(t);
        const crowd = startCrowd(server);
        t.after(() => crowd.stop());
        await crowd.tell({ register: population(MANY) });
        await crowd.tell({ change: 200 });
        const tab = await open(t, `${server.url}/?sort=id&columns=id,state,user,task`);
        await tab.sees('.matches', '5,000 sessions');
        await tab.sees('td[data-column=id]', 'p-000000');
        await tab.ask(() => {
          const scroller = document.querySelector('.table-view:not(.history) .scroller');
          scroller.scrollTop = scroller.scrollHeight;
        });
        await tab.sees('td[data-column=id]', 'p-004999');
        assert.ok(await tab.ask(() => document.querySelectorAll('*').length) < 1500);
        await crowd.tell({ change: 0 });
        // After the last change the rows in view are those of the server.
        await until('the rows in view are the server\'s', async () => {
          const truth = new Map((await sessions(server)).map(row => [row.session_id, row.current_task ?? '']));
          const rows = await tab.ask(() => [...document.querySelectorAll('tbody tr.row:not([hidden])')]
            .map(row => ['id', 'task'].map(key => row.querySelector(`[data-column=${key}]`).textContent)));
          return rows.length > 10 && rows.every(([id, task]) => truth.get(id) === task);
        }, 30_000);
      });
    });

    describe('the client', () => {
      let server, app;

      before(async () => {
        server = await startServer();
        app = await servePages({
          '/': sessionPage(server, `userId: 'ana', notice: true`),
          '/other': '<!doctype html><title>other</title>elsewhere',
        });
      });
      after(() => Promise.all([app?.close(), server?.stop()]));

      /** Opens an app's page and waits until its session is online. */
      async function openApp(t) {
        const tab = await open(t, app.url);
        tab.id = await tab.until('the session is online', () => globalThis.session?.ready.then(({ id }) => id));
        return tab;
      }

      test('registers, and says its task and its status', LIMIT, async t => {
        const tab = await openApp(t);
        const row = () => session(server, tab.id);
        const { app_name, user_id, connected, visibility, status } = await row();
        assert.deepEqual([app_name, user_id, connected, visibility, status], ['reports', 'ana', true, 'visible', 'idle']);
        await tab.ask(() => {
          session.task('Q4 report', () => new Promise(resolve => { globalThis.finish = resolve; }));
        });
        await until('it runs', async () => (await row()).current_task === 'Q4 report' && (await row()).status === 'running');
        await tab.ask(() => finish());
        await until('it is idle', async () => (await row()).current_task === null && (await row()).status === 'idle');
      });

      test('is killed from the dashboard: its task stops, its socket closes with 1001, it does not come back', LIMIT, async t => {
        const tab = await openApp(t);
        await tab.ask(() => {
          globalThis.stopped = null;
          session.task('Q4 report', ({ signal }) =>
            new Promise(resolve => signal.addEventListener('abort', () => { stopped = signal.reason.message; resolve(); })));
        });
        const dashboard = await open(t, `${server.url}/?q=task:Q4`);
        await dashboard.showsUsers('ana');
        await dashboard.click('tr.row .kill');
        await dashboard.sees('tr.row .reason');
        await dashboard.driver.type('maintenance');
        await dashboard.click('tr.row .danger', 'Kill now');
        await dashboard.sees('.outcomes', '1 of 1 kill done');
        await gone(server, tab.id);
        await tab.until('the socket is closed', () => closes.length === 1);
        assert.deepEqual(await tab.ask(() => [closes[0], stopped, session.state, sockets.length]),
          [[1001, TERMINATED], TERMINATED, 'killed', 1]);
        await tab.sees('[role=alert]', `${TERMINATED}: maintenance`);
        await tab.ask(() => { session.reconnect(); dispatchEvent(new Event('online')); });
        assert.deepEqual(await kinds(server, tab.id),
          ['registered', 'kill_requested', 'kill_delivered', 'kill_acknowledged', 'removed']);
        assert.equal(await tab.ask(() => sockets.length), 1);
      });

      test('shows a message and acknowledges it', LIMIT, async t => {
        const tab = await openApp(t);
        const { deliveries } = await api(server.url, 'POST', `/sessions/${tab.id}/message`, { text: 'Back at <b>nine</b>' });
        assert.match(deliveries[0].delivered_at, /^\d{4}-/);
        await tab.click('[role=alert]', 'Back at <b>nine</b>');
        await tab.seesNo('[role=alert]');
        assert.equal((await session(server, tab.id)).connected, true);
      });

      test('is the same session after the back-forward cache, or a new one where the page was not kept', LIMIT, async t => {
        const tab = await openApp(t);
        await tab.ask(() => {
          session.startTask('Q4 report');
          globalThis.same = true;
          addEventListener('pagehide', ({ persisted }) => { sessionStorage.kept = persisted; });
        });
        await tab.driver.goto(`${app.url}/other`);
        const kept = await tab.ask(() => sessionStorage.kept) === 'true';
        // Firefox does not keep a page that has an open socket when it is left.
        if (name !== 'Firefox') assert.equal(kept, true);
        await (kept
          ? until('it is suspended', async () => (await session(server, tab.id))?.visibility === 'suspended')
          : gone(server, tab.id));
        await tab.driver.back();
        await tab.until('it is online', () => globalThis.session?.state === 'online');
        const id = await tab.ask(() => session.id);
        const back = await until('it is connected', async () => {
          const row = await session(server, id);
          return row?.connected && row.visibility === 'visible' && row;
        });
        assert.equal(await tab.ask(() => globalThis.same === true), kept);
        if (kept) {
          assert.deepEqual([id, back.current_task], [tab.id, 'Q4 report']);
          assert.deepEqual(await kinds(server, id), ['registered']);
        } else {
          assert.notEqual(id, tab.id);
          assert.equal((await history(server, tab.id)).at(-1).cause, 'ended');
        }
      });

      test('ends its session when its tab is closed', LIMIT, async t => {
        const tab = await openApp(t);
        await tab.driver.close();
        // Firefox may destroy the page before its `pagehide` handler has run: then the server goes by the socket's close
        // code.
        await until('it is removed', async () => !(await session(server, tab.id)), 30_000);
        assert.equal((await history(server, tab.id)).at(-1).cause, 'ended');
      });
    });
  });
