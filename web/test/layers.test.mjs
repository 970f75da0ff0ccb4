// The layers of web/: modules that derive state from the feed do not use the page, views do not use the socket, and no
// module turns text into markup.

import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const WEB = fileURLToPath(new URL('..', import.meta.url));
const files = readdirSync(WEB, { recursive: true })
  .map(String)
  .filter(file => file.endsWith('.js') && !file.startsWith('test'));
const source = file =>
  readFileSync(join(WEB, file), 'utf8')
    .replace(/\/\*[^]*?\*\//g, '')
    .replace(/(^|\s)\/\/.*$/gm, '');
const imports = file => [...source(file).matchAll(/from '(\.[^']+)'/g)].map(([, path]) => join(file, '..', path));

/** The scripts that the page and the worker load first. */
const ENTRIES = ['main.js', 'theme.js', 'socket.js'];

const PURE = [
  'store.js',
  'row.js',
  'states.js',
  'ordering.js',
  'grouping.js',
  'facets.js',
  'query.js',
  'fields.js',
  'columns.js',
  'event-columns.js',
  'address.js',
  'kills.js',
  'dashboard.js',
  'chosen.js',
  'difference.js',
  'inbox.js',
  'waiting.js',
  'snippets.js',
  'lib/format.js',
  'lib/csv.js',
  'lib/virtual.js',
  'lib/backoff.js',
];

test('what is derived from the feed touches neither the page nor the network', () => {
  for (const file of PURE) {
    assert.doesNotMatch(
      source(file),
      /\b(document|window|location|localStorage|fetch|WebSocket|requestAnimationFrame|HTMLElement)\b/,
      file,
    );
    for (const path of imports(file)) assert.ok(PURE.includes(path), `${file} imports ${path}`);
  }
});

test('views do not touch the socket, and only main.js wires it', () => {
  const users = files.filter(file => /\bWebSocket\b/.test(source(file)));
  assert.deepEqual(users, ['socket.js']);
  assert.deepEqual(
    files.filter(file => source(file).includes('socket.js')),
    ['connection.js'],
  );
  assert.deepEqual(
    files.filter(file => imports(file).includes('connection.js')),
    ['main.js'],
  );
});

test('nothing in the page can turn text into markup or code', () => {
  for (const file of files) {
    assert.doesNotMatch(
      source(file),
      /innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|createContextualFragment|\beval\b|new Function|srcdoc|setHTML/,
      file,
    );
  }
});

test('the page asks nothing of any other host, and has no inline script or style', () => {
  const page = readFileSync(join(WEB, 'index.html'), 'utf8');
  assert.doesNotMatch(page, /<style|style=|\son\w+=|javascript:/i);
  for (const [, address] of page.matchAll(/(?:src|href)="([^"]+)"/g)) assert.match(address, /^\.\//);
  for (const [, inline] of page.matchAll(/<script[^>]*>([^]*?)<\/script>/g)) assert.equal(inline, '');
  for (const style of readdirSync(join(WEB, 'styles')))
    assert.doesNotMatch(readFileSync(join(WEB, 'styles', style), 'utf8'), /@import|https?:|\/\//, style);
});

test('every file is small enough to be read', () => {
  for (const file of files) assert.ok(readFileSync(join(WEB, file), 'utf8').split('\n').length <= 350, file);
});

test('every module is named in the page, so that all are fetched at once', () => {
  const page = readFileSync(join(WEB, 'index.html'), 'utf8');
  const named = [...page.matchAll(/rel="modulepreload" href="\.\/assets\/([^"]+)"/g)].map(([, file]) => file);
  assert.deepEqual(named.sort(), files.filter(file => !ENTRIES.includes(file)).sort());
});
