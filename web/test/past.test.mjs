// The past in the page: its own table in place of the live one, which goes on; and what differs between two moments.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { defaults, read, write } from '../address.js';
import { Dashboard } from '../dashboard.js';
import { differences, withMarks } from '../difference.js';
import { T0, iso, session } from './support.mjs';

/** A session as the server tells it of the past. */
const then = (id, fields = {}) => session(id, { last_heartbeat: null, connected: null, node: null, ...fields });

function live() {
  const dashboard = new Dashboard({ view: defaults() });
  const tell = frame => {
    dashboard.take(JSON.stringify(frame));
    do dashboard.step(1000);
    while (dashboard.busy);
  };
  tell({ type: 'hello', server: 's', role: 'admin', epoch: 'e', now: new Date().toISOString(), stale_after: 120 });
  tell({ type: 'snapshot', part: 1, parts: 1, seq: 1, sessions: [session('a'), session('b', { app_name: 'risk' })] });
  dashboard.setLine({ state: 'open', retryAt: 0, lostAt: 0 });
  return { dashboard, tell };
}

const shown = dashboard => [...dashboard.matchingRows()].map(row => row.id).sort();
const MOMENT = { at: T0 + 60_000, seq: 7, complete: true, since: null, counts: null };

test('the past is shown in place of the live table, and nobody can act on it', () => {
  const { dashboard, tell } = live();
  dashboard.select(['a'], true);
  assert.ok(dashboard.mayAct);
  dashboard.enter(MOMENT, [then('old', { is_stale: true, status: 'stale' }), then('a', { current_task: 'Q4' })]);
  assert.deepEqual(shown(dashboard), ['a', 'old']);
  assert.equal(dashboard.mayAct, false);
  assert.equal(dashboard.role, 'view');
  assert.equal(dashboard.selection.size, 0);
  assert.equal(dashboard.now(), MOMENT.at);
  assert.deepEqual(dashboard.facets.counts.status, new Map([['stale', 1], ['idle', 1]]));
  const row = dashboard.store.rows.get('old');
  assert.equal(row.beat, 0, 'the log has no heartbeats');
  assert.equal(row.strip(dashboard.now()), '........');

  // The live table goes on, unseen.
  tell({ type: 'changes', from: 1, seq: 3, upserted: [session('c')], removed: [{ session_id: 'b', cause: 'ended', at: iso(0) }] });
  tell({ type: 'beats', beats: { a: iso(5) } });
  assert.deepEqual(shown(dashboard), ['a', 'old']);
  assert.equal(dashboard.fed.seq, 3);
  dashboard.show({ query: 'status:stale' });
  assert.deepEqual(shown(dashboard), ['old']);
  dashboard.show({ query: 'silent:>1m' });
  assert.deepEqual(shown(dashboard), [], 'what is not known matches nothing');
  dashboard.show({ query: '' });

  dashboard.leave();
  assert.deepEqual(shown(dashboard), ['a', 'c']);
  assert.ok(dashboard.mayAct);
  assert.equal(dashboard.facets.counts.status.get('idle'), 2, 'counted anew');
  tell({ type: 'changes', from: 3, seq: 4, upserted: [session('d', { app_name: 'risk' })] });
  assert.deepEqual(shown(dashboard), ['a', 'c', 'd']);
  assert.deepEqual([...dashboard.facets.counts.app].sort(), [['risk', 1], ['shop', 2]]);
});

test('what differs is told in words', () => {
  const kill = { kill_id: 'k', delivered_at: null, acknowledged_at: null };
  const older = [
    then('same'),
    then('task', { current_task: 'one', reported_status: 'running' }),
    then('went'),
    then('again'),
    then('killed'),
  ];
  const newer = [
    then('same'),
    then('task', { current_task: null, reported_status: 'idle' }),
    then('came'),
    then('again', { start_time: iso(500) }),
    then('killed', { kill_requested: true, kill }),
  ];
  const found = differences(older, newer);
  assert.deepEqual(found.counts, { came: 2, went: 1, changed: 2 });
  assert.deepEqual(found.came.map(one => one.session_id), ['came', 'again'], 'the same id anew is another session');
  const words = Object.fromEntries(found.changed.map(({ session: one, words: text }) => [one.session_id, text]));
  assert.equal(words.task, 'running → idle, one → none');
  assert.equal(words.killed, 'idle → ending, none → kill requested');
  const { dashboard } = live();
  dashboard.enter({ ...MOMENT, since: T0, counts: found.counts }, withMarks(found));
  assert.equal(dashboard.store.rows.get('went').differs.kind, 'went');
  assert.equal(dashboard.store.rows.get('task').differs.words, words.task);
});

test('a link holds the moment, and nonsense in it is now', () => {
  const moment = { ...defaults(), at: '2026-11-27T14:03:00.000Z', versus: '123' };
  assert.deepEqual(read(write(moment)), moment);
  assert.equal(read('?at=2026-11-27T14:03:00Z').at, '2026-11-27T14:03:00.000Z');
  for (const nonsense of ['?at=yesterday', '?at=', '?versus=5', '?at=-1e9x']) {
    assert.equal(read(nonsense).at, null, nonsense);
    assert.equal(read(nonsense).versus, null, nonsense);
  }
});
