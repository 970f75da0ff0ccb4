// Text from outside stays text and never becomes markup or a formula: in the table, its titles, the details, the log,
// the dialogs and the saved files.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { rowsInView, stage, until } from './dashboard-support.mjs';

const { serve, open, register } = stage();
let server;
let page;

const IMG = '<img src=x onerror=alert(1)>';
const HOSTILE = [
  { session_id: '__proto__', app_name: IMG, user_id: '"><script>alert(2)</script>' },
  {
    session_id: 'constructor',
    app_name: 'A'.repeat(256),
    user_id: 'B'.repeat(256),
    current_task: 'C'.repeat(256),
    status: 'running',
  },
  // The server accepts one character that cannot be seen, a non-joiner between two letters. It refuses others (see below).
  {
    session_id: 'unseen',
    app_name: 'می\u200Cخواهم',
    user_id: 'שלום ana',
    current_task: `${IMG} می\u200Cخواهم`,
    status: 'running',
  },
  {
    session_id: 'formula',
    app_name: '=HYPERLINK("http://evil.example","x")',
    user_id: '+1+1',
    current_task: '@SUM(A1:A9)',
    status: 'running',
  },
  {
    session_id: 'dash',
    app_name: '-2+3',
    user_id: '{{constructor.constructor("alert(3)")()}}',
    current_task: "'; DROP TABLE sessions; --",
    status: 'running',
  },
  {
    session_id: 'meta',
    app_name: 'tags',
    user_id: 'javascript:alert(4)',
    meta: JSON.parse(`{"__proto__":"${IMG}","constructor":"x","${IMG}":"y"}`),
  },
];

/** The elements and attributes on the page that a text could have injected. */
const injected = () =>
  page.evaluate(() => {
    const bad = [
      ...document.querySelectorAll(
        'img, script:not([src]), iframe, object, embed, base, [onerror], [onclick], [onload], [style*="expression"]',
      ),
    ].map(node => node.outerHTML);
    const links = [...document.querySelectorAll('a[href]')]
      .filter(link => !/^https?:|^\.|^blob:/.test(link.getAttribute('href')))
      .map(link => link.outerHTML);
    return [...bad, ...links];
  });

const unseen = /[\u0000-\u0008\u000b-\u001f\u200b-\u200f\u202a-\u202e\u2060-\u2069]/;

test('hostile names are inert text in every part of the page', async () => {
  server = await serve();
  for (const fields of HOSTILE) await register(fields);
  page = await open();
  await until(async () => (await rowsInView(page)).length === HOSTILE.length, 'all rows');
  const rows = await rowsInView(page);
  assert.ok(rows.some(row => row.app === IMG));
  assert.ok(
    rows.some(row => row.app === 'می‹U+200C›خواهم' && row.user === 'שלום ana'),
    JSON.stringify(rows),
  );
  const isolated = await page
    .locator('td[data-column=user]', { hasText: 'שלום' })
    .evaluate(cell => getComputedStyle(cell).unicodeBidi);
  assert.equal(isolated, 'isolate', 'text from right to left does not reorder its neighbours');
  await assert.rejects(register({ app_name: 'turn\u202Etxt.exe', client: 'test/1' }), /422/);
  await assert.rejects(register({ app_name: 'in\u200Bvisible', client: 'test/1' }), /422/);
  // Hovering writes titles, groups and facets name values, details show all of it.
  for (const cell of await page.locator('tbody tr.row:not([hidden]) td[data-column=app]').all()) await cell.hover();
  for (const by of ['app', 'user', 'status']) await page.getByLabel('Group by').selectOption(by);
  for (const id of HOSTILE.map(fields => fields.session_id)) {
    await page.goto(`${server.url}/?session=${encodeURIComponent(id)}`);
    const drawer = page.getByRole('complementary', { name: 'Session', exact: true });
    await drawer.getByText('What the log says').waitFor();
    await drawer.getByText('registered').first().waitFor();
    assert.deepEqual(await injected(), [], id);
    assert.doesNotMatch(await drawer.evaluate(node => node.innerText), unseen, id);
  }
  await page.getByText('__proto__').first().waitFor();
  for (const path of [
    '/?page=log',
    '/?page=ended',
    `/?q=${encodeURIComponent(IMG)}`,
    '/?session=__proto__&group=user',
    '/?q=meta.__proto__:*',
  ]) {
    await page.goto(server.url + path);
    await page.locator('.badge.is-live').waitFor();
    assert.deepEqual(await injected(), [], path);
  }
  // The dialogs name the app too.
  await page.goto(`${server.url}/?group=app`);
  await page.getByRole('button', { name: `Kill group… ${IMG}` }).click();
  await page.getByRole('dialog').getByText(IMG).first().waitFor();
  assert.deepEqual(await injected(), []);
  await page.keyboard.press('Escape');
  const texts = await page.evaluate(() =>
    [
      document.body.innerText,
      ...[...document.querySelectorAll('[title], [aria-label]')].flatMap(node => [node.title, node.ariaLabel]),
    ].join('\n'),
  );
  assert.doesNotMatch(texts, unseen);
  assert.equal(await page.evaluate(() => ({}).polluted ?? Object.prototype.toString.call({})), '[object Object]');
});

