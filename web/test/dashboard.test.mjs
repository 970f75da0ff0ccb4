// What is shown, without the page: stillness, the filter, the selection, and that all of
// it stays right whatever happens in whatever order.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { defaults } from '../address.js';
import { Dashboard } from '../dashboard.js';
import { life, stepText } from '../event-columns.js';
import { changes, hello, iso, session, snapshot } from './support.mjs';

const opened = (sessions, view = {}) => {
  const dashboard = new Dashboard({ view: { ...defaults(), ...view } });
  const tell = frame => {
    dashboard.take(JSON.stringify(frame));
    return settle(dashboard);
  };
  dashboard.setLine({ state: 'open', retryAt: 0, lostAt: 0 });
  tell({ ...hello(), now: new Date().toISOString() });
  tell(snapshot(1, sessions));
  return { dashboard, tell };
};

function settle(dashboard) {
  let whole = true;
  for (let i = 0; i < 10_000; i += 1) {
    whole &&= dashboard.step(1000);
    if (!dashboard.busy) break;
  }
  return whole;
}

const shown = dashboard =>
  Array.from({ length: dashboard.lines.length }, (_, i) => dashboard.lineAt(i)).map(
    line => line.id ?? `[${line.value}]`,
  );
const gone = (id, cause = 'ended') => ({ session_id: id, cause, at: new Date().toISOString() });

test('rows hold still, what would move is counted, and all of it moves at once afterwards', () => {
  const { dashboard, tell } = opened([
    session('a', { start_time: iso(3) }),
    session('b', { start_time: iso(2) }),
    session('c', { start_time: iso(1) }),
  ]);
  assert.deepEqual(shown(dashboard), ['a', 'b', 'c']);
  dashboard.hold(true);
  tell(
    changes(
      1,
      2,
      [session('c', { start_time: iso(1), is_stale: true }), session('d', { start_time: iso(9) })],
      [gone('a')],
    ),
  );
  assert.deepEqual(shown(dashboard), ['a', 'b', 'c']);
  assert.equal(dashboard.wouldMove.size, 3, 'c moves up, d appears, a leaves');
  assert.equal(dashboard.store.rows.get('c').state, 'stale', 'what the rows say is true nevertheless');
  tell(changes(2, 3, [session('b', { start_time: iso(2), meta: { env: 'prod' } })]));
  assert.equal(dashboard.wouldMove.size, 3, 'b changes where it stands');
  tell(changes(3, 4, [session('c', { start_time: iso(1) })]));
  assert.equal(dashboard.wouldMove.size, 2, 'c would stay after all');
  dashboard.hold(false);
  settle(dashboard);
  assert.deepEqual(shown(dashboard), ['d', 'a', 'b', 'c']);
  assert.equal(dashboard.wouldMove.size, 0);
});

test('an empty table does not hold: its first row appears under the pointer', () => {
  const { dashboard, tell } = opened([]);
  dashboard.hold(true);
  tell(changes(1, 2, [session('a')]));
  assert.deepEqual(shown(dashboard), ['a']);
});

test('waiting updates can be let in once, and the table holds on', () => {
  const { dashboard, tell } = opened([session('a')]);
  dashboard.hold(true);
  tell(changes(1, 2, [session('b', { is_stale: true })]));
  dashboard.catchUp();
  settle(dashboard);
  assert.deepEqual(shown(dashboard), ['b', 'a']);
  tell(changes(2, 3, [session('c', { is_stale: true, start_time: iso(50) })]));
  assert.deepEqual(shown(dashboard), ['b', 'a']);
});

test('a session that ends is no longer selected', () => {
  const { dashboard, tell } = opened([session('a'), session('b')]);
  dashboard.select(['a', 'b'], true);
  tell(changes(1, 2, [], [gone('a', 'killed')]));
  assert.deepEqual([...dashboard.selection], ['b']);
  assert.equal(dashboard.matching, 1, 'an ended row that lingers is not counted');
  assert.deepEqual(
    dashboard.selectedRows().map(row => row.id),
    ['b'],
  );
});

