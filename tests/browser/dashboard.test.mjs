// The dashboard in real Chromium against a real server: rows, filters, kills, and what happens when the server is away.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { inflateRawSync } from 'node:zlib';
import { api } from './support.mjs';
import { isLive, rowOf, rowsInView, showsUsers, stage, until } from './dashboard-support.mjs';

const { serve, open, register } = stage();
let server;
let page;

const beat = (session, body = {}) =>
  api(server.url, 'POST', `/sessions/${session.session_id}/heartbeat`, body, {
    authorization: `Bearer ${session.session_token}`,
  });

test('a session is on the page within 300 ms of its POST, without a request', async () => {
  server = await serve();
  page = await open();
  await page.getByText('No sessions yet').waitFor();
  await page.waitForLoadState('networkidle');
  const requests = [];
  page.on('request', request => requests.push(request.url()));
  await page.evaluate(() => {
    window.seenAt = {};
    new MutationObserver(() => {
      for (const cell of document.querySelectorAll('tr.row:not([hidden]) td[data-column=user]'))
        window.seenAt[cell.textContent] ??= Date.now();
    }).observe(document.body, { subtree: true, childList: true, characterData: true, attributes: true });
  });
  const delays = [];
  for (let i = 0; i < 5; i += 1) {
    const posted = Date.now();
    await register({ user_id: `user-${i}` });
    delays.push(
      (await page.waitForFunction(user => window.seenAt[user], `user-${i}`).then(handle => handle.jsonValue())) -
        posted,
    );
  }
  console.log(`# from the POST to the row: ${delays.map(delay => `${delay} ms`).join(', ')}`);
  assert.ok(Math.min(...delays) < 300, `${delays}`);
  assert.equal(await page.getByText('No sessions yet').isVisible(), false, 'the snippets turned into the table');
  assert.deepEqual(requests, []);
});

test('a filter, a sort, groups and columns are in the address, and a reload shows the same', async () => {
  server = await serve();
  for (const [app, user, task] of [
    ['risk', 'ana', 'Q4 report'],
    ['risk', 'bob', null],
    ['shop', 'eve', 'Q4 report'],
    ['shop', 'joe', null],
  ]) {
    await register({
      app_name: app,
      user_id: user,
      ...(task ? { status: 'running', current_task: task } : {}),
      meta: { env: app === 'risk' ? 'prod' : 'dev' },
    });
  }
  page = await open();
  await page.keyboard.press('/');
  await page.keyboard.type('meta.env:prod,dev task:"Q4 report"');
  await page.keyboard.press('Enter');
  await page.getByRole('button', { name: 'User', exact: true }).click();
  await showsUsers(page, ['ana', 'eve']);
  await page.getByText('2 of 4').waitFor();
  await page.getByRole('button', { name: 'User', exact: true }).click();
  await page.getByLabel('Group by').selectOption('app');
  await page.getByRole('button', { name: 'Columns' }).click();
  await page.getByRole('menuitemcheckbox', { name: 'Session id' }).click();
  await page.keyboard.press('Escape');
  const address = new URL(page.url());
  assert.equal(address.searchParams.get('q'), 'meta.env:prod,dev task:"Q4 report"');
  assert.equal(address.searchParams.get('sort'), '-user');
  await page.reload();
  await isLive(page);
  await showsUsers(page, ['ana', 'eve']); // by app first: risk, then shop
  assert.equal(await page.getByLabel('Filter', { exact: true }).inputValue(), 'meta.env:prod,dev task:"Q4 report"');
  assert.equal(await page.locator('tr.group:not([hidden])').count(), 2);
  assert.ok((await rowsInView(page)).every(row => row.id.length > 10));
  assert.equal(await page.getByRole('columnheader', { name: 'User' }).getAttribute('aria-sort'), 'descending');
  assert.equal(await page.getByRole('grid', { name: 'Sessions' }).getAttribute('aria-rowcount'), '5');

  // Another sort, with shift as a further one.
  await page.getByLabel('Group by').selectOption('');
  await page.getByLabel('Filter', { exact: true }).fill('');
  await page.getByRole('button', { name: 'App', exact: true }).click();
  await page.getByRole('button', { name: /^User/ }).click({ modifiers: ['Shift'] });
  await page.getByRole('button', { name: /^User/ }).click({ modifiers: ['Shift'] });
  await showsUsers(page, ['bob', 'ana', 'joe', 'eve']);
});

