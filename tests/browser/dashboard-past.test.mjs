// The past in a real browser: a press on the band shows the table as it was, arrow keys go from event to event, a second
// press compares two moments, and nobody can end anything there.

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { ARTIFACTS, rowOf, showsUsers, stage, until } from './dashboard-support.mjs';
import { api } from './support.mjs';

const { serve, open, register } = stage();

const tell = (server, session, fields) =>
  api(server.url, 'PUT', `/sessions/${session.session_id}/status`, fields, {
    authorization: `Bearer ${session.session_token}`,
  });
const leave = (server, session) =>
  api(server.url, 'DELETE', `/sessions/${session.session_id}`, undefined, {
    authorization: `Bearer ${session.session_token}`,
  });
const pause = () => new Promise(done => setTimeout(done, 30));

/** A short history; each moment is between two events. */
async function history(server) {
  const moments = {};
  const mark = async name => {
    await pause();
    moments[name] = new Date().toISOString();
    await pause();
  };
  const ana = await register({ user_id: 'ana', app_name: 'risk' });
  const bob = await register({ user_id: 'bob' });
  await tell(server, ana, { status: 'running', current_task: 'Q4 report' });
  await mark('work');
  await tell(server, ana, { status: 'idle' });
  await leave(server, bob);
  await register({ user_id: 'eve' });
  await mark('later');
  await leave(server, ana);
  await mark('end');
  return moments;
}

const banner = page => page.getByRole('region', { name: 'The past' });
const back = page => banner(page).getByRole('button', { name: 'Back to now' });

test('a moment of the past is shown with a banner and without a way to end anything', async () => {
  const server = await serve();
  const moments = await history(server);
  const page = await open({ path: `/?at=${moments.work}` });
  await banner(page).getByText(/^As it was at /).waitFor();
  await showsUsers(page, ['ana', 'bob']);
  assert.match(await rowOf(page, 'ana').textContent(), /Q4 report/);
  assert.equal(await page.locator('.grid .kill:visible').count(), 0, 'no kill buttons');
  await page.keyboard.press('j');
  await page.keyboard.press('K');
  assert.equal(await page.locator('.grid .armed').count(), 0);
  const ana = rowOf(page, 'ana');
  await ana.click({ button: 'right' });
  await page.getByRole('menuitem', { name: 'Copy row' }).waitFor();
  assert.equal(await page.getByRole('menuitem', { name: /Kill|Message/ }).count(), 0);
  await page.keyboard.press('Escape');

  // The filter, the facets and the numbers are those of the moment.
  await page.locator('input.filter').fill('status:running');
  await showsUsers(page, ['ana']);
  await page.locator('input.filter').fill('');
  await page.screenshot({ path: join(ARTIFACTS, 'past-light.png') });
  await page.emulateMedia({ colorScheme: 'dark' });
  await page.screenshot({ path: join(ARTIFACTS, 'past-dark.png') });
  await page.setViewportSize({ width: 390, height: 800 });
  await page.screenshot({ path: join(ARTIFACTS, 'past-phone.png') });
  await page.setViewportSize({ width: 1280, height: 800 });

  // What happens meanwhile is there at once on the way back.
  await register({ user_id: 'new' });
  await back(page).click();
  await showsUsers(page, ['new', 'eve']);
  assert.ok((await page.locator('.grid .kill').count()) > 0);
  assert.equal(new URL(page.url()).searchParams.get('at'), null);
  await page.goBack();
  await showsUsers(page, ['ana', 'bob']);
});

test('the arrow keys go from event to event', async () => {
  const server = await serve();
  const moments = await history(server);
  const page = await open({ path: `/?at=${moments.work}` });
  await showsUsers(page, ['ana', 'bob']);
  const what = banner(page).locator('.what');
  await page.keyboard.press('ArrowRight');
  await what.getByText(/after: status, ana in risk/).waitFor();
  await until(async () => !/Q4 report/.test(await rowOf(page, 'ana').textContent()), 'the task is over');
  await page.keyboard.press('ArrowRight');
  await what.getByText(/after: removed, bob in shop/).waitFor();
  await showsUsers(page, ['ana']);
  await page.keyboard.press('ArrowLeft');
  await showsUsers(page, ['bob', 'ana']);
  await banner(page).getByRole('button', { name: '‹ event' }).click();
  await until(async () => /Q4 report/.test(await rowOf(page, 'ana').textContent()), 'the task is back');
  await page.goto(`${server.url}/?at=${moments.end}`);
  await banner(page).getByText(/^As it was at /).waitFor();
  await showsUsers(page, ['eve']);
  await page.keyboard.press('ArrowRight');
  await page.getByText('That was the last event').first().waitFor();
  await page.keyboard.press('Escape');
  await page.keyboard.press('Escape');
  await banner(page).waitFor({ state: 'hidden' });
});

test('a press on the band opens the past, a second one with shift compares', async () => {
  const server = await serve();
  const moments = await history(server);
  const page = await open();
  await showsUsers(page, ['eve']);
  const band = page.getByRole('img', { name: /Sessions by state/ });
  const box = await band.boundingBox();
  // All of it was just now: the right edge is the present, the left one is before the first session.
  await page.mouse.click(box.x + box.width - 1, box.y + 10);
  await banner(page).getByText(/^As it was at /).waitFor();
  await page.locator('.mark.is-hand').waitFor({ state: 'attached' });
  await page.keyboard.down('Shift');
  await page.mouse.click(box.x + 4, box.y + 10);
  await page.keyboard.up('Shift');
  await banner(page).getByText(/1 came, 0 went, 0 changed/).waitFor();
  await showsUsers(page, ['eve']);

  await page.goto(`${server.url}/?at=${moments.work}&versus=${moments.later}`);
  await banner(page).getByText(/^What differs from /).waitFor();
  await banner(page).getByText('1 came, 1 went, 1 changed').waitFor();
  await rowOf(page, 'ana').getByText('running → idle, Q4 report → none').waitFor();
  await rowOf(page, 'bob').getByText('went').waitFor();
  await rowOf(page, 'eve').getByText('came').waitFor();
  await page.screenshot({ path: join(ARTIFACTS, 'past-compared.png') });
  await banner(page).getByRole('button', { name: 'Stop comparing' }).click();
  await showsUsers(page, ['eve', 'ana']);
  await back(page).click();
  await showsUsers(page, ['eve']);
});

test('what cannot be told is said, and the band has longer spans', async () => {
  const server = await serve();
  await history(server);
  const page = await open({ path: '/?at=2020-01-01T00:00:00Z' });
  await banner(page).getByText(/The past cannot be shown: the log no longer reaches back/).waitFor();
  await back(page).click();
  await showsUsers(page, ['eve']);
  const spans = page.getByRole('group', { name: 'Span of the chart' });
  for (const [name, words] of [['7 days', /in the last 7 days/], ['30 days', /in the last 30 days/], ['hour', /in the last \d+ minutes/]]) {
    await spans.getByRole('button', { name: `show the last ${name}` }).click();
    await page.getByRole('img', { name: words }).waitFor({ state: 'attached' }).catch(async () => {
      // Without a whole minute there is nothing to describe; the region says the span.
      await page.getByRole('region', { name: `The last ${name === 'hour' ? /\d+ minutes/ : name}` }).waitFor();
    });
  }
});
