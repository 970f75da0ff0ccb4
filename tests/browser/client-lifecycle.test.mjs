// The browser client while its page is hidden, frozen, in the back-forward cache or closed, and while the network or
// the server is away.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { servePages, startServer } from './support.mjs';
import { history, inState, launchPlainBrowser, openSession, reached, session, sessionPage, until, wire } from './client-pages.mjs';

// A session is stale after 4 s instead of 2 minutes, so that the tests are short. `wire` has another port, so requests
// through it come with another Host.
const LIMITS = ['--heartbeat-interval', '1s', '--stale-after', '4s', '--expire-after', '60s', '--allow-host', '127.0.0.1'];
const LIMIT = { timeout: 60_000 };

let server, browser, app;

before(async () => {
  server = await startServer(LIMITS);
  // The timers of a hidden page are throttled after one second instead of five minutes.
  browser = await launchPlainBrowser(['--enable-features=IntensiveWakeUpThrottling:grace_period_seconds/1']);
  app = await servePages({
    '/': sessionPage(server),
    '/other': '<!doctype html><title>other</title>elsewhere',
  });
});

after(async () => {
  await browser?.close();
  await Promise.all([app?.close(), server?.stop()]);
});

const row = page => session(server, page.sessionId);
const kinds = async id => (await history(server, id)).map(({ kind }) => kind);

// Not at the same time: it matters which tab is in front.
describe('the page', () => {
  test('hidden for long, with its timers throttled, it is shown as hidden and never stale', LIMIT, async () => {
    const page = await openSession(browser.context, app.url);
    await page.evaluate(() => { globalThis.ticks = 0; setInterval(() => ticks++, 50); });
    const front = await browser.context.newPage();
    await front.goto(`${app.url}/other`);
    await front.bringToFront();
    await until('it is hidden', async () => (await row(page)).visibility === 'hidden');
    await page.evaluate(() => { ticks = 0; });
    // 2.5 times the time until a session is stale.
    await new Promise(resolve => setTimeout(resolve, 10_000));
    assert.ok(await page.evaluate(() => ticks) < 50, 'the browser did throttle its timers');
    const hidden = await row(page);
    assert.deepEqual([hidden.is_stale, hidden.connected], [false, true]);
    assert.ok(!(await kinds(page.sessionId)).includes('stale'));
    await page.bringToFront();
    await until('it is visible', async () => (await row(page)).visibility === 'visible');
    assert.equal(await page.evaluate(() => sockets.length), 1);
    await front.close();
    await page.close({ runBeforeUnload: true });
  });

  test('frozen by the browser, it is shown as frozen and never stale', LIMIT, async () => {
    const page = await openSession(browser.context, app.url);
    const front = await browser.context.newPage();
    await front.bringToFront();
    const devtools = await browser.context.newCDPSession(page);
    await devtools.send('Page.setWebLifecycleState', { state: 'frozen' });
    await until('it is frozen', async () => (await row(page)).visibility === 'frozen');
    await new Promise(resolve => setTimeout(resolve, 8_000));
    assert.ok(!(await kinds(page.sessionId)).includes('stale'));
    await devtools.send('Page.setWebLifecycleState', { state: 'active' });
    await page.bringToFront();
    await until('it is visible', async () => (await row(page)).visibility === 'visible');
    await front.close();
    await page.close({ runBeforeUnload: true });
  });

  test('into the back-forward cache and back, it is the same row', LIMIT, async () => {
    const page = await openSession(browser.context, app.url);
    await page.evaluate(() => { session.startTask('Q4 report'); globalThis.same = 'document'; });
    await page.getByRole('link').click();
    await page.waitForURL('**/other');
    const away = await until('it is suspended', async () => {
      const now = await row(page);
      return now?.visibility === 'suspended' && !now.connected && now;
    });
    await page.goBack({ waitUntil: 'commit' });
    await inState(page, 'online');
    assert.deepEqual(await page.evaluate(() => [same, session.id, sockets.length]), ['document', page.sessionId, 2]);
    const back = await until('it is back', async () => {
      const now = await row(page);
      return now.connected && now.visibility === 'visible' && now;
    });
    assert.deepEqual([back.start_time, back.current_task], [away.start_time, 'Q4 report']);
    assert.deepEqual((await kinds(page.sessionId)).filter(kind => kind !== 'status_changed'), ['registered']);
    await page.close({ runBeforeUnload: true });
  });

  test('closed, it is gone in 2 s', LIMIT, async () => {
    for (let time = 1; time <= 5; time++) {
      const page = await openSession(browser.context, app.url);
      await page.close({ runBeforeUnload: true });
      await until('it is removed', async () => !(await row(page)), 2_000);
      assert.equal((await history(server, page.sessionId)).at(-1).cause, 'ended');
    }
  });

  for (const how of ['cut', 'stall'])
    test(`closed after its socket was ${how === 'cut' ? 'closed' : 'stalled'}, it is gone in 2 s`, LIMIT, async () => {
      const line = await wire(server);
      const site = await servePages({ '/': sessionPage(server, `server: '${line.url}'`) });
      try {
        const page = await openSession(browser.context, site.url);
        line[how]();
        await page.close({ runBeforeUnload: true });
        await until('it is removed', async () => !(await row(page)), 2_000);
        assert.equal((await history(server, page.sessionId)).at(-1).cause, 'ended');
      } finally { await Promise.all([line.close(), site.close()]); }
    });
});

