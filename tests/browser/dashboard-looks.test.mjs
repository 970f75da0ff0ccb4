// Takes pictures of every view into artifacts/, and asserts that axe-core finds no violation in any of them.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { COLUMNS } from '../../web/columns.js';
import { api, launchBrowser, startServer } from './support.mjs';
import { ARTIFACTS, openDashboard, population, startCrowd, until } from './dashboard-support.mjs';

const axe = createRequire(import.meta.url)('axe-core');
let browser;
let server;
let crowd;

before(async () => {
  browser = await launchBrowser();
  server = await startServer(['--heartbeat-interval', '1s', '--stale-after', '4s', '--expire-after', '10m']);
  crowd = startCrowd(server);
  // Three that go stale, many that beat, two that are asked to end and do not answer.
  for (const user of ['omar', 'petra', 'liam'])
    await api(server.url, 'POST', '/sessions', {
      app_name: 'desk',
      user_id: user,
      status: 'running',
      current_task: 'render charts',
    });
  await crowd.tell({ register: population(420).map(fields => ({ ...fields, heartbeat_interval: 1 })) });
  await crowd.tell({ beat: 1000 });
  await until(async () => (await api(server.url, 'GET', '/sessions?status=stale')).total === 3, 'three are stale');
  await crowd.tell({ deaf: true });
  for (const id of ['p-000003', 'p-000014'])
    await api(server.url, 'POST', `/sessions/${id}/kill`, { reason: 'memory', by: 'joe' });
  for (let i = 0; i < 3; i += 1) {
    const gone = await api(server.url, 'POST', '/sessions', { app_name: 'backup', user_id: 'cron' });
    await api(server.url, 'DELETE', `/sessions/${gone.session_id}`, undefined, {
      authorization: `Bearer ${gone.session_token}`,
    });
  }
});
after(async () => {
  crowd?.stop();
  await browser?.close();
  await server?.stop();
});

async function violations(page) {
  await page.evaluate(axe.source);
  const { violations: found } = await page.evaluate(() => window.axe.run(document, { resultTypes: ['violations'] }));
  return found.map(
    ({ id, help, nodes }) =>
      `${id}: ${help}: ${nodes
        .slice(0, 3)
        .map(node => `${node.target} ${node.any[0]?.message ?? ''}`)
        .join(' | ')}`,
  );
}

const rowsThere = page => page.locator('tbody tr.row:not([hidden])').nth(3).waitFor();
const PHONE = { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true };

const detailsThere = page => page.getByText('What the log says').waitFor();

/** Every view of the page: its name, address, options of the browser's context, and when it is there. */
const VIEWS = [
  ['live', '/', {}, rowsThere],
  ['grouped', '/?group=app&q=status:running,stale,ending', {}, rowsThere],
  ['all-columns', `/?columns=${Object.keys(COLUMNS)}`, { viewport: { width: 2200, height: 800 } }, rowsThere],
  ['nothing-matches', '/?q=app:nobody', {}, page => page.getByText('No session matches this filter.').waitFor()],
  ['not-understood', '/?q=colour:red', {}, page => page.getByText('not understood: colour:red').waitFor()],
  ['details', '/?session=p-000003', {}, detailsThere],
  ['details-unknown', '/?session=nobody', {}, page => page.getByText('The log knows no session of this id.').waitFor()],
  ['ended', '/?page=ended', {}, page => page.getByText('3 events').waitFor()],
  ['log', '/?page=log', {}, rowsThere],
  ['phone', '/', PHONE, rowsThere],
  ['phone-details', '/?session=p-000003', PHONE, detailsThere],
  ['phone-log', '/?page=log', PHONE, rowsThere],
  ['wall', '/?wall=1', { viewport: { width: 1920, height: 1080 } }, rowsThere],
];
const THEMES = ['light', 'dark'];

/** Keeps a picture of the page, and asserts that axe finds no violation. */
async function passes(page, name, colorScheme) {
  await page.screenshot({ path: join(ARTIFACTS, `dashboard-${name}-${colorScheme}.png`) });
  assert.deepEqual(await violations(page), [], `${name} ${colorScheme}`);
}

for (const [name, path, options, ready] of VIEWS) {
  test(`axe finds no violation in the ${name} view, in either theme`, async () => {
    const page = await openDashboard(browser, server, { path, ...options });
    await ready(page);
    for (const colorScheme of THEMES) {
      await page.emulateMedia({ colorScheme });
      await passes(page, name, colorScheme);
    }
    assert.deepEqual(page.problems, []);
    await page.context().close();
  });
}

