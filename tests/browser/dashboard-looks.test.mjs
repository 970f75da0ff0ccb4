// How the page looks, kept as pictures of this run in artifacts/, and that axe-core
// finds nothing to object to in any of its parts.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
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
  // Some that fall silent, many that are well, two that are asked to end and do not listen.
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

const LOOKS = [
  ['light', '/', { colorScheme: 'light' }, rowsThere],
  ['dark', '/', { colorScheme: 'dark' }, rowsThere],
  ['grouped', '/?group=app&q=status:running,stale,ending', { colorScheme: 'dark' }, rowsThere],
  ['phone', '/', { ...PHONE, colorScheme: 'light' }, rowsThere],
  ['phone-dark', '/', { ...PHONE, colorScheme: 'dark' }, rowsThere],
  ['wall', '/?wall=1', { viewport: { width: 1920, height: 1080 }, colorScheme: 'dark' }, rowsThere],
  ['details', '/?session=p-000003', { colorScheme: 'light' }, page => page.getByText('What the log says').waitFor()],
  [
    'details-dark',
    '/?session=p-000003',
    { colorScheme: 'dark' },
    page => page.getByText('What the log says').waitFor(),
  ],
  ['ended', '/?page=ended', { colorScheme: 'light' }, page => page.getByText('3 events').waitFor()],
  ['log', '/?page=log', { colorScheme: 'dark' }, rowsThere],
  [
    'nothing-matches',
    '/?q=app:nobody',
    { colorScheme: 'light' },
    page => page.getByText('No session matches this filter.').waitFor(),
  ],
];

for (const [name, path, options, ready] of LOOKS) {
  test(`the ${name} view, with no violation found by axe`, async () => {
    const page = await openDashboard(browser, server, { path, ...options });
    await ready(page);
    await page.screenshot({ path: join(ARTIFACTS, `dashboard-${name}.png`) });
    assert.deepEqual(await violations(page), []);
    assert.deepEqual(page.problems, []);
    await page.context().close();
  });
}

test('what opens over the page has no violation either', async () => {
  for (const colorScheme of ['light', 'dark']) {
    const page = await openDashboard(browser, server, { colorScheme });
    await rowsThere(page);
    const look = async name => {
      await page.screenshot({ path: join(ARTIFACTS, `dashboard-${name}-${colorScheme}.png`) });
      assert.deepEqual(await violations(page), [], `${name} ${colorScheme}`);
    };
    for (let i = 0; i < 8; i += 1) await page.keyboard.press('j');
    await page.keyboard.press('K');
    await look('armed');
    await page.keyboard.press('Escape');
    await page.keyboard.press('x');
    await page.keyboard.press('j');
    await page.keyboard.press('x');
    await page.getByText('2 selected').waitFor();
    await page.getByRole('region', { name: 'Selected sessions' }).getByRole('button', { name: 'Kill…' }).click();
    await look('kill');
    await page.keyboard.press('Escape');
    await page.getByRole('region', { name: 'Selected sessions' }).getByRole('button', { name: 'Message…' }).click();
    await look('message');
    await page.keyboard.press('Escape');
    await page.keyboard.press('?');
    await look('help');
    await page.keyboard.press('Escape');
    await page.getByRole('button', { name: 'Columns' }).click();
    await look('columns');
    assert.deepEqual(page.problems, []);
    await page.context().close();
  }
});

test('an empty server shows how to join, with no violation', async () => {
  const empty = await startServer();
  try {
    const page = await openDashboard(browser, empty);
    await page.getByText('No sessions yet').waitFor();
    assert.ok((await page.getByLabel('curl snippet').textContent()).includes(`${empty.url}/sessions`));
    await page.screenshot({ path: join(ARTIFACTS, 'dashboard-empty.png') });
    assert.deepEqual(await violations(page), []);
    await page.context().close();
  } finally {
    await empty.stop();
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