test('numbers and facets filter, and count what the rest of the filter leaves', async () => {
  server = await serve();
  for (const [app, user, status] of [
    ['risk', 'ana', 'running'],
    ['risk', 'bob', 'idle'],
    ['shop', 'ana', 'uploading'],
  ])
    await register({ app_name: app, user_id: user, status });
  page = await open();
  const facets = page.getByRole('complementary', { name: 'Filter by value' });
  await page
    .getByRole('region', { name: 'Sessions by state' })
    .getByRole('button', { name: /Running/ })
    .click();
  await showsUsers(page, ['ana', 'ana']);
  await facets.getByRole('button', { name: 'risk 1', exact: true }).click();
  await page.getByText('1 of 3').waitFor();
  assert.equal(new URL(page.url()).searchParams.get('q'), 'status:running app:risk');
  await facets.getByRole('button', { name: 'shop 1', exact: true }).waitFor();
  await facets.getByRole('button', { name: 'idle 1', exact: true }).waitFor();
  // The counts move with the feed.
  await register({ app_name: 'risk', user_id: 'joe' });
  await facets.getByRole('button', { name: 'idle 2', exact: true }).waitFor();
  await page.getByRole('button', { name: 'Clear the filter' }).click();
  await page.getByText('4 sessions').waitFor();
});

test('the band is whole after a reload and a restart, and a range of it is a filter', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'sessionwatch-stats-'));
  server = await serve([], { db: join(folder, 'x.db') });
  const bob = await register({ user_id: 'bob' });
  await register({ user_id: 'ana', status: 'running' });
  await api(server.url, 'POST', `/sessions/${bob.session_id}/kill`, {});
  await api(server.url, 'DELETE', `/sessions/${bob.session_id}`, undefined, {
    authorization: `Bearer ${bob.session_token}`,
  });
  page = await open();
  const ended = page.getByRole('region', { name: 'Sessions by state' }).getByRole('button', { name: 'Ended 24 h 1' });
  const band = page.getByRole('img', { name: /Sessions by state in the last 4 minutes, .*now .*1 running/ });
  await ended.waitFor();
  await band.waitFor();
  await page.locator('.mark.is-kill').first().waitFor({ state: 'attached' });
  const { port, db } = server;
  await server.stop();
  server = await serve([], { db, listen: `127.0.0.1:${port}` });
  await page.reload();
  await isLive(page);
  await ended.waitFor();
  await band.waitFor();
  await page.locator('.mark.is-restart').first().waitFor({ state: 'attached' });

  // Dragging over its first half leaves nobody; pressing once brings everybody back.
  const box = await band.boundingBox();
  await page.mouse.move(box.x + 5, box.y + 10);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width / 2, box.y + 10, { steps: 4 });
  await page.mouse.up();
  await page.getByText('0 of 1').waitFor();
  assert.match(
    new URL(page.url()).searchParams.get('q'),
    /^started:\d{4}-\d\d-\d\dT\d\d:\d\d\.\.\d{4}-\d\d-\d\dT\d\d:\d\d$/,
  );
  await page.mouse.click(box.x + 5, box.y + 10);
  await page.getByText('1 session', { exact: true }).waitFor();
  await server.stop();
  rmSync(folder, { recursive: true });
});

test('a session is ended by the keyboard alone, step by step, and stays struck through', async () => {
  server = await serve();
  const session = await register({ app_name: 'risk', user_id: 'ana', status: 'running', current_task: 'Q4 report' });
  await register({ user_id: 'joe' });
  page = await open();
  await rowOf(page, 'ana').waitFor();
  await page.keyboard.press('j');
  await page.keyboard.press('K');
  await page.keyboard.type('maintenance at ten');
  await page.keyboard.press('Enter');
  await rowOf(page, 'ana')
    .getByText(/requested ✓/)
    .waitFor();
  const kills = page.getByRole('region', { name: 'Kills' });
  await kills.getByText(/waits for the next heartbeat/).waitFor();
  assert.equal(await kills.getByText('1 of 1 kill done').count(), 0, 'no success before it is so');
  const answer = await beat(session);
  assert.equal(answer.kill_requested, true);
  assert.equal(answer.reason, 'maintenance at ten');
  await api(server.url, 'DELETE', `/sessions/${session.session_id}`, undefined, {
    authorization: `Bearer ${session.session_token}`,
  });
  await kills.getByText('1 of 1 kill done').waitFor();
  await kills.getByText(/requested ✓.*gone .*✓/).waitFor();
  const row = rowOf(page, 'ana');
  assert.match(await row.getAttribute('class'), /is-ended/);
  assert.match(
    await row.locator('[data-column=app]').evaluate(cell => getComputedStyle(cell).textDecorationLine),
    /line-through/,
  );
  assert.equal(
    await page.evaluate(() => document.activeElement.closest('tr')?.querySelector('[data-column=user]').textContent),
    'ana',
    'focus is where it was',
  );
});

