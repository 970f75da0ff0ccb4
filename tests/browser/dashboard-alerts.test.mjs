// The alerts on the page: a target is tested by a press, a real local server gets the post, the list tells its answer.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { ARTIFACTS, openDashboard, until } from './dashboard-support.mjs';
import { launchBrowser, startServer } from './support.mjs';

let browser;
let server;
let folder;
let sink;
const posts = [];

before(async () => {
  sink = createServer(async (request, response) => {
    let body = '';
    for await (const piece of request) body += piece;
    posts.push({ id: request.headers['webhook-id'], signature: request.headers['webhook-signature'], body });
    response.end('ok');
  }).listen(0, '127.0.0.1');
  await once(sink, 'listening');
  folder = mkdtempSync(join(tmpdir(), 'sessionwatch-alerts-'));
  const rules = `
[[notify]]
name = "ops"
kind = "json"
url = "http://127.0.0.1:${sink.address().port}/hook-with-a-secret"
allow_private = true
on = ["failed"]
`;
  writeFileSync(join(folder, 'rules.toml'), rules, { mode: 0o600 });
  server = await startServer(['--rules', join(folder, 'rules.toml')]);
  browser = await launchBrowser();
});

after(async () => {
  await browser?.close();
  await server?.stop();
  sink?.close();
  rmSync(folder, { recursive: true, force: true });
});

test('a target is tested from the page, and the list tells what became of each alert', async () => {
  await fetch(`${server.url}/ping/backup/job1/start`, { method: 'POST' });
  await fetch(`${server.url}/ping/backup/job1/3`, { method: 'POST' });
  const page = await openDashboard(browser, server);
  try {
    await page.getByRole('button', { name: 'Alerts' }).click();
    const dialog = page.locator('dialog.alerts');
    await dialog.getByRole('button', { name: 'Send a test' }).click();
    await until(async () => posts.length >= 1, 'the test arrives');
    await dialog.getByRole('row').filter({ hasText: 'backup' }).getByText('delivered').waitFor();
    await page.screenshot({ path: join(ARTIFACTS, 'alerts.png') });
    assert.ok(posts.every(({ id, signature }) => id && signature?.startsWith('v1,')), JSON.stringify(posts));
    assert.equal((await dialog.innerText()).includes('hook-with-a-secret'), false);
  } finally {
    await page.close();
  }
});
