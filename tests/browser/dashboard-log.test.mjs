// The details of a session, the ended sessions, the audit log, messages to users, and the login.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { api } from './support.mjs';
import { isLive, rowOf, rowsInView, showsUsers, stage, until } from './dashboard-support.mjs';

const { serve, open, crowd: startCrowd, register } = stage();
let server;
let page;
let crowd;

const as = session => ({ authorization: `Bearer ${session.session_token}` });

test('details tell the whole life of a session, and stay when it is gone', async () => {
  server = await serve();
  crowd = startCrowd();
  await crowd.tell({
    register: [
      { session_id: 's1', app_name: 'risk', user_id: 'ana', meta: { env: 'prod' } },
      { session_id: 's2', app_name: 'shop', user_id: 'ana' },
    ],
  });
  await crowd.tell({ send: { session_id: 's1', type: 'status', status: 'running', current_task: 'Q4 report' } });
  page = await open();
  await rowOf(page, 'ana').filter({ hasText: 'Q4 report' }).waitFor();
  await page.keyboard.press('j'); // the running one stands first
  await page.keyboard.press('Enter');
  const drawer = page.getByRole('complementary', { name: 'Session', exact: true });
  await drawer.getByRole('heading', { name: 'risk · ana' }).waitFor();
  assert.equal(new URL(page.url()).searchParams.get('session'), 's1');
  await drawer.getByRole('img', { name: /Going on: .*running for/ }).waitFor();
  await drawer.locator('table').filter({ hasText: 'Q4 report' }).first().waitFor();
  await drawer.getByText('env').first().waitFor();
  const raw = JSON.parse(await drawer.getByLabel('Raw JSON').textContent());
  const truth = await api(server.url, 'GET', '/sessions/s1');
  for (const key of ['session_id', 'app_name', 'user_id', 'start_time', 'meta', 'reported_status', 'current_task'])
    assert.deepEqual(raw[key], truth[key], key);
  assert.match(
    await drawer.getByLabel('Command that ends the session').textContent(),
    new RegExp(`^curl -X POST '${server.url}/sessions/s1/kill'`),
  );

  // Its end, two steps here too, seen step by step.
  await drawer.getByRole('button', { name: 'Kill…' }).click();
  await page.keyboard.type('maintenance');
  await page.keyboard.press('Enter');
  const steps = drawer.getByRole('list').filter({ hasText: 'kill requested' });
  await steps.getByText(/^kill delivered \d+ ms$/).waitFor();
  await steps.getByText(/^kill acknowledged \d+ ms$/).waitFor();
  await steps.getByText(/^gone \d+ ms$/).waitFor();
  await drawer
    .getByText(/^killed .* maintenance/)
    .first()
    .waitFor();

  // The user's other session is one press away, and the way back leads back.
  await drawer.getByRole('button', { name: 'shop, idle' }).click();
  await drawer.getByRole('heading', { name: 'shop · ana' }).waitFor();
  await page.goBack();
  await drawer.getByRole('heading', { name: 'risk · ana' }).waitFor();
  await page.reload();
  await isLive(page);
  await steps.getByText(/^gone \d+ ms$/).waitFor(); // by the log alone
  await page.keyboard.press('Escape');
  await drawer.waitFor({ state: 'hidden' });
  assert.equal(new URL(page.url()).search, '');
});

test('the card of a kill stands beside the details, and another page closes them', async () => {
  server = await serve();
  await register({ session_id: 's1', app_name: 'risk', user_id: 'ana' });
  page = await open({ path: '/?session=s1' });
  const drawer = page.getByRole('complementary', { name: 'Session', exact: true });
  await drawer.getByRole('button', { name: 'Kill…' }).click();
  await page.keyboard.press('Enter');
  const card = page.locator('.outcomes');
  await card.getByText('0 of 1 kill done').waitFor();
  for (const width of [1600, 1280, 860, 390]) {
    await page.setViewportSize({ width, height: 800 });
    const [details, outcome] = [await drawer.boundingBox(), await card.boundingBox()];
    // On a phone the details fill the screen, and the card waits until they are closed.
    if (width === 390) assert.equal(outcome, null);
    else assert.ok(outcome.x >= 0 && outcome.x + outcome.width <= details.x, `at ${width} px`);
  }
  await page.setViewportSize({ width: 1280, height: 800 });
  await page.getByRole('button', { name: 'Audit log' }).click();
  await drawer.waitFor({ state: 'hidden' });
  await card.waitFor();
  assert.equal(new URL(page.url()).searchParams.get('session'), null);
  await page.goBack();
  await drawer.waitFor();
});

