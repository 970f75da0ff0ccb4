// From register to removal in real Chromium: a page on another port registers, the dashboard shows it without a
// request, Kill is pressed there, the page sees 1001, the row is removed, and the log has each step.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { launchBrowser, servePages, startServer } from './support.mjs';
import { TERMINATED, history, session, sessionPage, until } from './client-pages.mjs';

test('from a page that registers to a kill that is known to have worked', { timeout: 60_000 }, async () => {
  const [server, browser] = await Promise.all([startServer(), launchBrowser()]);
  const app = await servePages({ '/': sessionPage(server, `userId: 'ana'`) });
  try {
    const context = await browser.newContext();
    const dashboard = await context.newPage();
    const sockets = [], requests = [], errors = [];
    dashboard.on('websocket', socket => sockets.push(new URL(socket.url()).pathname));
    dashboard.on('request', request => requests.push(`${request.method()} ${new URL(request.url()).pathname}`));
    dashboard.on('pageerror', error => errors.push(error));
    await dashboard.goto(server.url);
    await dashboard.getByRole('button', { name: /^Live/ }).first().waitFor();
    await dashboard.waitForLoadState('networkidle');
    requests.length = 0;

    // A page on another port becomes a session, and the dashboard, which asks for nothing, has its row.
    const page = await context.newPage();
    await page.goto(app.url);
    const id = await page.evaluate(() => session.ready.then(({ id }) => id));
    const row = dashboard.getByRole('row').filter({ hasText: 'reports' }).filter({ hasText: 'ana' });
    await row.waitFor();
    const task = page.evaluate(() => session.task('Q4 report', ({ signal }) =>
      new Promise(resolve => signal.addEventListener('abort', () => resolve(signal.reason.message)))));
    await row.filter({ hasText: 'Q4 report' }).waitFor();
    assert.deepEqual([sockets, requests], [['/ws'], []], 'one socket, and no request');

    // Kill takes two steps.
    await dashboard.bringToFront();
    await row.getByRole('button', { name: /^Kill/ }).click();
    await row.getByRole('textbox', { name: /reason/i }).fill('maintenance at ten');
    await row.getByRole('button', { name: 'Kill now' }).click();

    // The page: its task was told to stop, and its socket closed as a kill closes.
    assert.equal(await task, TERMINATED);
    await page.waitForFunction(() => closes.length > 0);
    assert.deepEqual(await page.evaluate(() => [closes, session.state, sockets.length]), [[[1001, TERMINATED]], 'killed', 1]);

    // The row goes, once nobody points at it: rows hold still under the pointer and the focus.
    await dashboard.mouse.move(0, 0);
    await dashboard.evaluate(() => document.activeElement?.blur());
    await row.waitFor({ state: 'detached' });
    await until('it is removed', async () => !(await session(server, id)));
    assert.deepEqual([sockets, requests], [['/ws'], [`POST /sessions/${id}/kill`]]);
    assert.deepEqual(errors, []);

    // And the log has each step, in order, each with its time.
    const events = (await history(server, id)).filter(({ kind }) => kind !== 'status_changed');
    assert.deepEqual(events.map(({ kind }) => kind),
      ['registered', 'kill_requested', 'kill_delivered', 'kill_acknowledged', 'removed']);
    assert.deepEqual([events[1].reason, events.at(-1).cause], ['maintenance at ten', 'killed']);
    const times = events.map(({ at }) => Date.parse(at));
    assert.deepEqual(times, times.toSorted((a, b) => a - b));
    assert.ok(times.every(Number.isFinite));
  } finally {
    await browser.close();
    await Promise.all([app.close(), server.stop()]);
  }
});
