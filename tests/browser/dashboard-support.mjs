// For the tests of the dashboard: opens the page and collects its errors, makes sessions, and reads the page.

import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { after, afterEach, before } from 'node:test';
import { ROOT, api, launchBrowser, startServer } from './support.mjs';

export const ARTIFACTS = join(ROOT, 'artifacts');
mkdirSync(ARTIFACTS, { recursive: true });

/** How long the tests wait at most, in ms: long enough for a slow machine. */
export const LONGEST_WAIT = 30_000;

/**
 * Opens the dashboard and waits until it is live.
 * @returns {Promise<import('playwright-core').Page & { problems: string[] }>} `problems` collects script errors and
 *   violations of the content policy; it has to stay empty
 */
export async function openDashboard(browser, server, { path = '/', live = true, ...options } = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(LONGEST_WAIT);
  page.problems = [];
  page.on('pageerror', error => page.problems.push(String(error.stack)));
  page.on('console', message => {
    if (message.type() === 'error' && !/Failed to load resource|WebSocket connection to/.test(message.text()))
      page.problems.push(message.text());
  });
  page.on('dialog', dialog => {
    page.problems.push(`dialog ${dialog.message()}`);
    dialog.dismiss();
  });
  await page.goto(server.url + path);
  if (live) await isLive(page);
  return page;
}

/**
 * One browser for all tests of a file. Each test may start a server, a page and a crowd; they are stopped after it, and
 * the page must have had no problems.
 */
export function stage() {
  let browser;
  const now = { server: null, page: null, crowd: null };
  before(async () => {
    browser = await launchBrowser();
  });
  after(async () => {
    await browser?.close();
  });
  afterEach(async () => {
    const problems = now.page?.problems ?? [];
    now.crowd?.stop();
    await now.page?.context().close();
    await now.server?.stop();
    Object.assign(now, { server: null, page: null, crowd: null });
    assert.deepEqual(problems, []);
  });
  return {
    /** Starts a server; a second call replaces a server that was stopped. */
    serve: async (...how) => (now.server = await startServer(...how)),
    /** Opens the dashboard of that server. */
    open: async options => (now.page = await openDashboard(browser, now.server, options)),
    /** Sessions in a process of their own. */
    crowd: () => (now.crowd = startCrowd(now.server)),
    register: fields => api(now.server.url, 'POST', '/sessions', { app_name: 'shop', ...fields }),
  };
}

export const isLive = page => page.waitForFunction(() => document.querySelector('.badge.is-live') !== null);

/** The texts of the rows in view, from the top, each with its cells by column. */
export function rowsInView(page) {
  return page.evaluate(() =>
    [...document.querySelectorAll('.table-view:not([hidden]) tbody tr.row:not([hidden])')]
      .sort((a, b) => a.ariaRowIndex - b.ariaRowIndex)
      .map(row =>
        Object.fromEntries(
          [...row.querySelectorAll('td[data-column]')].map(cell => [cell.dataset.column, cell.textContent]),
        ),
      ),
  );
}

export const users = async page => (await rowsInView(page)).map(row => row.user);

/** Waits until `users` in view are exactly these, in this order. */
export async function showsUsers(page, expected) {
  try {
    await page.waitForFunction(wanted => {
      const rows = [...document.querySelectorAll('.table-view:not([hidden]) tbody tr.row:not([hidden])')].sort(
        (a, b) => a.ariaRowIndex - b.ariaRowIndex,
      );
      return JSON.stringify(rows.map(row => row.querySelector('[data-column=user]')?.textContent)) === wanted;
    }, JSON.stringify(expected));
  } catch {
    assert.deepEqual(await users(page), expected);
  }
}

/** The row of a user. */
export const rowOf = (page, user) =>
  page
    .locator('tbody tr.row:not([hidden])')
    .filter({ has: page.locator(`td[data-column=user]`, { hasText: new RegExp(`^${user}$`) }) });