test('axe finds no violation in what opens over the page', async () => {
  for (const colorScheme of THEMES) {
    const page = await openDashboard(browser, server, { colorScheme });
    await rowsThere(page);
    const look = name => passes(page, name, colorScheme);
    const selected = page.getByRole('region', { name: 'Selected sessions' });
    for (let i = 0; i < 8; i += 1) await page.keyboard.press('j');
    await page.keyboard.press('K');
    await look('armed');
    await page.keyboard.press('Escape');
    await page.keyboard.press('x');
    await page.keyboard.press('j');
    await page.keyboard.press('x');
    await selected.getByText('2 selected').waitFor();
    await selected.getByRole('button', { name: 'Kill…' }).click();
    await page.getByRole('dialog').waitFor();
    await look('kill');
    await page.keyboard.press('Escape');
    await selected.getByRole('button', { name: 'Message…' }).click();
    await page.getByRole('dialog').waitFor();
    await look('message');
    await page.keyboard.press('Escape');
    await page.keyboard.press('?');
    await page.getByRole('dialog').waitFor();
    await look('help');
    await page.keyboard.press('Escape');
    await page.getByRole('button', { name: 'Columns' }).click();
    await page.getByRole('menu').waitFor();
    await look('columns');
    await page.keyboard.press('Escape');
    await page.locator('tbody tr.row:not([hidden]) td[data-column=app]').nth(2).click({ button: 'right' });
    await page.getByRole('menu').waitFor();
    await look('cell-menu');
    assert.deepEqual(page.problems, []);
    await page.context().close();
  }
});

test('axe finds no violation in an empty server, in the card of a kill, while the server is away, and at the login', async () => {
  for (const colorScheme of THEMES) {
    const small = await startServer();
    const page = await openDashboard(browser, small, { colorScheme });
    await page.getByText('No sessions yet').waitFor();
    assert.ok((await page.getByLabel('curl snippet').textContent()).includes(`${small.url}/sessions`));
    await passes(page, 'empty', colorScheme);

    await api(small.url, 'POST', '/sessions', { app_name: 'risk', user_id: 'ana' });
    await page.locator('tr.row:not([hidden]) .kill').click();
    await page.getByRole('button', { name: 'Kill now' }).click();
    await page.getByRole('region', { name: 'Kills' }).getByText('0 of 1 kill done').waitFor();
    await passes(page, 'kill-card', colorScheme);
    await small.kill9();
    await page.locator('main.dimmed').waitFor();
    await passes(page, 'away', colorScheme);
    assert.deepEqual(page.problems, []);
    await page.context().close();
    await small.stop();

    const strict = await startServer(['--strict']);
    const login = await openDashboard(browser, strict, { colorScheme, live: false });
    await login.getByLabel('Token').fill('not a token');
    await passes(login, 'login', colorScheme);
    await login.getByRole('button', { name: 'Sign in' }).click();
    await login.getByRole('alert').filter({ hasText: /./ }).waitFor();
    await passes(login, 'login-refused', colorScheme);
    await login.context().close();
    await strict.stop();
  }
});

test('the theme follows the system until another is chosen, which a reload keeps', async () => {
  const page = await openDashboard(browser, server, { colorScheme: 'dark' });
  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  assert.equal(await ground(), 'rgb(13, 17, 23)');
  await page.emulateMedia({ colorScheme: 'light' });
  assert.equal(await ground(), 'rgb(255, 255, 255)');
  await page.keyboard.press('t'); // light, whatever the system says
  await page.keyboard.press('t'); // dark
  assert.equal(await ground(), 'rgb(13, 17, 23)');
  await page.reload();
  await rowsThere(page);
  assert.equal(await ground(), 'rgb(13, 17, 23)');
  await page.keyboard.press('t'); // the system's again
  assert.equal(await ground(), 'rgb(255, 255, 255)');
  await page.context().close();
});

test('under reduced motion nothing moves by itself', async () => {
  const page = await openDashboard(browser, server, { reducedMotion: 'reduce' });
  await rowsThere(page);
  const born = page.evaluate(
    () =>
      new Promise(resolve => {
        const look = () => {
          const row = document.querySelector('tr.row.born');
          if (row) resolve(getComputedStyle(row).animationName);
          else requestAnimationFrame(look);
        };
        look();
      }),
  );
  await api(server.url, 'POST', '/sessions', { app_name: 'new', user_id: 'zoe', status: 'running' });
  assert.equal(await born, 'none', 'a new row does not glow');
  await page.context().close();
});
