// For all browser tests: starts a real server on a free port with its own database, and a real headless Chromium.

import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createTcpServer } from 'node:net';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createInterface } from 'node:readline';
import { chromium } from 'playwright-core';

export const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..', '..');

/** A port that nobody uses now, for programs that cannot choose one themselves. */
export async function freePort() {
  const server = createTcpServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

/** The binary under test: SESSIONWATCH_BIN, else the release build, else the debug build. */
export function binary() {
  const candidates = [
    process.env.SESSIONWATCH_BIN,
    join(ROOT, 'target/release/sessionwatch'),
    join(ROOT, 'target/debug/sessionwatch'),
  ];
  const found = candidates.find(path => path && existsSync(path));
  if (!found) throw new Error('no sessionwatch binary: run `cargo build --release` or set SESSIONWATCH_BIN');
  return found;
}

/**
 * Starts a server and waits for its first line.
 *
 * @param {string[]} [args] further command line arguments
 * @param {{ db?: string, listen?: string, command?: string[] }} [options] `db` to reuse a database,
 *   `listen` to reuse a port across a restart
 * @returns {Promise<{ url: string, port: number, db: string, process: import('node:child_process').ChildProcess,
 *   stop: () => Promise<number|null>, kill9: () => Promise<void> }>}
 */
export async function startServer(args = [], options = {}) {
  const folder = options.db ? null : mkdtempSync(join(tmpdir(), 'sessionwatch-test-'));
  const db = options.db ?? join(folder, 'test.db');
  const child = spawn(
    binary(),
    [...(options.command ?? ['serve']), '--listen', options.listen ?? '127.0.0.1:0', '--db', db, ...args],
    { stdio: ['ignore', 'pipe', process.env.SESSIONWATCH_TEST_LOG ? 'inherit' : 'ignore'] },
  );
  const exited = once(child, 'exit').then(([code]) => code);
  const line = await Promise.race([
    once(createInterface({ input: child.stdout }), 'line').then(([text]) => text),
    exited.then(code => { throw new Error(`the server exited with ${code} before it listened`); }),
  ]);
  const url = /(https?:\/\/\S+?)\/?$/.exec(line.split('/#')[0])?.[1];
  if (!url) throw new Error(`unexpected first line: ${line}`);
  const end = async signal => {
    if (child.exitCode === null && child.signalCode === null) child.kill(signal);
    const code = await exited;
    if (folder && signal === 'SIGTERM') rmSync(folder, { recursive: true, force: true });
    return code;
  };
  return {
    url,
    port: Number(new URL(url).port),
    db,
    process: child,
    stop: () => end('SIGTERM'),
    kill9: async () => { await end('SIGKILL'); },
  };
}

/**
 * Starts headless Chromium without traffic of its own to the outside. `options` are those of Playwright's `launch`.
 */
export function launchBrowser(args = [], options = {}) {
  return chromium.launch({
    ...options,
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: [
      '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync', ...args,
    ],
  });
}

/**
 * Starts the web server of an app on another port. It answers each path of `pages` with that HTML.
 *
 * @param {Record<string, string | { type?: string, body: string, headers?: Record<string,string> }>} pages
 * @returns {Promise<{ url: string, close: () => Promise<void> }>}
 */
export async function servePages(pages, host = '127.0.0.1') {
  const server = createServer((request, response) => {
    const page = pages[new URL(request.url, 'http://x').pathname];
    if (page === undefined) { response.writeHead(404).end(); return; }
    const { type = 'text/html; charset=utf-8', body, headers = {} } = typeof page === 'string' ? { body: page } : page;
    response.writeHead(200, { 'content-type': type, ...headers }).end(body);
  });
  server.listen(0, host);
  await once(server, 'listening');
  return {
    url: `http://${host}:${server.address().port}`,
    close: async () => { server.closeAllConnections(); server.close(); await once(server, 'close'); },
  };
}

/** Sends a JSON request, and throws when the answer is no success: `await api(url, 'POST', '/sessions', { app_name: 'a' })`. */
export async function api(base, method, path, body, headers = {}) {
  const response = await fetch(base + path, {
    method,
    headers: { ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
  return text ? JSON.parse(text) : null;
}