test('nothing can be done while the page is not live, or for a viewer', () => {
  const { dashboard } = opened([session('a')]);
  assert.equal(dashboard.mayAct, true);
  dashboard.setLine({ state: 'waiting', retryAt: 1, lostAt: 1 });
  assert.equal(dashboard.mayAct, false);
  dashboard.setLine({ state: 'open', retryAt: 0, lostAt: 0 });
  assert.equal(dashboard.mayAct, true);
  dashboard.take(JSON.stringify({ ...hello(), role: 'view' }));
  settle(dashboard);
  assert.equal(dashboard.mayAct, false);
});

test('a gap is reported, and frames of a lost line are not read after the next one opens', () => {
  const { dashboard, tell } = opened([session('a')]);
  assert.equal(tell(changes(5, 6, [session('x')])), false);
  dashboard.take(JSON.stringify(changes(1, 2, [session('late')])));
  dashboard.setLine({ state: 'connecting', retryAt: 0, lostAt: 1 });
  settle(dashboard);
  assert.deepEqual(shown(dashboard), ['a']);
  assert.deepEqual(dashboard.store.position, { epoch: 'e1', seq: 1 });
});

test('groups by status have the problems first', () => {
  const { dashboard } = opened(
    [
      session('a'),
      session('b', { is_stale: true }),
      session('c', { visibility: 'hidden' }),
      session('d', { reported_status: 'running' }),
    ],
    { group: 'status' },
  );
  assert.deepEqual(shown(dashboard), ['[stale]', 'b', '[running]', 'd', '[idle]', 'a', '[hidden]', 'c']);
});

test('where a line stands is known, and that it stands nowhere any more', () => {
  const { dashboard } = opened([session('a', { app_name: 'x' }), session('b', { app_name: 'y' })], { group: 'app' });
  const [x, a, y, b] = [0, 1, 2, 3].map(index => dashboard.lineAt(index));
  assert.deepEqual(
    [x, a, y, b].map(line => dashboard.indexOfLine(line)),
    [0, 1, 2, 3],
  );
  dashboard.fold('x');
  assert.deepEqual(
    [x, a, y, b].map(line => dashboard.indexOfLine(line)),
    [0, -1, 1, 2],
  );
  dashboard.show({ query: 'app:y' });
  assert.deepEqual(
    [x, a, y, b].map(line => dashboard.indexOfLine(line)),
    [-1, -1, 0, 1],
  );
});

test('groups fold, and their rows are found for a group kill', () => {
  const { dashboard } = opened(
    [session('a', { app_name: 'x' }), session('b', { app_name: 'y' }), session('c', { app_name: 'x' })],
    { group: 'app' },
  );
  assert.deepEqual(shown(dashboard), ['[x]', 'a', 'c', '[y]', 'b']);
  dashboard.fold('x');
  settle(dashboard);
  assert.deepEqual(shown(dashboard), ['[x]', '[y]', 'b']);
  assert.deepEqual(
    dashboard.rowsOfGroup({ by: 'app', value: 'x' }).map(row => row.id),
    ['a', 'c'],
  );
});

