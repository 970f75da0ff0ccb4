// Locks in real browsers: made with a kill, shown by push, a page that is locked out comes back when the lock is lifted or over;
// and a page tells of input, shows a rule's warning and answers it.

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { ARTIFACTS, stage } from './dashboard-support.mjs';
import { api, servePages } from './support.mjs';

const { serve, open, register } = stage();
const get = (server, path) => api(server.url, 'GET', path);

/** A page with the browser client; `state` is its session's. */
const clientPage = (server, options = '') => `<!doctype html><title>app</title><p>app</p><script type="module">
  import { monitorSession } from '${server.url}/client.js';
  const session = globalThis.session = monitorSession({ app: 'shop', userId: 'ana', notice: true, ${options} });
  globalThis.locks = [];
  session.addEventListener('locked', ({ reason, until }) => locks.push([reason, until]));
</script>`;

const inState = (page, state) => page.waitForFunction(state => globalThis.session?.state === state, state);

test('a kill keeps its user out, the lock is shown by push, and lifting it lets the page in again', async () => {
  const server = await serve();
  const page = await open();
  const app = await servePages({ '/': clientPage(server) });
  const user = await page.context().newPage();
  try {
    await user.goto(app.url);
    await inState(user, 'online');
    const row = page.locator('.grid .row').filter({ hasText: 'ana' });
    await row.hover();
    await row.getByRole('button', { name: /^Kill/ }).click();
    await row.getByPlaceholder('Reason (optional)').fill('audit');
    await row.getByLabel('Keep out for').selectOption('1h');
    await page.screenshot({ path: join(ARTIFACTS, 'lock-row.png') });
    await row.getByRole('button', { name: 'Kill now' }).click();
    await inState(user, 'killed');
    await page.getByRole('button', { name: 'Locks 1' }).waitFor();

    await user.reload();
    await inState(user, 'locked');
    assert.equal(await user.evaluate(() => locks[0][0]), 'audit');
    await user.getByText(/^Locked until .*: audit$/).waitFor();
    assert.equal((await get(server, '/sessions')).sessions.filter(session => session.user_id === 'ana').length, 0);

    await page.getByRole('button', { name: 'Locks 1' }).click();
    const line = page.locator('dialog.locks tbody tr');
    await line.filter({ hasText: 'ana in shop' }).filter({ hasText: 'audit' }).waitFor();
    await page.screenshot({ path: join(ARTIFACTS, 'locks.png') });
    await line.getByRole('button', { name: /^Lift/ }).click();
    await page.getByText('Nobody is locked out.').waitFor();
    await user.evaluate(() => session.reconnect());
    await inState(user, 'online');
    // A new lock, made in the dialog.
    const form = page.locator('dialog.locks form');
    await form.getByLabel('App').fill('shop');
    await form.getByLabel('Reason').fill('release');
    await form.getByRole('button', { name: 'Lock' }).click();
    await line.filter({ hasText: 'everybody in shop' }).waitFor();
    // One that somebody else makes comes by push into the open dialog.
    await api(server.url, 'POST', '/locks', { user_id: 'eve', reason: 'left', until: new Date(Date.now() + 3_600_000) });
    await line.filter({ hasText: 'eve in all apps' }).waitFor();
  } finally { await app.close(); }
});

test('a row tells that its user is locked out, while it is live and when it has ended', async () => {
  const server = await serve();
  const page = await open();
  await register({ user_id: 'ana', session_id: 'live' });
  await register({ user_id: 'bob', session_id: 'free' });
  await api(server.url, 'POST', '/locks', { filter: 'user:an*', reason: 'audit', until: new Date(Date.now() + 3_600_000) });
  const row = user => page.locator('.grid .row').filter({ hasText: user });
  const mark = row('ana').locator('.locked');
  await mark.waitFor();
  assert.match(await mark.getAttribute('title'), /^Cannot register again until .*: audit$/);
  assert.equal(await row('bob').locator('.locked').count(), 0);
  await page.screenshot({ path: join(ARTIFACTS, 'lock-mark.png') });
  await row('ana').press('Enter');
  await page.getByText(/^until .*: audit$/).waitFor();
  await page.keyboard.press('Escape');
  await api(server.url, 'DELETE', '/sessions/live');
  await row('ana').getByText(/locked out until/).waitFor();
});

test('a page that is locked out comes back by itself when the lock is over', async () => {
  const server = await serve();
  const page = await open();
  await api(server.url, 'POST', '/locks', { app_name: 'shop', reason: 'release', until: new Date(Date.now() + 4_000) });
  const app = await servePages({ '/': clientPage(server) });
  try {
    const user = await page.context().newPage();
    await user.goto(app.url);
    await inState(user, 'locked');
    await inState(user, 'online');
    assert.equal(await user.evaluate(() => locks.length), 1);
  } finally { await app.close(); }
});

test('input of the user makes a page active, and without it the page is idle', async () => {
  const server = await serve();
  const page = await open();
  await register({ session_id: 'other' });
  const app = await servePages({ '/': clientPage(server), '/still': clientPage(server, 'idle: false') });
  try {
    const user = await page.context().newPage();
    await user.goto(app.url);
    await inState(user, 'online');
    const [session] = (await get(server, '/sessions?user_id=ana')).sessions;
    assert.deepEqual([session.idle_since, session.reported_status], [null, 'idle']);
    await user.goto(`${app.url}/still`);
    await inState(user, 'online');
    await user.mouse.move(5, 5);
    const still = (await get(server, '/sessions?user_id=ana')).sessions.find(({ session_id: id }) => id !== session.session_id);
    assert.equal(still.idle_since, still.status_since);
  } finally { await app.close(); }
});

test('a rule warns, one user stays and another one is ended', async () => {
  const rules = join(ARTIFACTS, 'stay.toml');
  writeFileSync(rules, '[[rule]]\nname = "short"\nwhen = "app:shop"\nwarn = "You will be signed out."\ngrace = "4s"\nthen = "kill"\nreason = "too long"\n');
  const server = await serve(['--rules', rules]);
  const page = await open();
  const app = await servePages({ '/': clientPage(server), '/quiet': clientPage(server, 'notice: undefined') });
  try {
    const [stays, goes] = [await page.context().newPage(), await page.context().newPage()];
    await goes.goto(app.url);
    await stays.goto(`${app.url}/quiet`);
    await stays.getByRole('button', { name: 'Stay' }).click();
    await goes.getByText('You will be signed out.').waitFor();
    await inState(goes, 'killed');
    assert.equal(await stays.evaluate(() => session.state), 'online');
    assert.equal(await stays.getByRole('button', { name: 'Stay' }).count(), 0);
    const stayed = (await get(server, '/events?kind=stayed')).events;
    assert.equal(stayed.length, 1);
  } finally { await app.close(); }
});
