// For the tests of the browser client: a page of an app that is a session, a Chromium that treats hidden pages as a
// user's Chromium does, and a proxy between page and server whose connections can be cut.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { chromium } from 'playwright-core';
import { api } from './support.mjs';

export const TERMINATED = 'Session terminated by administrator';

/**
 * A page of an app that becomes a session when it loads. Its globals: `session`; `sockets`, the WebSockets that the
 * page opened; `closes`, the `[code, reason]` of each that was closed; `states`, the states of the session.
 *
 * @param {{ url: string }} server where the client comes from
 * @param {string} [options] further options for `monitorSession`, as source text
 */
export const sessionPage = (server, options = '') => `<!doctype html><title>app</title><a href="/other">other</a>
  <script type="module">
    import { monitorSession } from '${server.url}/client.js';
    globalThis.sockets = [];
    globalThis.closes = [];
    class Watched extends WebSocket {
      constructor(...args) {
        super(...args);
        sockets.push(this);
        this.addEventListener('close', ({ code, reason }) => closes.push([code, reason]));
      }
    }
    globalThis.session = monitorSession({ app: 'reports', WebSocket: Watched, ${options} });
    globalThis.states = [];
    session.addEventListener('statechange', ({ state }) => states.push(state));
  </script>`;

/** Opens a page and waits until its session is online. Returns the page; `page.sessionId` is the session's id. */
export async function openSession(context, url) {
  const page = await context.newPage();
  await page.goto(url);
  page.sessionId = await page.evaluate(() => session.ready.then(({ id }) => id));
  return page;
}

/** Waits until the page's session is in this state. Polled from outside, since a hidden page's timers are late. */
export const inState = (page, state, timeout = 20_000) =>
  until(`the session is ${state}`, () => page.evaluate(state => globalThis.session?.state === state, state), timeout);

/** Waits until the page's session has been in this state; it may have left it again. */
export const reached = (page, state, timeout = 20_000) =>
  until(`the session was ${state}`, () => page.evaluate(state => states.includes(state), state), timeout);

/** The live sessions, as a dashboard has them. */
export const sessions = async server => (await api(server.url, 'GET', '/sessions')).sessions;

/** One session, or undefined when it is gone. */
export const session = async (server, id) => (await sessions(server)).find(({ session_id }) => session_id === id);

/** The kinds of a session's events, oldest first. */
export async function history(server, id) {
  const { events } = await api(server.url, 'GET', `/sessions/${id}/timeline`);
  return events;
}

/** Calls `ask` until its result is truthy and returns that; throws with `what` after `timeout` ms. */
export async function until(what, ask, timeout = 10_000) {
  const deadline = performance.now() + timeout;
  for (;;) {
    const answer = await ask();
    if (answer) return answer;
    if (performance.now() > deadline) throw new Error(`not within ${timeout} ms: ${what}`);
    await new Promise(resolve => setTimeout(resolve, 25));
  }
}

export const kill = (server, id, reason) =>
  api(server.url, 'POST', `/sessions/${id}/kill`, { reason, by: 'root' });

/**
 * Starts a Chromium without Playwright's changes for tests: background pages are hidden and their timers throttled, and
 * the back-forward cache is on.
 *
 * @param {string[]} [args] further command line arguments
 */
export async function launchPlainBrowser(args = []) {
  const profile = mkdtempSync(join(tmpdir(), 'sessionwatch-chromium-'));
  // Without a first page: Playwright may wait for ever when it connects while that page is being created.
  const child = spawn(process.env.CHROMIUM ?? '/usr/bin/chromium', [
    '--headless', '--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', '--no-startup-window', '--remote-debugging-port=0',
    `--user-data-dir=${profile}`, ...args,
  ], { stdio: ['ignore', 'ignore', 'pipe'] });
  const exited = once(child, 'exit');
  const ended = async () => {
    await exited;
    rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
  };
  try {
    const endpoint = await new Promise((resolve, reject) => {
      createInterface({ input: child.stderr }).on('line', line => {
        const found = /listening on (ws:\S+)/.exec(line);
        if (found) resolve(found[1]);
      });
      exited.then(([code]) => reject(new Error(`Chromium exited with ${code}`)));
    });
    const browser = await chromium.connectOverCDP(endpoint, { noDefaults: true });
    return {
      context: browser.contexts()[0],
      async close() {
        // Closed and not killed, so that its profile can be removed afterwards.
        await (await browser.newBrowserCDPSession()).send('Browser.close').catch(() => {});
        await ended();
      },
    };
  } catch (error) {
    child.kill('SIGKILL');
    await ended();
    throw error;
  }
}

/**
 * Starts a proxy in front of the server, whose connections can fail as real ones do.
 *
 * @returns {Promise<{ url: string, protocols: string[], stall: () => void, cut: () => void,
 *   refuse: (refusing: boolean) => void, close: () => Promise<void> }>} `protocols` are the subprotocols that the server
 *   has chosen, of all WebSockets so far; `stall` stops all data of the present connections without closing them; `cut`
 *   closes them; `refuse` refuses new ones
 */
export async function wire(server) {
  const pairs = new Set();
  const protocols = [];
  let refusing = false;
  const listener = createServer(near => {
    if (refusing) { near.destroy(); return; }
    const far = connect(server.port, '127.0.0.1');
    far.once('data', head => {
      const chosen = /^sec-websocket-protocol: *(\S+)/im.exec(head.toString('latin1').split('\r\n\r\n')[0]);
      if (chosen) protocols.push(chosen[1]);
    });
    const pair = { near, far };
    pairs.add(pair);
    for (const [from, to] of [[near, far], [far, near]]) {
      from.on('error', () => {});
      from.on('close', () => { pairs.delete(pair); if (!pair.stalled) to.destroy(); });
      from.pipe(to);
    }
  });
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const cut = () => { for (const { near, far } of pairs) near.destroy(), far.destroy(); };
  return {
    url: `http://127.0.0.1:${listener.address().port}`,
    protocols,
    stall() {
      for (const pair of pairs) {
        pair.stalled = true;
        pair.near.unpipe(); pair.near.pause();
        pair.far.unpipe(); pair.far.pause();
      }
    },
    cut,
    refuse(yes) { refusing = yes; },
    async close() { cut(); listener.close(); await once(listener, 'close'); },
  };
}
