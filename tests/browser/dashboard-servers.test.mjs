// The dashboard of several servers: two real ones on a real PostgreSQL. Skipped where PostgreSQL is not installed.

import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { LONGEST_WAIT, openDashboard } from './dashboard-support.mjs';
import { freePort, launchBrowser, startServer } from './support.mjs';
import WebSocket from 'ws';

const BIN = '/usr/lib/postgresql/15/bin';
const root = process.getuid() === 0;
const asPostgres = args => (root ? ['setpriv', '--reuid=postgres', '--regid=postgres', '--clear-groups', ...args] : args);

let folder;
let postgres;
let url;
let browser;

const skip = existsSync(join(BIN, 'postgres')) ? false : 'postgresql-15 is not installed';

before(async () => {
  if (skip) return;
  folder = mkdtempSync('/tmp/sw-pg-');
  if (root) execFileSync('chown', ['postgres:postgres', folder]);
  const run = args => execFileSync(args[0], args.slice(1), { stdio: 'ignore' });
  const data = join(folder, 'data');
  run(asPostgres([join(BIN, 'initdb'), '--auth=trust', '--username=postgres', '--encoding=UTF8', '--locale=C', '--no-sync', '-D', data]));
  const port = await freePort();
  const [command, ...args] = asPostgres([
    join(BIN, 'postgres'), '-D', data, '-p', String(port), '-c', 'listen_addresses=127.0.0.1', '-c', 'unix_socket_directories=',
  ]);
  postgres = spawn(command, args, { stdio: 'ignore' });
  // The servers wait for a database that is not there yet.
  url = `postgres://postgres@127.0.0.1:${port}/postgres?sslmode=disable`;
  browser = await launchBrowser();
});

after(async () => {
  await browser?.close();
  if (!postgres) return;
  postgres.kill('SIGINT');
  await once(postgres, 'exit');
  rmSync(folder, { recursive: true, force: true });
});

const start = name => startServer(['--node-name', name], { db: url });

/** Opens the socket of a session, which stays open until the test closes it. */
async function holdSession(server, id) {
  const socket = new WebSocket(`${server.url.replace('http', 'ws')}/ws/client`, 'sessionwatch.v1');
  await once(socket, 'open');
  socket.send(JSON.stringify({ type: 'register', app_name: 'risk', session_id: id }));
  await once(socket, 'message');
  return socket;
}

test('the page shows which server holds a socket, filters by it, and lists the servers', { skip }, async () => {
  const one = await start('alpha');
  const other = await start('beta');
  const sockets = [await holdSession(one, 'at-alpha'), await holdSession(other, 'at-beta')];
  const page = await openDashboard(browser, one);
  try {
    const cell = id => page.locator('.grid .row').filter({ hasText: id }).locator('.cell-node');
    await page.locator('.head.cell-node').waitFor();
    await page.goto(`${one.url}/?columns=id,node`);
    await cell('at-alpha').filter({ hasText: 'alpha' }).waitFor();
    await cell('at-beta').filter({ hasText: /^beta$/ }).waitFor();

    await page.getByRole('button', { name: 'Servers' }).click();
    const line = name => page.locator('dialog.servers tbody tr').filter({ hasText: name });
    await line('alpha').filter({ hasText: 'this page' }).waitFor();
    assert.equal(await page.locator('dialog.servers tbody tr').count(), 2);
    // Name, state, up, sockets.
    await page.waitForFunction(
      () => [...document.querySelectorAll('dialog.servers tbody tr')].every(row => row.cells[3].textContent === '1'),
      undefined,
      { timeout: LONGEST_WAIT },
    );
    await other.kill9();
    await page.locator('dialog.servers tr.is-gone').filter({ hasText: 'beta' }).waitFor();
    await line('alpha').getByRole('button').click();
    await page.locator('dialog.servers').waitFor({ state: 'detached' });
    assert.equal(await page.getByLabel('Filter', { exact: true }).inputValue(), 'node:alpha');
    await page.locator('.grid .row').filter({ hasText: 'at-beta' }).waitFor({ state: 'hidden' });
    assert.ok(await cell('at-alpha').isVisible());
    assert.deepEqual(page.problems, []);
  } finally {
    sockets.forEach(socket => socket.terminate());
    await page.context().close();
    await one.stop();
    await other.kill9();
  }
});

test('one server alone shows nothing of servers', { skip }, async () => {
  const server = await startServer();
  const socket = await holdSession(server, 'there');
  const page = await openDashboard(browser, server, { path: '/?columns=id,node' });
  try {
    await page.locator('.grid .row').filter({ hasText: 'there' }).waitFor();
    assert.equal(await page.getByRole('button', { name: 'Servers' }).count(), 0);
    assert.equal(await page.locator('.head.cell-node').count(), 0);
    assert.deepEqual(page.problems, []);
  } finally {
    socket.terminate();
    await page.context().close();
    await server.stop();
  }
});
