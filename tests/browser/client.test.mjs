// The browser client in real Chromium against a real server: kills, messages and several tabs, as the page sees them.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, describe, test } from 'node:test';
import { WebSocketServer } from 'ws';
import { api, launchBrowser, servePages, startServer } from './support.mjs';
import { TERMINATED, history, inState, kill, openSession, session, sessionPage, sessions, until } from './client-pages.mjs';

const LIMIT = { timeout: 60_000 };

let server, browser, app;

before(async () => {
  [server, browser] = await Promise.all([startServer(['--kill-grace', '3s']), launchBrowser()]);
  app = await servePages({
    '/': sessionPage(server, `userId: 'ana', meta: { env: 'test' }`),
    '/notice': sessionPage(server, 'notice: true'),
    '/own-id': sessionPage(server, `id: 'given-by-the-app'`),
    '/own-id-twice': sessionPage(server, `id: 'given-to-two'`),
    '/own-sockets': sessionPage(server, 'sockets: globalThis.feeds = new Set()'),
    '/other': '<!doctype html>elsewhere',
  });
});

after(async () => {
  await browser?.close();
  await Promise.all([app?.close(), server?.stop()]);
});

/** Runs `work` with a browser context of its own, so that tests can run side by side. */
const withContext = work => async t => {
  const context = await browser.newContext();
  try { await work(context, t); } finally { await context.close(); }
};

const gone = id => until(`${id} is removed`, async () => !(await session(server, id)));