test('sessions that ended are told with cause, by whom and why, as it happens; the log is filtered', async () => {
  server = await serve();
  const ana = await register({ app_name: 'risk', user_id: 'ana' });
  const bob = await register({ user_id: 'bob' });
  const eve = await register({ user_id: 'eve' });
  await api(server.url, 'DELETE', `/sessions/${bob.session_id}`, undefined, as(bob));
  page = await open();
  await page
    .getByRole('region', { name: 'Sessions by state' })
    .getByRole('button', { name: /Ended 24 h/ })
    .click();
  await showsUsers(page, ['bob']);
  assert.equal(new URL(page.url()).searchParams.get('page'), 'ended');
  await api(server.url, 'POST', `/sessions/${ana.session_id}/kill`, { reason: 'memory', by: 'joe' });
  await api(server.url, 'DELETE', `/sessions/${ana.session_id}`, undefined, as(ana));
  await showsUsers(page, ['ana', 'bob']);
  const [first, second] = await rowsInView(page);
  assert.equal(first.cause, 'killed');
  assert.equal(first.by, 'joe');
  assert.equal(first.reason, 'memory');
  assert.equal(second.cause, 'deleted');

  await page.getByRole('button', { name: 'Audit log' }).click();
  await page.getByText(/^\d+ events/).waitFor();
  await page.keyboard.press('/');
  await page.keyboard.type('kind:kill_requested,removed app:risk');
  await page.keyboard.press('Enter');
  await until(async () => (await rowsInView(page)).length === 2, 'two events of risk');
  assert.deepEqual(
    (await rowsInView(page)).map(row => row.kind),
    ['removed', 'kill requested'],
  );
  await page.reload();
  await isLive(page);
  await until(async () => (await rowsInView(page)).length === 2, 'the same after a reload');
  await page.getByLabel('Filter', { exact: true }).fill('user:eve');
  await showsUsers(page, ['eve']);
  await page.keyboard.press('Escape');
  await page.keyboard.press('Escape');
  await rowOf(page, 'eve').dblclick();
  await page
    .getByRole('complementary', { name: 'Session', exact: true })
    .getByRole('heading', { name: 'shop · eve' })
    .waitFor();
  assert.equal(new URL(page.url()).searchParams.get('session'), eve.session_id);
});

test('a message reaches the users, and it is said of each whether it arrived', async () => {
  server = await serve();
  crowd = startCrowd();
  await crowd.tell({ register: [{ session_id: 'near', user_id: 'ana', app_name: 'risk' }] });
  await register({ user_id: 'bob' });
  page = await open();
  await page.getByText('2 sessions').waitFor();
  await page.getByRole('checkbox', { name: 'Select all matching sessions' }).check();
  await page.getByRole('region', { name: 'Selected sessions' }).getByRole('button', { name: 'Message…' }).click();
  const dialog = page.getByRole('dialog', { name: 'Message to 2 sessions' });
  await dialog.getByLabel('Message').fill('Restart at ten, please save.');
  await dialog.getByLabel('Level').selectOption('warning');
  await dialog.getByRole('button', { name: 'Send to 2 sessions' }).click();
  await dialog.getByText('1 delivered, 0 sent but not confirmed, 1 not reached').waitFor();
  await dialog.getByText(/ana delivered \d+ ms ✓/).waitFor();
  await dialog.getByText('bob not reached: no socket').waitFor();
  const { events } = await api(server.url, 'GET', '/events?kind=message_sent,message_delivered');
  assert.ok(events.some(event => event.kind === 'message_delivered' && event.session_id === 'near'));
  assert.equal(events.find(event => event.kind === 'message_sent').text, 'Restart at ten, please save.');
  assert.equal((await api(server.url, 'GET', '/sessions')).total, 2, 'it ended nothing');
});