/** The rows of a CSV text, after RFC 4180. */
function readCsv(text) {
  const rows = [[]];
  let cell = '';
  let quoted = false;
  for (let i = 0; i < text.length; i += 1) {
    if (quoted) {
      if (text[i] !== '"') cell += text[i];
      else if (text[i + 1] === '"') {
        cell += '"';
        i += 1;
      } else quoted = false;
    } else if (text[i] === '"') quoted = true;
    else if (text[i] === ',') {
      rows.at(-1).push(cell);
      cell = '';
    } else if (text.startsWith('\r\n', i)) {
      rows.at(-1).push(cell);
      cell = '';
      rows.push([]);
      i += 1;
    } else cell += text[i];
  }
  return rows.slice(0, -1);
}

async function saved(action) {
  const [download] = await Promise.all([page.waitForEvent('download'), action()]);
  return { name: download.suggestedFilename(), rows: readCsv(await readFile(await download.path(), 'utf8')) };
}

test('CSV holds the visible rows in their order, and no cell that a spreadsheet would run', async () => {
  server = await serve();
  for (const fields of HOSTILE) await register(fields);
  for (let i = 0; i < 30; i += 1)
    await register({ app_name: i % 2 ? 'risk' : 'shop', user_id: `user ${i}, "the ${i}th"` });
  page = await open({
    path: '/?sort=app,-user&columns=state,app,user,task,id',
    viewport: { width: 1280, height: 2000 },
  });
  await page.getByText('36 sessions').waitFor();
  const visible = await rowsInView(page);
  assert.equal(visible.length, 36);
  const { name, rows } = await saved(() => page.getByRole('button', { name: 'CSV' }).click());
  assert.match(name, /^sessions-.*\.csv$/);
  assert.deepEqual(rows[0], ['State', 'App', 'User', 'Task', 'Session id']);
  const harmless = text => text.replace(/(^|;)(?=\s*[=+\-@])/g, "$1'");
  assert.deepEqual(
    rows.slice(1),
    visible.map(row => ['state', 'app', 'user', 'task', 'id'].map(key => harmless(row[key]))),
  );
  for (const row of rows) for (const cell of row) assert.doesNotMatch(cell, /^[=+\-@\t\r]/);

  // Filtered, it holds what the filter leaves.
  await page.getByLabel('Filter', { exact: true }).fill('app:risk');
  await page.getByText('15 of 36').waitFor();
  const filtered = await saved(() => page.getByRole('button', { name: 'CSV' }).click());
  assert.deepEqual(
    filtered.rows.slice(1).map(row => row[2]),
    (await rowsInView(page)).map(row => row.user),
  );

  // The log too.
  await page.getByRole('button', { name: 'Audit log' }).click();
  await page.getByText(/^36 events/).waitFor();
  const log = await saved(() => page.getByRole('button', { name: 'CSV' }).click());
  assert.equal(log.rows.length, 37);
  for (const row of log.rows) for (const cell of row) assert.doesNotMatch(cell, /^[=+\-@\t\r]/);
});

test('the page runs under its strict policy and cannot be framed', async () => {
  server = await serve();
  const answer = await fetch(server.url);
  const policy = answer.headers.get('content-security-policy');
  assert.match(policy, /default-src 'none'/);
  assert.match(policy, /script-src 'self'(;|$)/);
  assert.match(policy, /style-src 'self'(;|$)/);
  assert.match(policy, /frame-ancestors 'none'/);
  page = await open();
  const ran = await page.evaluate(() => {
    const violations = [];
    document.addEventListener('securitypolicyviolation', event => violations.push(event.violatedDirective));
    const script = document.createElement('script');
    script.textContent = 'window.inlineRan = true';
    document.body.append(script);
    return { ran: window.inlineRan === true };
  });
  assert.equal(ran.ran, false, 'an inline script does not run');
  page.problems.length = 0; // that violation was ours
  const outside = await page.evaluate(() =>
    performance
      .getEntriesByType('resource')
      .map(entry => entry.name)
      .filter(name => !name.startsWith(location.origin)),
  );
  assert.deepEqual(outside, []);
});