describe('in a page', { concurrency: 4 }, () => {
  test('the session, its task and its status are on the server as the page says them', LIMIT, withContext(async context => {
    const page = await openSession(context, app.url);
    const row = () => session(server, page.sessionId);
    const registered = await row();
    assert.deepEqual(
      [registered.app_name, registered.user_id, registered.meta, registered.status, registered.connected, registered.visibility],
      ['reports', 'ana', { env: 'test' }, 'idle', true, 'visible'],
    );
    assert.match(registered.client, /^js\//);
    await page.evaluate(() => {
      globalThis.finished = session.task('Q4 report', () => new Promise(resolve => { globalThis.finish = resolve; }));
    });
    await until('it runs', async () => (await row()).current_task === 'Q4 report' && (await row()).status === 'running');
    assert.equal(await page.evaluate(() => { finish('done'); return finished; }), 'done');
    await until('it is idle', async () => (await row()).current_task === null && (await row()).status === 'idle');
    await page.evaluate(() => session.setMeta({ env: 'other' }));
    await until('the tags are new', async () => (await row()).meta.env === 'other');
    await page.evaluate(() => session.end());
    await gone(page.sessionId);
  }));

  test('a kill ends the task and the socket with 1001, and nothing reconnects in the 10 s after', LIMIT, withContext(async context => {
    const page = await openSession(context, app.url);
    await page.evaluate(() => {
      globalThis.seen = [];
      session.addEventListener('kill', ({ reason, by }) => seen.push(['kill', reason, by]));
      session.task('Q4 report', ({ signal }) => new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason))))
        .catch(error => seen.push(['task', error.name]));
    });
    await kill(server, page.sessionId, 'maintenance');
    await page.waitForFunction(() => closes.length === 1);
    assert.deepEqual(await page.evaluate(() => [closes[0], seen]), [
      [1001, TERMINATED], [['kill', 'maintenance', 'root'], ['task', 'AbortError']],
    ]);
    await gone(page.sessionId);
    // All that usually makes it connect again:
    await page.evaluate(() => {
      session.reconnect();
      session.setStatus('running');
      dispatchEvent(new Event('online'));
      document.dispatchEvent(new Event('visibilitychange'));
      dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }));
    });
    await page.waitForTimeout(10_000);
    assert.deepEqual(await page.evaluate(() => [sockets.length, session.state]), [1, 'killed']);
    const events = await history(server, page.sessionId);
    assert.deepEqual(events.map(({ kind }) => kind).filter(kind => kind !== 'status_changed'),
      ['registered', 'kill_requested', 'kill_delivered', 'kill_acknowledged', 'removed']);
    assert.equal(events.at(-1).cause, 'killed');
  }));

  test('waitUntil is honoured: the acknowledgement comes when the work is done', LIMIT, withContext(async context => {
    const page = await openSession(context, app.url);
    await page.evaluate(() => {
      session.addEventListener('kill', event => event.waitUntil(new Promise(resolve => { globalThis.saved = resolve; })));
    });
    await kill(server, page.sessionId);
    await page.waitForFunction(() => globalThis.saved);
    const { kill: steps } = await until('it is delivered', async () => {
      const row = await session(server, page.sessionId);
      return row.kill.delivered_at && row;
    });
    assert.equal(steps.acknowledged_at, null);
    await page.evaluate(() => saved());
    await page.waitForFunction(() => closes.length === 1);
    assert.deepEqual(await page.evaluate(() => closes[0]), [1001, TERMINATED]);
    await gone(page.sessionId);
    assert.ok((await history(server, page.sessionId)).some(({ kind }) => kind === 'kill_acknowledged'));
  }));

  test('waitUntil is cut at the grace', LIMIT, withContext(async context => {
    const page = await openSession(context, app.url);
    await page.evaluate(() => {
      session.addEventListener('kill', event => {
        globalThis.killedAt = performance.now();
        event.waitUntil(new Promise(() => {}));
      });
      sockets[0].addEventListener('close', () => { globalThis.closedAt = performance.now(); });
    });
    await kill(server, page.sessionId);
    await page.waitForFunction(() => globalThis.closedAt);
    const [took, close] = await page.evaluate(() => [closedAt - killedAt, closes[0]]);
    assert.deepEqual(close, [1001, TERMINATED]);
    assert.ok(took >= 2900 && took < 6000, `${took} ms for a grace of 3000`);
    await gone(page.sessionId);
  }));

  test('the app\'s own sockets are closed with 4001', LIMIT, withContext(async context => {
    const page = await openSession(context, `${app.url}/own-sockets`);
    // The app's own socket is a real one too: here the socket of another session, opened by the app itself.
    const closed = await page.evaluate(url => new Promise(resolve => {
      const feed = new WebSocket(`${url}/ws/client`, ['sessionwatch.v1']);
      feed.onopen = () => feed.send('{"type":"register","app_name":"feed"}');
      feed.onmessage = () => resolve(null);
      feed.onclose = ({ code, reason }) => { globalThis.feedClosed = true; resolve([code, reason]); };
      feeds.add(feed);
      feed.close = new Proxy(feed.close, {
        apply(close, self, args) { globalThis.closedWith = args; return Reflect.apply(close, self, args); },
      });
    }), server.url.replace('http', 'ws'));
    assert.equal(closed, null);
    await kill(server, page.sessionId);
    await page.waitForFunction(() => globalThis.feedClosed && closes.length);
    assert.deepEqual(await page.evaluate(() => closedWith), [4001, TERMINATED]);
  }));

  test('a killed id stays killed: a page that loads anew with it is refused for good', LIMIT, withContext(async context => {
    const page = await openSession(context, `${app.url}/own-id`);
    assert.equal(page.sessionId, 'given-by-the-app');
    await kill(server, page.sessionId, 'enough');
    await page.waitForFunction(() => closes.length === 1);
    await gone(page.sessionId);
    await page.reload();
    await inState(page, 'killed');
    assert.equal(await page.evaluate(() => session.ready.then(() => 'ready', error => error.name)), 'AbortError');
    await page.waitForFunction(() => closes.length === 1);
    assert.deepEqual(await page.evaluate(() => closes), [[1001, TERMINATED]]);
    assert.equal(await session(server, page.sessionId), undefined);
  }));

  test('an id that another tab has already becomes one of its own', LIMIT, withContext(async context => {
    const pages = await Promise.all([1, 2].map(() => openSession(context, `${app.url}/own-id-twice`)));
    const ids = pages.map(page => page.sessionId);
    assert.equal(new Set(ids).size, 2);
    assert.ok(ids.includes('given-to-two'));
    assert.deepEqual(await Promise.all(pages.map(page => page.evaluate(() => sockets.length))), [1, 1]);
  }));

  test('a session that is deleted on the server is ended, and does not come back', LIMIT, withContext(async context => {
    const page = await openSession(context, app.url);
    await api(server.url, 'DELETE', `/sessions/${page.sessionId}`);
    await inState(page, 'ended');
    assert.equal(await page.evaluate(() => sockets.length), 1);
  }));

  test('a reload of a session that was not killed is a new session in its place', LIMIT, withContext(async context => {
    const page = await openSession(context, app.url);
    const before = page.sessionId;
    await page.reload();
    const id = await page.evaluate(() => session.ready.then(({ id }) => id));
    assert.notEqual(id, before);
    await gone(before);
    assert.equal((await history(server, before)).at(-1).cause, 'ended');
  }));

  test('two tabs and a duplicated one are three rows, and killing one leaves two', LIMIT, withContext(async context => {
    const [first, second] = [await openSession(context, app.url), await openSession(context, app.url)];
    // A duplicated tab shares the storage of the first, as does one that it opens.
    const [third] = await Promise.all([context.waitForEvent('page'), first.evaluate(() => { open(location.href); })]);
    third.sessionId = await third.evaluate(() => session.ready.then(({ id }) => id)).catch(async () => {
      await third.waitForFunction(() => globalThis.session);
      return third.evaluate(() => session.ready.then(({ id }) => id));
    });
    const ids = [first, second, third].map(page => page.sessionId);
    assert.equal(new Set(ids).size, 3);
    const present = async () => (await sessions(server)).map(({ session_id }) => session_id).filter(id => ids.includes(id));
    assert.equal((await present()).length, 3);
    assert.deepEqual(await first.evaluate(() => [localStorage.length, sessionStorage.length, document.cookie]), [0, 0, '']);
    await kill(server, ids[0]);
    await gone(ids[0]);
    assert.deepEqual((await present()).sort(), ids.slice(1).sort());
    assert.deepEqual(await Promise.all([second, third].map(page => page.evaluate(() => session.state))), ['online', 'online']);
    await context.close();
    await Promise.all(ids.slice(1).map(gone));
  }));

  test('a message reaches the page without ending anything, and its sender hears that it did', LIMIT, withContext(async context => {
    const page = await openSession(context, `${app.url}/notice`);
    await page.evaluate(() => {
      session.addEventListener('message', ({ text, level, by }) => { globalThis.heard = { text, level, by }; });
    });
    const answer = await api(server.url, 'POST', `/sessions/${page.sessionId}/message`,
      { text: 'Back at <b>nine</b>', level: 'warning', by: 'root' });
    assert.deepEqual([answer.sent, answer.unreachable], [1, 0]);
    assert.equal(answer.deliveries[0].session_id, page.sessionId);
    assert.match(answer.deliveries[0].delivered_at, /^\d{4}-/);
    assert.deepEqual(await page.evaluate(() => heard), { text: 'Back at <b>nine</b>', level: 'warning', by: 'root' });
    const notice = page.getByRole('alert');
    assert.equal(await notice.textContent(), 'Back at <b>nine</b>');
    await notice.click();
    await notice.waitFor({ state: 'detached' });
    assert.equal((await session(server, page.sessionId)).connected, true);
    await kill(server, page.sessionId, 'see you');
    await notice.waitFor();
    assert.equal(await notice.textContent(), `${TERMINATED}: see you`);
    await notice.click();
    assert.equal(await notice.isVisible(), true);
  }));

  test('a lock is shown with its reason until it is over, and the session registers again', LIMIT, withContext(async context => {
    // The contract's lock, from a WebSocket server that does only this.
    const gate = new WebSocketServer({ port: 0, host: '127.0.0.1', handleProtocols: () => 'sessionwatch.v1' });
    await once(gate, 'listening');
    let locked = true;
    gate.on('connection', socket => socket.on('message', text => {
      if (JSON.parse(text).type !== 'register') return;
      if (locked) {
        const until = new Date(Date.now() + 3_600_000);
        socket.send(JSON.stringify({ type: 'error', status: 423, detail: 'locked', reason: 'year-end close', until }));
        socket.close(4423, 'year-end close');
      } else
        socket.send(JSON.stringify({ type: 'registered', session_id: 's', session_token: 't', heartbeat_interval: 30, resumed: false }));
    }));
    const site = await servePages({ '/': sessionPage(server, `notice: true, server: 'http://127.0.0.1:${gate.address().port}'`) });
    try {
      const page = await context.newPage();
      await page.goto(site.url);
      await inState(page, 'locked');
      const notice = page.getByRole('alert');
      await notice.filter({ hasText: /^Locked until .*: year-end close$/ }).waitFor();
      // The network coming back is no reason to try before the lock is over.
      await page.evaluate(() => { dispatchEvent(new Event('online')); });
      assert.equal(await page.evaluate(() => sockets.length), 1);
      locked = false;
      await page.evaluate(() => session.reconnect());
      await inState(page, 'online');
      await notice.waitFor({ state: 'detached' });
    } finally {
      for (const socket of gate.clients) socket.terminate();
      gate.close();
      await site.close();
    }
  }));
});