test('everyone of an app is written to at once, by its group or when all that matches is one app', async () => {
  server = await serve();
  crowd = startCrowd();
  await crowd.tell({
    register: [
      { session_id: 'near', user_id: 'ana', app_name: 'risk/eu' },
      { session_id: 'other', user_id: 'eve', app_name: 'shop' },
    ],
  });
  await register({ app_name: 'risk/eu', user_id: 'bob' });
  page = await open({ path: '/?group=app' });
  const asked = [];
  page.on('request', request => {
    if (request.method() === 'POST') asked.push(decodeURIComponent(new URL(request.url()).pathname));
  });
  await page.getByRole('button', { name: 'Message… risk/eu' }).click();
  const dialog = page.getByRole('dialog', { name: 'Message to everyone of risk/eu' });
  await dialog.getByText('1, the others have no open socket').waitFor();
  await dialog.getByLabel('Message').fill('Restart at ten.');
  await dialog.getByRole('button', { name: 'Send to 2 sessions' }).click();
  await dialog.getByText('1 delivered, 0 sent but not confirmed, 1 not reached').waitFor();
  await dialog.getByText(/ana delivered \d+ ms ✓/).waitFor();
  await dialog.getByText('bob not reached: no socket').waitFor();
  await dialog.getByRole('button', { name: 'Close' }).click();
  assert.deepEqual(asked, ['/apps/risk/eu/message'], 'one request for all of them');

  // The same from the selection, once the filter leaves one app only.
  await page.keyboard.press('Escape');
  await page.getByLabel('Group by').selectOption('');
  const bulk = page.getByRole('region', { name: 'Selected sessions' });
  await page.getByRole('checkbox', { name: 'Select risk/eu, ana' }).check();
  await bulk.getByText('1 selected').waitFor();
  const everyone = bulk.getByRole('button', { name: /^Message all of/ });
  assert.equal(await everyone.isVisible(), false, 'two apps match');
  await page.getByLabel('Filter', { exact: true }).fill('app:risk*');
  await everyone.click();
  await dialog.getByLabel('Message').fill('Restart now.');
  await page.keyboard.press('Tab');
  await dialog.getByRole('button', { name: 'Send to 2 sessions' }).click();
  await dialog.getByText('1 delivered, 0 sent but not confirmed, 1 not reached').waitFor();
  assert.equal(asked.length, 2);
  const { events } = await api(server.url, 'GET', '/events?kind=message_delivered');
  assert.deepEqual(new Set(events.map(event => event.session_id)), new Set(['near']), 'nobody of another app');
  assert.equal((await api(server.url, 'GET', '/sessions')).total, 3, 'it ended nothing');
});

test('where the server asks who is there, the page signs in with a token, and a viewer cannot kill', async () => {
  server = await serve(['--strict']);
  const { tokens } = JSON.parse(readFileSync(`${server.db}.tokens`, 'utf8'));
  const token = role => tokens.find(entry => entry.role === role).token;
  await api(
    server.url,
    'POST',
    '/sessions',
    { app_name: 'risk', user_id: 'ana' },
    { authorization: `Bearer ${token('ingest')}` },
  );
  page = await open({ live: false });
  const field = page.getByLabel('Token');
  await field.fill('not a token');
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('alert').filter({ hasText: /./ }).waitFor();
  assert.equal(await page.locator('tbody tr').count(), 0);
  await field.fill(token('view'));
  await page.getByRole('button', { name: 'Sign in' }).click();
  await isLive(page);
  await showsUsers(page, ['ana']);
  await page.getByText('view', { exact: true }).waitFor();
  assert.equal(await page.getByRole('button', { name: /^Kill/ }).count(), 0);
  await page.keyboard.press('j');
  await page.keyboard.press('K');
  assert.equal(await page.getByText('Kill now').count(), 0);
  assert.equal(
    await page.evaluate(
      secret =>
        JSON.stringify(localStorage).includes(secret) ||
        document.documentElement.outerHTML.includes(secret) ||
        document.cookie.includes(secret),
      token('view'),
    ),
    false,
    'the page keeps no token',
  );
});
