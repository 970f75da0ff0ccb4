// The client in different surroundings: another origin, an origin that is not allowed, a strict CSP, a classic script,
// a framework, Node.

import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { ROOT, api, launchBrowser, servePages, startServer } from './support.mjs';
import { TERMINATED, inState, kill, session, sessionPage, sessions, until } from './client-pages.mjs';

const CLIENT = { type: 'text/javascript', body: readFileSync(join(ROOT, 'client-js/client.js'), 'utf8') };

const LIMIT = { timeout: 60_000 };

let server, browser;

before(async () => {
  [server, browser] = await Promise.all([
    startServer(),
    // Names that resolve to this machine and are no loopback names.
    launchBrowser(['--host-resolver-rules=MAP *.example 127.0.0.1']),
  ]);
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

/** A page of an app that serves `pages`, until the test `t` ends; `open` goes there, and what the console says is gathered. */
async function app(t, pages, host = '127.0.0.1') {
  const site = await servePages(pages);
  const context = await browser.newContext();
  t.after(async () => { await context.close(); await site.close(); });
  const page = await context.newPage();
  const lines = [], errors = [], opened = [];
  page.on('console', message => lines.push(message.text()));
  page.on('pageerror', error => errors.push(error));
  page.on('websocket', socket => opened.push(socket.url()));
  const url = site.url.replace('127.0.0.1', host);
  return { page, lines, errors, opened, origin: url, open: (path = '/') => page.goto(url + path) };
}

/** A server of the test's own. */
async function another(t, args) {
  const server = await startServer(args);
  t.after(() => server.stop());
  return server;
}

describe('embedded', { concurrency: 3 }, () => {
  test('a page on another loopback origin may connect, and its client finds the server by itself', LIMIT, async t => {
    const { page, open } = await app(t, { '/': sessionPage(server) }, 'localhost');
    await open();
    assert.equal(await page.evaluate(() => session.ready.then(({ state }) => state)), 'online');
    assert.equal(await page.evaluate(() => sockets[0].url), `${server.url.replace('http', 'ws')}/ws/client`);
  });

  test('a page on an origin that is not allowed gets one clear line, and the app goes on', LIMIT, async t => {
    const { page, lines, errors, open } = await app(t, {
      '/client.js': CLIENT,
      '/': sessionPage({ url: '' }, `server: '${server.url}'`),
    }, 'app.example');
    await open();
    await inState(page, 'offline');
    // Wait for further attempts. Chrome writes a line of its own about each.
    await page.waitForFunction(() => closes.length >= 4, null, { timeout: 20_000 });
    assert.deepEqual(await page.evaluate(() => closes[0]), [1006, '']);
    const ours = lines.filter(line => line.startsWith('sessionwatch'));
    assert.equal(ours.length, 1);
    assert.match(ours[0], new RegExp(`${server.port}/ws/client.*--allow-origin http://app\\.example:\\d+`));
    assert.equal(await page.evaluate(() => session.task('goes on', () => 7)), 7);
    assert.deepEqual(errors, []);
    assert.ok(!(await sessions(server)).some(({ current_task }) => current_task === 'goes on'));
  });

  test('the same origin, once allowed, connects', LIMIT, async t => {
    const pages = { '/client.js': CLIENT };
    const { page, origin, open } = await app(t, pages, 'app.example');
    const allowing = await another(t, ['--allow-origin', origin]);
    pages['/'] = sessionPage({ url: '' }, `server: '${allowing.url}'`);
    await open();
    await inState(page, 'online');
    assert.equal((await sessions(allowing)).length, 1);
  });

  test('where the server asks for a token, a wrong one gets nowhere and the right one in', LIMIT, async t => {
    const strict = await another(t, ['--strict']);
    const { tokens } = JSON.parse(readFileSync(`${strict.db}.tokens`, 'utf8'));
    const { token } = tokens.find(({ role }) => role === 'ingest');
    const { page, lines, open } = await app(t, {
      '/': sessionPage(strict, `token: async () => globalThis.token ?? 'wrong'`),
    });
    await open();
    await inState(page, 'refused');
    // The client's listener runs before the page's. The client closed the socket without a code.
    await page.waitForFunction(() => closes.length > 0);
    assert.deepEqual(await page.evaluate(() => closes[0]), [1005, '']);
    assert.equal(lines.filter(line => line.startsWith('sessionwatch')).length, 1);
    await page.evaluate(token => { globalThis.token = token; session.reconnect(); }, token);
    await inState(page, 'online');
    // The last request of the page needs only the session's own token.
    const id = await page.evaluate(() => session.id);
    const admin = { authorization: `Bearer ${tokens.find(({ role }) => role === 'admin').token}` };
    const ids = async () => (await api(strict.url, 'GET', '/sessions', undefined, admin)).sessions.map(({ session_id }) => session_id);
    assert.deepEqual(await ids(), [id]);
    await page.goto('about:blank');
    await until('it is removed', async () => (await ids()).length === 0, 2_000);
  });

  test('a server that is not there costs one line, and nothing else', LIMIT, async t => {
    const { page, lines, errors, open } = await app(t, {
      '/client.js': CLIENT,
      // Port 9 is discard, which nobody serves.
      '/': sessionPage({ url: '' }, `server: 'http://127.0.0.1:9'`),
    });
    await open();
    await page.waitForFunction(() => session.state === 'offline');
    await page.evaluate(async () => { await session.task('work', () => {}); session.setStatus('waiting'); session.end(); });
    assert.equal(lines.filter(line => line.startsWith('sessionwatch')).length, 1);
    assert.deepEqual(errors, []);
  });

  test('a page under a strict CSP works without violations, up to the kill and its notice', LIMIT, async t => {
    const ws = server.url.replace('http', 'ws');
    const { page, lines, errors, open } = await app(t, {
      '/': {
        body: '<!doctype html><title>strict</title><script type="module" src="/app.js"></script>',
        headers: {
          'content-security-policy': `default-src 'none'; script-src 'self' ${server.url}; connect-src ${server.url} ${ws}`,
        },
      },
      '/app.js': { type: 'text/javascript', body: `
        globalThis.violations = [];
        addEventListener('securitypolicyviolation', event => violations.push(event.violatedDirective));
        const { monitorSession } = await import('${server.url}/client.js');
        globalThis.session = monitorSession({ app: 'strict', notice: true });` },
    });
    await open();
    await page.waitForFunction(() => globalThis.session?.state === 'online');
    const id = await page.evaluate(() => session.id);
    await page.evaluate(() => session.task('work', () => {}));
    await kill(server, id, 'over');
    await page.getByRole('alert').waitFor();
    await until('it is removed', async () => !(await session(server, id)));
    assert.deepEqual(await page.evaluate(() => violations), []);
    assert.deepEqual([errors, lines.filter(line => /Content Security Policy|sessionwatch/.test(line))], [[], []]);
  });

  test('the classic script starts from its tag, and works by hand', LIMIT, async t => {
    const { page, open } = await app(t, {
      '/': `<!doctype html><title>classic</title><script src="${server.url}/client.iife.js" data-app="shop" data-user="eve"></script>`,
    });
    await open();
    const id = await page.evaluate(() => sessionwatch.session.ready.then(({ id }) => id));
    const { app_name, user_id } = await session(server, id);
    assert.deepEqual([app_name, user_id], ['shop', 'eve']);
    const other = await page.evaluate(() => sessionwatch.monitorSession({ app: 'second' }).ready.then(({ id }) => id));
    assert.notEqual(other, id);
    await page.close({ runBeforeUnload: true });
    await until('both are removed', async () =>
      !(await sessions(server)).some(({ session_id }) => session_id === id || session_id === other));
  });

  test('the classic script is loaded from an allowed origin elsewhere, with `crossorigin`', LIMIT, async t => {
    const pages = {};
    const { page, origin, open } = await app(t, pages, 'app.example');
    const allowing = await another(t, ['--allow-origin', origin]);
    pages['/'] = `<!doctype html><script src="${allowing.url}/client.iife.js" crossorigin data-app="far"></script>`;
    await open();
    await page.waitForFunction(() => globalThis.sessionwatch?.session.state === 'online');
  });

  test('the plain page of the examples runs its task, and saves its notes when it is killed', LIMIT, async t => {
    const file = name => readFileSync(join(ROOT, 'examples/plain-page', name), 'utf8')
      .replaceAll('http://localhost:8000', server.url);
    const { page, errors, open } = await app(t, {
      '/': file('index.html'),
      '/page.js': { type: 'text/javascript', body: file('page.js') },
      '/page.css': { type: 'text/css', body: file('page.css') },
    });
    await open();
    await page.getByRole('status').filter({ hasText: 'online' }).waitFor();
    const mine = async () => (await sessions(server)).find(({ meta }) => meta.page === 'plain');
    await page.getByLabel('Notes').fill('half a sentence');
    await page.getByRole('button', { name: 'Make the Q4 report' }).click();
    await until('the task is on', async () => (await mine()).current_task === 'Q4 report');
    await kill(server, (await mine()).session_id, 'closing time');
    await page.getByRole('alert').filter({ hasText: `${TERMINATED}: closing time` }).waitFor();
    await until('it is removed', async () => !(await mine()));
    assert.ok(await page.evaluate(() => document.querySelector('progress').value < 100), 'the task stopped half-way');
    assert.equal(await page.evaluate(() => localStorage.notes), 'half a sentence');
    assert.deepEqual(errors, []);
  });

  test('React\'s StrictMode, which mounts twice, makes one socket and one row', LIMIT, async t => {
    const example = join(ROOT, 'examples/react');
    const esbuild = join(example, 'node_modules/.bin/esbuild');
    assert.ok(existsSync(esbuild), 'run `npm ci` in examples/react');
    const bundle = execFileSync(esbuild, ['app.jsx', '--bundle', '--format=esm', '--jsx=automatic', '--define:process.env.NODE_ENV="development"'],
      { cwd: example, encoding: 'utf8', maxBuffer: 1 << 26 });
    const { page, opened, open } = await app(t, {
      '/': readFileSync(join(example, 'index.html'), 'utf8'),
      '/out/app.js': { type: 'text/javascript', body: bundle },
    });
    await open(`/?server=${server.url}`);
    await page.getByText('is online').waitFor();
    await page.getByRole('button').click();
    const row = await until('its task', async () =>
      (await sessions(server)).find(({ meta, current_task }) => !meta.page && current_task === 'Q4 report'));
    assert.equal(opened.length, 1);
    await kill(server, row.session_id);
    await page.getByText('is killed').waitFor();
    assert.equal(opened.length, 1);
  });

  test('under Node the same module is a session, ended by a kill', LIMIT, async t => {
    const program = `
      import { monitorSession } from ${JSON.stringify(join(ROOT, 'client-js/client.js'))};
      const session = monitorSession({ app: 'node', server: '${server.url}' });
      session.addEventListener('kill', ({ reason }) => console.log(session.id, session.state, reason));
      await session.ready;
      session.setStatus('waiting', 'for the end');`;
    const run = promisify(execFile)(process.execPath,
      ['--experimental-websocket', '--input-type=module', '-e', program], { timeout: 30_000 });
    const row = await until('it is there', async () =>
      (await sessions(server)).find(({ app_name, status }) => app_name === 'node' && status === 'waiting'));
    await kill(server, row.session_id, 'done');
    // The process ends, so nothing of the client is left after its session.
    assert.equal((await run).stdout.trim(), `${row.session_id} killed done`);
  });
});
