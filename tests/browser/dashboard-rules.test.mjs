// The rules on the page: what is due in the details, sparing a session, the list of the rules, a rehearsal.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { ARTIFACTS, openDashboard, until } from './dashboard-support.mjs';
import { api, launchBrowser, startServer } from './support.mjs';

const RULES = `
[[rule]]
name = "idle desks"
when = "app:desk"
warn = "You will be signed out in an hour unless you go on."
grace = "1h"
then = "kill"
reason = "idle"

[[rule]]
name = "too many"
when = "app:crowd"
then = "kill"
limit = "1 per 10m"
`;

let browser;
let server;
let folder;

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'sessionwatch-rules-'));
  writeFileSync(join(folder, 'rules.toml'), RULES, { mode: 0o600 });
  server = await startServer(['--rules', join(folder, 'rules.toml')]);
  browser = await launchBrowser();
});

after(async () => {
  await browser?.close();
  await server?.stop();
  rmSync(folder, { recursive: true, force: true });
});

test('what a rule is about to do stands in the details, and an administrator can spare the session', async () => {
  await api(server.url, 'POST', '/sessions', { app_name: 'desk', session_id: 'd1', user_id: 'ana' });
  const page = await openDashboard(browser, server, { path: '/?session=d1' });
  try {
    await page.getByText('by the rule idle desks').waitFor();
    await page.screenshot({ path: join(ARTIFACTS, 'rules-due.png') });
    await page.getByRole('button', { name: 'Spare it' }).click();
    await page.getByText('by the rule idle desks').waitFor({ state: 'detached' });
    assert.equal(await page.getByRole('button', { name: 'Spare it' }).isVisible(), false);
    await page.getByRole('cell', { name: 'called off' }).waitFor();
  } finally {
    await page.close();
  }
});

test('the list of the rules tells what they did, releases one that its limit has stopped, and rehearses', async () => {
  for (const id of ['c1', 'c2', 'c3'])
    await api(server.url, 'POST', '/sessions', { app_name: 'crowd', session_id: id, status: 'running', current_task: 'Q4' });
  const page = await openDashboard(browser, server);
  try {
    await page.getByRole('button', { name: 'Rules' }).click();
    const dialog = page.locator('dialog.rules');
    const line = dialog.getByRole('row').filter({ hasText: 'too many' });
    await line.getByText('stopped').waitFor();
    await dialog.getByRole('row').filter({ hasText: 'idle desks' }).getByText('warn, kill after').waitFor();
    await line.getByRole('button', { name: 'Rehearse' }).click();
    await dialog.getByText('It would have ended 1 session, cut off 1 task.').waitFor();
    await dialog.getByText('Its limit would have stopped it').waitFor();
    await page.screenshot({ path: join(ARTIFACTS, 'rules.png') });
    await dialog.getByLabel('The rule').fill('[[rule]]\nname = "x"\nwhen = "colour:red"\nthen = "kill"');
    await dialog.getByRole('button', { name: 'Rehearse' }).last().click();
    await dialog.getByText('there is no colour').waitFor();
    const asked = async () =>
      (await (await fetch(`${server.url}/sessions?app_name=crowd`)).json()).sessions.filter(row => row.kill_requested).length;
    assert.equal(await asked(), 1);
    await line.getByRole('button', { name: 'Let it act again' }).click();
    await until(async () => (await asked()) === 2, 'the rule acts again');
  } finally {
    await page.close();
  }
});