test('whatever happens in whatever order, in the end the lines are the sessions, sorted and filtered', () => {
  let seed = 99;
  const random = n => {
    seed = (seed * 1103515245 + 12345) & 0x7fffffff;
    return (seed >> 8) % n;
  };
  const truth = new Map();
  const make = i =>
    session(`s${i}`, {
      app_name: ['x', 'y', 'z'][random(3)],
      is_stale: random(8) === 0,
      reported_status: random(3) ? 'idle' : 'running',
      start_time: iso(i),
    });
  for (let i = 0; i < 1500; i += 1) truth.set(`s${i}`, make(i));
  const { dashboard, tell } = opened([...truth.values()]);
  let seq = 1;
  // Ended rows go at once, so that slots are used again all the time.
  const realNow = dashboard.liveNow;
  let ahead = 0;
  dashboard.liveNow = () => realNow.call(dashboard) + ahead;
  for (let round = 0; round < 400; round += 1) {
    const upserted = new Map();
    const removed = [];
    for (let i = random(12); i > 0; i -= 1) {
      const number = random(1800);
      if (truth.has(`s${number}`) && random(2)) {
        if (!upserted.has(`s${number}`)) {
          truth.delete(`s${number}`);
          removed.push(gone(`s${number}`));
        }
      } else if (!removed.some(end => end.session_id === `s${number}`)) {
        truth.set(`s${number}`, make(number));
        upserted.set(`s${number}`, truth.get(`s${number}`));
      }
    }
    dashboard.take(JSON.stringify(changes(seq, (seq += 1), [...upserted.values()], removed)));
    ahead += random(3) ? 0 : 11_000;
    switch (random(9)) {
      case 0:
        dashboard.hold(true);
        break;
      case 1:
        dashboard.hold(false);
        break;
      case 2:
        dashboard.show({ query: ['', 'app:x', '-status:stale', 'status:running,stale app:y'][random(4)] });
        break;
      case 3:
        dashboard.show({
          sort: [[{ key: 'state', down: false }], [{ key: 'app', down: true }], [{ key: 'age', down: false }]][
            random(3)
          ],
        });
        break;
      case 4:
        dashboard.show({ group: [null, 'app', 'status'][random(3)] });
        break;
      case 5:
        dashboard.catchUp();
        break;
      default:
    }
    dashboard.step(random(2) ? 0 : 5); // sometimes far too short for what is to be done
    for (let i = 0; i < dashboard.lines.length; i += 1) assert.ok(dashboard.lineAt(i), `round ${round}, line ${i}`);
  }
  dashboard.hold(false);
  dashboard.show({ group: null, query: 'app:x', sort: [{ key: 'age', down: false }] });
  ahead += 20_000;
  settle(dashboard);
  settle(dashboard);
  const expected = [...truth.values()]
    .filter(each => each.app_name === 'x')
    .sort((a, b) => (a.start_time < b.start_time ? 1 : -1))
    .map(each => each.session_id);
  assert.deepEqual(shown(dashboard), expected);
  assert.equal(dashboard.store.live, truth.size);
  assert.equal(
    [...dashboard.facets.counts.status.values()].reduce((a, b) => a + b, 0),
    expected.length,
  );
  const counted = new Map([...dashboard.facets.counts.app]);
  for (const app of ['x', 'y', 'z'])
    assert.equal(counted.get(app), [...truth.values()].filter(each => each.app_name === app).length);
});

test('a life is told from its events: states, tasks, silence, and the steps of its end', () => {
  const event = (at, kind, fields = {}) => ({ at: iso(at), kind, ...fields });
  const told = life(
    [
      event(0, 'registered', { status: 'idle' }),
      event(10_000, 'status_changed', { status: 'running', current_task: 'Q4' }),
      event(40_000, 'status_changed', { status: 'idle', current_task: null }),
      event(60_000, 'stale'),
      event(90_000, 'recovered'),
      event(95_000, 'kill_requested', { by: 'joe' }),
      event(95_003, 'kill_delivered'),
      event(95_041, 'kill_acknowledged'),
      event(95_060, 'removed', { cause: 'killed' }),
    ],
    0,
  );
  assert.deepEqual(
    told.spans.map(span => [span.state, span.to - span.from]),
    [
      ['idle', 10_000],
      ['running', 30_000],
      ['idle', 20_000],
      ['stale', 30_000],
      ['idle', 5_000],
      ['ending', 60],
    ],
  );
  assert.deepEqual(
    told.tasks.map(task => [task.name, task.to - task.from, task.open]),
    [['Q4', 30_000, false]],
  );
  assert.deepEqual(told.steps.map(stepText), [
    'kill requested',
    'kill delivered 3 ms',
    'kill acknowledged 41 ms',
    'gone 60 ms',
  ]);
  assert.equal(told.ended, true);
});

test('another page closes the details, the way back opens them again', () => {
  const { dashboard } = opened([session('a')], { session: 'a' });
  dashboard.show({ query: 'app:shop' });
  assert.equal(dashboard.view.session, 'a', 'a filter leaves them open');
  dashboard.show({ page: 'log', query: '' });
  assert.equal(dashboard.view.session, null);
  dashboard.show({ page: 'live', session: 'a' });
  assert.equal(dashboard.view.session, 'a');
});
