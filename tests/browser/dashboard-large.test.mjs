// 20,000 sessions that change all the time: focus, scroll position and typing stay, and the page has few elements.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { api, launchBrowser, startServer } from './support.mjs';
import {
  isLive,
  openDashboard,
  population,
  rowOf,
  rowsInView,
  startCrowd,
  startLine,
  until,
} from './dashboard-support.mjs';

const MANY = 20_000;
let browser;
let server;
let crowd;

before(async () => {
  browser = await launchBrowser();
  server = await startServer(['--allow-host', '127.0.0.1']); // any port: one test uses a proxy
  crowd = startCrowd(server);
  await crowd.tell({ register: population(MANY) });
});
after(async () => {
  crowd?.stop();
  await browser?.close();
  await server?.stop();
});

const nodes = page => page.evaluate(() => document.querySelectorAll('*').length);
const total = page => page.getByText('20,000 sessions').waitFor();

test('20,000 changing rows take neither the focus nor the place from the reader', async () => {
  const page = await openDashboard(browser, server, { path: '/?sort=task' });
  await total(page);
  await crowd.tell({ change: 400 });
  // Rows move with their tasks until the pointer is in the table; then the user scrolls, focuses and types there.
  const scroller = page.locator('.table-view:not(.history) .scroller');
  await page.mouse.move(700, 500);
  await page.mouse.wheel(0, 36 * 500);
  await until(async () => (await scroller.evaluate(node => node.scrollTop)) >= 36 * 500, 'scrolled');
  await page.keyboard.press('j');
  await page.keyboard.press('j');
  const before = await page.evaluate(() => ({
    id: document.activeElement.getAttribute('aria-rowindex'),
    text: document.activeElement.querySelector('[data-column=user]').textContent,
  }));
  const order = (await rowsInView(page)).map(row => `${row.app} ${row.user}`);
  const top = await scroller.evaluate(node => node.scrollTop);
  await page.keyboard.press('K');
  await page.keyboard.type('typed while ');
  await page.locator('.chip', { hasText: /updates wait/ }).waitFor();
  await until(
    async () => Number((await page.locator('.chip').textContent()).replace(/\D/g, '')) > 300,
    'hundreds of updates wait',
  );
  await page.keyboard.type('everything changes');
  assert.equal(await page.evaluate(() => document.activeElement.value), 'typed while everything changes');
  assert.equal(await scroller.evaluate(node => node.scrollTop), top);
  assert.deepEqual(
    (await rowsInView(page)).map(row => `${row.app} ${row.user}`),
    order,
    'rows hold still',
  );
  await page.keyboard.press('Escape');
  assert.deepEqual(
    await page.evaluate(() => ({
      id: document.activeElement.getAttribute('aria-rowindex'),
      text: document.activeElement.querySelector('[data-column=user]').textContent,
    })),
    before,
  );

  // The user applies the updates: the focused row may move, and keeps the focus.
  const focused = await page.evaluate(() => {
    window.focusedRow = document.activeElement;
    return document.activeElement.querySelector('[data-column=user]').textContent;
  });
  await page.keyboard.press('.');
  await page
    .locator('.chip')
    .waitFor({ state: 'hidden', timeout: 5000 })
    .catch(() => {}); // it may be back at once
  assert.deepEqual(
    await page.evaluate(() => [
      document.activeElement === window.focusedRow,
      window.focusedRow.querySelector('[data-column=user]').textContent,
    ]),
    [true, focused],
  );
  const size = await nodes(page);
  console.log(`# ${size} elements for 20,000 rows`);
  assert.ok(size < 1500, `${size} elements`);
  assert.deepEqual(page.problems, []);
  await crowd.tell({ change: 0 });
  await page.context().close();
});

test('what is shown after the line was cut in the middle of changes equals what the server lists', async () => {
  const line = await startLine(server);
  const page = await openDashboard(browser, line, { path: '/?sort=id&columns=id,state,task' });
  await total(page);
  await crowd.tell({ change: 800 });
  await until(async () => (await rowsInView(page)).some(row => row.task !== ''), 'changes arrive');
  const sockets = [];
  page.on('websocket', socket => sockets.push(socket.url()));
  for (let cuts = 1; cuts <= 3; cuts += 1) {
    line.cut();
    await until(() => sockets.length >= cuts, 'a new socket');
    await isLive(page);
  }
  await crowd.tell({ change: 0 });
  assert.ok(
    sockets.every(url => /epoch=.+&seq=\d+/.test(url)),
    'each resumed from where it stood',
  );
  for (const top of [0, 36 * 9_990, 36 * 19_990]) {
    await page.locator('.table-view:not(.history) .scroller').evaluate((node, value) => {
      node.scrollTop = value;
    }, top);
    await until(async () => {
      const { sessions } = await api(server.url, 'GET', '/sessions');
      const truth = new Map(sessions.map(session => [session.session_id, session.current_task ?? '']));
      const rows = await rowsInView(page);
      return rows.length > 10 && rows.every(row => truth.get(row.id) === row.task);
    }, `rows at ${top} equal the server's`);
  }
  assert.deepEqual(page.problems, []);
  await page.context().close();
  await line.close();
});

test('a hidden page draws nothing and is up to date when it is seen again', async () => {
  const page = await openDashboard(browser, server);
  await total(page);
  await page.evaluate(() => {
    Object.defineProperty(document, 'hidden', { configurable: true, get: () => true });
    window.drawn = 0;
    const { requestAnimationFrame } = window;
    window.requestAnimationFrame = callback => {
      window.drawn += 1;
      return requestAnimationFrame(callback);
    };
  });
  await crowd.tell({ change: 200 });
  await api(server.url, 'POST', '/sessions', { session_id: 'late', app_name: 'late', user_id: 'zoe' });
  await until(async () => (await api(server.url, 'GET', '/sessions?app_name=late')).total === 1, 'registered');
  const before = await page.evaluate(() => window.drawn);
  await new Promise(resolve => setTimeout(resolve, 1500)); // a span in which nothing may be drawn
  assert.ok((await page.evaluate(() => window.drawn)) - before <= 1);
  await page.evaluate(() => {
    delete document.hidden;
    document.dispatchEvent(new Event('visibilitychange'));
  });
  await page.getByText('20,001 sessions').waitFor();
  await page.getByLabel('Filter', { exact: true }).fill('user:zoe');
  await rowOf(page, 'zoe').waitFor();
  await crowd.tell({ change: 0 });
  assert.deepEqual(page.problems, []);
  await page.context().close();
});