test('a cell and a row are copied, and a cell becomes a filter, by the pointer and by the keyboard', async () => {
  server = await serve();
  await register({ app_name: 'risk', user_id: 'ana', status: 'running', current_task: '=1+1' });
  await register({ app_name: 'shop', user_id: 'joe' });
  page = await open();
  await page.context().grantPermissions(['clipboard-read', 'clipboard-write'], { origin: server.url });
  const read = () => page.evaluate(() => navigator.clipboard.readText());
  const clipboard = text => until(async () => (await read()) === text, `${text} in the clipboard`);
  const cell = column => rowOf(page, 'ana').locator(`[data-column=${column}]`);
  await cell('task').click({ button: 'right' });
  await page.getByRole('menuitem', { name: 'Copy task' }).click();
  await clipboard('=1+1');
  await cell('app').click({ button: 'right' });
  await page.getByRole('menuitem', { name: 'Not app: risk' }).click();
  await showsUsers(page, ['joe']);
  assert.equal(new URL(page.url()).searchParams.get('q'), '-app:risk');
  await page.getByRole('button', { name: 'Clear the filter' }).click();
  await page.keyboard.press('Escape');
  await showsUsers(page, ['ana', 'joe']);

  await page.keyboard.press('j'); // back to where the focus was: the other row
  await page.keyboard.press('k');
  await page.keyboard.press('Shift+F10');
  await page.getByRole('menuitem', { name: 'Copy user' }).waitFor();
  for (let i = 0; i < 3; i += 1) await page.keyboard.press('ArrowDown');
  await page.keyboard.press('Enter');
  await clipboard('ana');
  assert.equal(
    await page.evaluate(() => document.activeElement.querySelector('[data-column=user]').textContent),
    'ana',
    'the focus is back in the row',
  );
  await page.keyboard.press('c');
  await until(async () => /^running\trisk\tana\t'=1\+1\t\d+\t/.test(await read()), 'the row in the clipboard');
});

test('keys that come before the next frame mean what they would mean after it', async () => {
  server = await serve();
  await register({ app_name: 'risk', user_id: 'ana', status: 'running' });
  await register({ app_name: 'shop', user_id: 'joe' });
  page = await open({ path: '/?q=app:risk' });
  await showsUsers(page, ['ana']);
  // From now on the page draws only when `drawFrame` is called.
  await page.evaluate(() => {
    const waiting = [];
    window.requestAnimationFrame = callback => waiting.push(callback);
    window.drawFrame = () => {
      for (const callback of waiting.splice(0)) callback(performance.now());
    };
  });
  const draw = () => page.evaluate(() => window.drawFrame());
  const press = async (...keys) => {
    for (const key of keys) await page.keyboard.press(key);
  };
  const focusedUser = () =>
    page.evaluate(() => document.activeElement.closest('tr')?.querySelector('[data-column=user]').textContent);
  const filter = page.getByLabel('Filter', { exact: true });

  await page.getByRole('button', { name: 'Clear the filter' }).click();
  assert.equal(await filter.inputValue(), '');
  await press('Escape', 'j', 'j'); // out of the field, into the table, to the second of what is listed now
  assert.equal(await focusedUser(), 'joe');
  assert.equal(await filter.inputValue(), '', 'the keys were not typed into the filter');
  await draw();
  assert.equal(await focusedUser(), 'joe');

  const drawer = page.getByRole('complementary', { name: 'Session', exact: true });
  await press('Enter');
  assert.equal(await drawer.isVisible(), true);
  await press('Escape', 'k');
  assert.equal(await drawer.isVisible(), false);
  assert.equal(await focusedUser(), 'ana');

  // The checkbox acts on the selection, not on its own state, which is drawn later.
  const all = page.getByRole('checkbox', { name: 'Select all matching sessions' });
  await all.click();
  await draw();
  await press('Escape');
  await all.click();
  await draw();
  await page.getByText('2 selected').waitFor();
  await press('Escape');
  await draw();

  // The filter of a number is in the field before the next word is typed.
  await page.getByRole('region', { name: 'Sessions by state' }).getByRole('button', { name: /Idle/ }).click();
  await press('/', 'End');
  await page.keyboard.type(' app:shop');
  await press('Enter');
  await draw();
  assert.equal(await filter.inputValue(), 'status:idle app:shop');
  await showsUsers(page, ['joe']);
});

test('rows hold still while pointed at, a chip says what waits, and ended rows go ten seconds later', async () => {
  server = await serve();
  for (const user of ['ana', 'bob']) await register({ user_id: user });
  page = await open();
  await showsUsers(page, ['bob', 'ana']);
  await rowOf(page, 'ana').hover();
  const first = await register({ user_id: 'new', status: 'running' });
  await register({ user_id: 'newer' });
  await page.getByRole('button', { name: '2 updates wait' }).waitFor();
  await showsUsers(page, ['bob', 'ana']);
  await page.keyboard.press('.');
  await showsUsers(page, ['new', 'newer', 'bob', 'ana']);
  await api(server.url, 'DELETE', `/sessions/${first.session_id}`, undefined, {
    authorization: `Bearer ${first.session_token}`,
  });
  await page.locator('tr.row.is-ended').waitFor();
  const endedAt = Date.now();
  await page.mouse.move(5, 5);
  await showsUsers(page, ['new', 'newer', 'bob', 'ana']);
  await showsUsers(page, ['newer', 'bob', 'ana']);
  const stayed = Date.now() - endedAt;
  assert.ok(stayed > 7_000 && stayed < 25_000, `${stayed} ms`);

  // Paused by the space bar, nothing moves either.
  await page.keyboard.press('Space');
  await register({ user_id: 'newest' });
  await page.getByRole('button', { name: '1 update waits' }).waitFor();
  await showsUsers(page, ['newer', 'bob', 'ana']);
  await page.keyboard.press('Space');
  await showsUsers(page, ['newest', 'newer', 'bob', 'ana']);
});

/** A frame as the page got it. */
function decoded(payload) {
  const isCompressed = typeof payload !== 'string';
  return { isCompressed, ...JSON.parse(isCompressed ? inflateRawSync(payload).toString() : payload) };
}

test('the server stopped and started again: as of when, nothing can be killed, then the same rows by resume', async () => {
  server = await serve();
  for (const user of ['ana', 'bob']) await register({ user_id: user });
  page = await open();
  await showsUsers(page, ['bob', 'ana']);
  const frames = [];
  page.on('websocket', socket =>
    socket.on('framereceived', ({ payload }) => frames.push({ url: socket.url(), ...decoded(payload) })),
  );
  const { port, db } = server;
  await server.kill9();
  await page.getByRole('button', { name: /Reconnecting.* as of \d\d:\d\d:\d\d/ }).waitFor();
  assert.equal(await rowOf(page, 'ana').getByRole('button', { name: /^Kill/ }).isDisabled(), true);
  await page.locator('main.dimmed').waitFor();
  await showsUsers(page, ['bob', 'ana']);
  server = await serve([], { db, listen: `127.0.0.1:${port}` });
  await isLive(page);
  await register({ user_id: 'eve' });
  await showsUsers(page, ['eve', 'bob', 'ana']);
  assert.equal(await page.locator('main.dimmed').count(), 0);
  assert.deepEqual([...new Set(frames.map(frame => frame.isCompressed))], [true], 'in the cheapest form');
  assert.match(frames.at(0).url, /[?&]epoch=.+&seq=\d+/, 'it asked to resume');
  const listed = await api(server.url, 'GET', '/sessions');
  assert.deepEqual(
    (await rowsInView(page)).map(row => row.user),
    listed.sessions.map(session => session.user_id),
  );
});

test('a page whose connection could not even be loaded tries again until it can', async () => {
  server = await serve();
  await register({ user_id: 'ana' });
  page = await open();
  await page.context().route('**/assets/socket.js', route => route.abort());
  await page.reload();
  await page.getByRole('button', { name: /^Reconnecting in/ }).waitFor();
  await page.context().unroute('**/assets/socket.js');
  await isLive(page);
  await showsUsers(page, ['ana']);
});

test('counts of the last hour that could not be read are asked for again', async () => {
  server = await serve();
  await register({ user_id: 'ana' });
  page = await open();
  await page.context().route('**/stats?*', route => route.abort(), { times: 1 });
  await page.reload();
  await isLive(page);
  await page.getByRole('button', { name: 'Ended 24 h 0' }).waitFor();
});

test('several are ended at once: what will be hit, the number typed, what is not confirmed, another try', async () => {
  server = await serve();
  const sessions = [];
  for (let i = 0; i < 12; i += 1)
    sessions.push(
      await register({
        app_name: i < 11 ? 'risk' : 'shop',
        user_id: `u${i}`,
        heartbeat_interval: 1,
        ...(i < 2 ? { status: 'running', current_task: `task ${i}` } : {}),
      }),
    );
  page = await open();
  await page.getByRole('checkbox', { name: 'Select all matching sessions' }).check();
  await page.getByText('12 selected').waitFor();
  await page.getByRole('region', { name: 'Selected sessions' }).getByRole('button', { name: 'Kill…' }).click();
  const dialog = page.getByRole('dialog', { name: 'End 12 sessions?' });
  await dialog.getByText('2: task').waitFor();
  const go = dialog.getByRole('button', { name: 'Kill 12 sessions' });
  assert.equal(await go.isDisabled(), true);
  await dialog.getByLabel('Reason').fill('memory');
  await dialog.getByLabel(/To go on, type/).fill('12');
  await go.click();
  const kills = page.getByRole('region', { name: 'Kills' });
  await kills.getByText('0 of 12 kills done').waitFor();
  await until(
    async () => (await api(server.url, 'GET', '/sessions')).sessions.every(session => session.kill_requested),
    'all asked to end',
  );
  // Four learn of the kill by their heartbeat and end; the others never answer and become unconfirmed.
  for (const session of sessions.slice(0, 4)) {
    assert.equal((await beat(session)).reason, 'memory');
    await api(server.url, 'DELETE', `/sessions/${session.session_id}`, undefined, {
      authorization: `Bearer ${session.session_token}`,
    });
  }
  await kills.getByText('4 of 12 kills done, 8 not confirmed').waitFor();
  await kills.getByText('unconfirmed: not delivered').first().waitFor();
  await kills.getByRole('button', { name: 'Select the failures' }).click();
  await page.getByText('8 selected').waitFor();
  const asked = [];
  page.on('response', answer => {
    if (answer.url().endsWith('/kill')) asked.push(answer.status());
  });
  await page.getByRole('region', { name: 'Selected sessions' }).getByRole('button', { name: 'Kill…' }).click();
  await page.getByRole('dialog', { name: 'End 8 sessions?' }).getByRole('button', { name: 'Kill 8 sessions' }).click();
  await until(() => asked.length === 8, 'asked again, each');
  await kills.getByText('4 of 12 kills done, 8 not confirmed').waitFor();
  const { events } = await api(server.url, 'GET', '/events?kind=kill_requested');
  assert.equal(events.length, 12, 'the log has each request once');
});

test('a whole app is ended by its name, and by nothing else', async () => {
  server = await serve();
  for (let i = 0; i < 11; i += 1) await register({ app_name: 'risk', user_id: `u${i}` });
  await register({ app_name: 'shop', user_id: 'joe' });
  page = await open({ path: '/?group=app' });
  await page.getByRole('button', { name: 'Kill group… risk' }).click();
  const dialog = page.getByRole('dialog', { name: 'End every session of risk?' });
  const go = dialog.getByRole('button', { name: 'Kill 11 sessions' });
  await dialog.getByLabel(/To go on, type/).fill('shop');
  assert.equal(await go.isDisabled(), true);
  await dialog.getByLabel(/To go on, type/).fill('risk');
  await go.click();
  await page.getByRole('region', { name: 'Kills' }).getByText('0 of 11 kills done').waitFor();
  await until(
    async () =>
      (await api(server.url, 'GET', '/sessions?app_name=risk')).sessions.every(session => session.kill_requested),
    'all of risk asked to end',
  );
  assert.equal((await api(server.url, 'GET', '/sessions?app_name=shop')).sessions[0].kill_requested, false);
});