describe('the network', () => {
  test('cut and back, it is the same session, with the newest status', LIMIT, async () => {
    const line = await wire(server);
    const site = await servePages({ '/': sessionPage(server, `server: '${line.url}'`) });
    try {
      const page = await openSession(browser.context, site.url);
      line.refuse(true);
      line.cut();
      await inState(page, 'offline');
      await page.evaluate(() => { session.setStatus('loading'); session.setStatus('waiting'); });
      line.refuse(false);
      await inState(page, 'online');
      const back = await until('the server has the newest', async () => {
        const now = await row(page);
        return now.status === 'waiting' && now;
      });
      assert.equal(back.connected, true);
      assert.ok(!(await history(server, page.sessionId)).some(({ status }) => status === 'loading'));
      await page.close({ runBeforeUnload: true });
    } finally { await Promise.all([line.close(), site.close()]); }
  });

  test('a connection that fails silently is noticed by its missing ticks, and replaced', LIMIT, async () => {
    const line = await wire(server);
    const site = await servePages({
      // The client waits 45 s for a tick. Shortened here, as the limits of the server are.
      '/': `<script>
        const later = setTimeout;
        globalThis.setTimeout = (work, delay, ...rest) => later(work, delay === 45e3 ? 5e3 : delay, ...rest);
      </script>${sessionPage(server, `server: '${line.url}'`)}`,
    });
    try {
      const page = await openSession(browser.context, site.url);
      await page.evaluate(() => {
        globalThis.ticks = 0;
        sockets[0].addEventListener('message', ({ data }) => { if (JSON.parse(data).type === 'tick') ticks++; });
      });
      await page.waitForFunction(() => ticks >= 7, null, { timeout: 20_000 });
      assert.equal(await page.evaluate(() => sockets.length), 1, 'ticks keep it');
      line.stall();
      await reached(page, 'offline');
      await inState(page, 'online');
      await until('the session has its new socket', async () => (await row(page))?.connected);
      assert.deepEqual(await page.evaluate(() => [session.id, sockets.length]), [page.sessionId, 2]);
      await page.close({ runBeforeUnload: true });
    } finally { await Promise.all([line.close(), site.close()]); }
  });

  test('back, or the page visible again, is tried at once; a hidden page waits until then', LIMIT, async () => {
    const line = await wire(server);
    const site = await servePages({ '/': sessionPage(server, `server: '${line.url}'`) });
    try {
      const page = await openSession(browser.context, site.url);
      const attempts = () => page.evaluate(() => sockets.length);
      // The longest possible waits: 8 s after the fourth failure in a row.
      await page.evaluate(() => { Math.random = () => 0.999; });
      line.refuse(true);
      line.cut();
      await page.waitForFunction(() => closes.length === 5, null, { timeout: 20_000 });
      line.refuse(false);
      const devtools = await browser.context.newCDPSession(page);
      const network = offline => devtools.send('Network.emulateNetworkConditions',
        { offline, latency: 0, downloadThroughput: -1, uploadThroughput: -1 });
      await network(true);
      const begun = performance.now();
      await network(false);
      await inState(page, 'online');
      assert.ok(performance.now() - begun < 4_000, `${performance.now() - begun} ms`);

      const front = await browser.context.newPage();
      await front.bringToFront();
      await until('it is hidden', async () => (await row(page)).visibility === 'hidden');
      const before = await attempts();
      line.cut();
      await inState(page, 'offline');
      await new Promise(resolve => setTimeout(resolve, 5_000));
      assert.equal(await attempts(), before);
      await page.bringToFront();
      await inState(page, 'online');
      assert.equal(await attempts(), before + 1);
      await front.close();
      await page.close({ runBeforeUnload: true });
    } finally { await Promise.all([line.close(), site.close()]); }
  });

  test('server stopped for 20 s and started: same id, latest status, nothing reported killed, one line on the console', LIMIT, async () => {
    const first = await startServer();
    const site = await servePages({ '/': sessionPage(first) });
    let second;
    try {
      const page = await browser.context.newPage();
      const lines = [];
      page.on('console', message => { if (message.text().startsWith('sessionwatch')) lines.push(message.text()); });
      await page.goto(site.url);
      const id = await page.evaluate(async () => {
        const { id } = await session.ready;
        globalThis.events = [];
        for (const type of ['statechange', 'kill']) session.addEventListener(type, () => events.push(session.state));
        return id;
      });
      await first.process.kill('SIGTERM');
      await inState(page, 'offline');
      await page.evaluate(() => { session.setStatus('loading'); session.startTask('Q4 report'); });
      await new Promise(resolve => setTimeout(resolve, 20_000));
      second = await startServer([], { db: first.db, listen: `127.0.0.1:${first.port}` });
      // At most what is left of a wait of 16 s, as after 20 s of doubling.
      await inState(page, 'online', 30_000);
      const back = await session(second, id);
      assert.deepEqual([back.status, back.current_task, back.connected, back.kill_requested], ['running', 'Q4 report', true, false]);
      assert.equal(await page.evaluate(() => session.id), id);
      assert.deepEqual(await page.evaluate(() => events), ['offline', 'online']);
      assert.deepEqual((await history(second, id)).map(({ kind }) => kind).filter(kind => kind !== 'status_changed'), ['registered']);
      assert.ok(lines.length <= 1, lines.join('\n'));
      await page.close();
    } finally {
      await site.close();
      await second?.stop();
      await first.stop();
    }
  });
});
