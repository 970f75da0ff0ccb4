// Several servers: which are listed, what is shown of them, the column and the filter.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { read } from '../address.js';
import { DEFAULT_COLUMNS, shownColumns } from '../columns.js';
import { Dashboard } from '../dashboard.js';
import { listed } from '../servers.js';
import { lagWords, stateWord } from '../views/dialogs/servers.js';
import { changes, hello, session, snapshot } from './support.mjs';

const server = (node, name, fields = {}) => ({ node, name, gone: false, keeper: false, ...fields });

function fed(query, frames) {
  const dashboard = new Dashboard({ view: { ...read(''), query } });
  dashboard.setLine({ state: 'open', retryAt: 0, lostAt: 0 });
  for (const frame of frames) dashboard.take(JSON.stringify(frame));
  while (dashboard.busy) assert.ok(dashboard.step(50));
  return dashboard;
}

const ids = dashboard => [...dashboard.matchingRows()].map(row => row.id).sort();

test('a server that runs again under its name is listed once, one that is gone by its last run', () => {
  const all = [
    server(1, 'b', { gone: true }),
    server(2, 'a', { gone: true }),
    server(3, 'a', { gone: true }),
    server(4, 'b'),
    server(5, 'c'),
  ];
  assert.deepEqual(
    listed(all).map(({ node }) => node),
    [3, 4, 5],
  );
  assert.deepEqual(listed([]), []);
});

test('two servers that run under one name are both listed', () => {
  assert.equal(listed([server(1, 'a'), server(2, 'a')]).length, 2);
});

test('the column of the servers is shown only where there are several', () => {
  assert.ok(shownColumns(DEFAULT_COLUMNS, true).includes('node'));
  assert.ok(!shownColumns(DEFAULT_COLUMNS, false).includes('node'));
  assert.equal(shownColumns(DEFAULT_COLUMNS, true), DEFAULT_COLUMNS, 'the rows are not built anew for the same columns');
  assert.deepEqual(shownColumns(['app', 'node'], false), ['app']);
  assert.ok(shownColumns(['node'], false).length > 1, 'never a table without columns');
  const dashboard = new Dashboard({ view: read('?columns=app,node') });
  assert.deepEqual(dashboard.columns, ['app']);
  dashboard.setSeveral(true);
  assert.deepEqual(dashboard.columns, ['app', 'node']);
});

test('node: selects the sessions whose socket that server holds', () => {
  const there = [session('a', { node: 'n1' }), session('b', { node: 'n2' }), session('c', { connected: false })];
  const frames = [hello(), snapshot(1, there)];
  assert.deepEqual(ids(fed('node:n1', frames)), ['a']);
  assert.deepEqual(ids(fed('node:n*', frames)), ['a', 'b']);
  assert.deepEqual(ids(fed('node:""', frames)), ['c']);
  const moved = changes(1, 2, [session('a', { node: 'n2' })]);
  assert.deepEqual(ids(fed('node:n2', [...frames, moved])), ['a', 'b']);
});

test('a server whose name is new to the page is told once', () => {
  const dashboard = new Dashboard({ view: read('') });
  let told = 0;
  dashboard.addEventListener('nodes', () => (told += 1));
  dashboard.setLine({ state: 'open', retryAt: 0, lostAt: 0 });
  const take = frame => {
    dashboard.take(JSON.stringify(frame));
    while (dashboard.busy) assert.ok(dashboard.step(50));
  };
  take(hello());
  take(snapshot(1, [session('a', { node: 'n1' }), session('b')]));
  assert.equal(told, 1);
  take(changes(1, 2, [session('b', { node: 'n1' })]));
  assert.equal(told, 1);
  take(changes(2, 3, [session('b', { node: 'n2' })]));
  assert.equal(told, 2);
});

test('what a server does, and how far it is behind', () => {
  assert.deepEqual([server(1, 'a'), server(1, 'a', { keeper: true }), server(1, 'a', { gone: true })].map(stateWord), [
    'up',
    'keeper',
    'gone',
  ]);
  assert.equal(lagWords({ lag: 0, lag_ms: 0 }), 'none');
  assert.equal(lagWords({ lag: null, lag_ms: null }), '');
  assert.equal(lagWords({ lag: 1, lag_ms: 40 }), '1 event, 40 ms');
  assert.equal(lagWords({ lag: null, lag_ms: 1500 }), '1.50 s');
});