/** Calls `question` until its result is truthy, and returns that. */
export async function until(question, what, longest = LONGEST_WAIT) {
  const end = Date.now() + longest;
  for (;;) {
    const answer = await question();
    if (answer) return answer;
    if (Date.now() > end) assert.fail(`not within ${longest} ms: ${what}`);
    await new Promise(resolve => setTimeout(resolve, 50));
  }
}

/**
 * A process with many real sessions.
 * @returns {{ tell: (message: object) => Promise<void>, stop: () => void }} `tell` takes `{register: […]}`, `{change: n}` a
 *   second, `{beat: ms}`, `{deaf: bool}`, `{send: frame}`, and rejects with what went wrong
 */
export function startCrowd(server) {
  const execArgv = typeof WebSocket === 'undefined' ? ['--experimental-websocket', '--no-warnings'] : [];
  const child = fork(fileURLToPath(new URL('./dashboard-crowd.mjs', import.meta.url)), [server.url], { execArgv });
  const waiting = new Map();
  let number = 0;
  let failure = null;
  const fail = error => {
    failure ??= error;
    for (const { reject } of waiting.values()) reject(error);
    waiting.clear();
  };
  child.on('message', message => {
    if (message.error) fail(new Error(message.error));
    else {
      waiting.get(message.done)?.resolve();
      waiting.delete(message.done);
    }
  });
  child.on('exit', code => {
    if (code) fail(new Error(`the crowd exited with ${code}`));
  });
  return {
    tell: message =>
      new Promise((resolve, reject) => {
        if (failure) {
          reject(failure);
          return;
        }
        number += 1;
        waiting.set(number, { resolve, reject });
        child.send({ ...message, number });
      }),
    stop: () => {
      if (child.connected) child.disconnect();
    },
  };
}

/**
 * Starts a proxy in front of the server whose connections can be cut.
 * @returns {Promise<{ url: string, cut: () => void, close: () => Promise<void> }>} `cut` resets all connections
 */
export async function startLine(server) {
  const open = new Set();
  const proxy = createServer(near => {
    const far = connect(server.port, '127.0.0.1');
    for (const [from, to] of [
      [near, far],
      [far, near],
    ]) {
      open.add(from);
      from.pipe(to);
      from.on('error', () => to.destroy());
      from.on('close', () => {
        open.delete(from);
        to.destroy();
      });
    }
  });
  proxy.listen(0, '127.0.0.1');
  await once(proxy, 'listening');
  const cut = () => {
    for (const socket of open) socket.resetAndDestroy();
  };
  return {
    url: `http://127.0.0.1:${proxy.address().port}`,
    cut,
    close: async () => {
      cut();
      proxy.close();
      await once(proxy, 'close');
    },
  };
}

const APPS = ['risk', 'shop', 'reports', 'desk', 'backup', 'ml-training', 'ledger', 'onboarding'];
const NAMES = [
  'ana',
  'bob',
  'carla',
  'dmitri',
  'eve',
  'farid',
  'grace',
  'hiro',
  'ines',
  'joe',
  'katya',
  'liam',
  'maria',
  'noor',
  'omar',
  'petra',
];
const TASKS = [
  'Q4 report',
  'Monte Carlo, 10,000 paths',
  'nightly backup',
  'train model v7',
  'export orders',
  'reconcile ledger',
  'import invoices',
  'render charts',
];

/** `count` registrations of a typical mix, the same at every call. */
export function population(count, prefix = 'p') {
  return Array.from({ length: count }, (_, i) => {
    const mixed = (i * 2654435761) >>> 0;
    const running = mixed % 9 === 0;
    return {
      session_id: `${prefix}-${String(i).padStart(6, '0')}`,
      app_name: APPS[Math.min(mixed % 11, (mixed >>> 8) % APPS.length)],
      user_id: mixed % 17 === 0 ? undefined : NAMES[(mixed >>> 4) % NAMES.length],
      status: running ? 'running' : 'idle',
      current_task: running ? TASKS[(mixed >>> 6) % TASKS.length] : undefined,
      visibility: mixed % 5 === 0 ? 'hidden' : 'visible',
      meta: { env: mixed % 3 ? 'prod' : 'staging', region: mixed % 2 ? 'eu' : 'us' },
    };
  });
}
