import assert from 'node:assert/strict';
import { test } from 'node:test';
import { COLUMNS, DEFAULT_SORT, comparator, movesWithBeats, pressed } from '../columns.js';
import { ALL, Facets } from '../facets.js';
import { sessionFilter } from '../fields.js';
import { GROUPINGS, linesOf } from '../grouping.js';
import { Ordering } from '../ordering.js';
import { Store } from '../store.js';
import { T0, changes, hello, iso, session, snapshot } from './support.mjs';

let seed = 7;
const random = n => {
  seed = (seed * 1103515245 + 12345) & 0x7fffffff;
  return (seed >> 8) % n;
};

const some = i =>
  session(`s${i}`, {
    app_name: ['risk', 'shop', 'desk'][random(3)],
    user_id: random(4) ? `u${random(30)}` : null,
    start_time: iso(random(100_000)),
    reported_status: random(3) ? 'idle' : 'running',
    is_stale: random(10) === 0,
    current_task: random(2) ? `task ${random(50)}` : null,
    task_started_at: random(2) ? iso(random(100_000)) : null,
  });

function filled(count) {
  const store = new Store({ now: () => T0 });
  store.receive(hello());
  store.receive(
    snapshot(
      1,
      Array.from({ length: count }, (_, i) => some(i)),
    ),
  );
  const ordering = new Ordering(store.slots);
  store.drain();
  return { store, ordering };
}

const shown = (store, ordering) => [...ordering.order.subarray(0, ordering.length)].map(slot => store.slots[slot].id);
const expected = (store, ordering) =>
  [...store.rows.values()]
    .filter(row => ordering.matches(row))
    .sort(ordering.compare)
    .map(row => row.id);

for (const sort of [
  DEFAULT_SORT,
  [
    { key: 'app', down: true },
    { key: 'user', down: false },
  ],
  [{ key: 'elapsed', down: true }],
  [{ key: 'task', down: false }],
]) {
  test(`merging changes in is the same as sorting all anew: ${JSON.stringify(sort)}`, () => {
    const { store, ordering } = filled(3000);
    const { mask } = sessionFilter('-app:desk');
    ordering.reorder({ compare: comparator(sort), matches: row => mask(row, T0) === ALL });
    ordering.work();
    assert.deepEqual(shown(store, ordering), expected(store, ordering));
    let seq = 1;
    for (let round = 0; round < 60; round += 1) {
      const upserted = Array.from({ length: random(40) }, () => some(random(3300)));
      const once = [...new Map(upserted.map(entry => [entry.session_id, entry])).values()];
      const removed = Array.from({ length: random(5) }, () => ({
        session_id: `x${random(3300)}`,
        cause: 'ended',
        at: iso(0),
      }));
      store.receive(changes(seq, seq + 1, once, removed));
      seq += 1;
      ordering.update(store.drain().changed);
      store.recycle();
      if (round % 10 === 0) assert.deepEqual(shown(store, ordering), expected(store, ordering), `round ${round}`);
    }
    assert.deepEqual(shown(store, ordering), expected(store, ordering));
  });
}

test('a rebuild is done in slices, keeps the old order meanwhile, and takes in what changed during it', () => {
  const { store, ordering } = filled(20_000);
  ordering.reorder({ compare: comparator(DEFAULT_SORT) });
  ordering.work();
  const before = shown(store, ordering);
  ordering.reorder({ compare: comparator([{ key: 'user', down: false }]) });
  let slices = 0;
  while (!ordering.work(() => true)) {
    slices += 1;
    if (slices === 5) {
      assert.deepEqual(shown(store, ordering), before);
      assert.equal(ordering.settled, false);
      store.receive(changes(1, 2, [session('s1', { user_id: 'aaa' }), session('new', { user_id: 'aab' })]));
      ordering.update(store.drain().changed);
    }
  }
  assert.ok(slices > 20, `${slices} slices`);
  assert.deepEqual(shown(store, ordering), expected(store, ordering));
  assert.deepEqual(shown(store, ordering).slice(0, 2), ['s1', 'new']);
});

test('no slice compares more than a few thousand rows', () => {
  const { ordering } = filled(20_000);
  let compared = 0;
  const compare = comparator([{ key: 'user', down: false }]);
  ordering.reorder({
    compare: (a, b) => {
      compared += 1;
      return compare(a, b);
    },
  });
  let most = 0;
  for (let done = false; !done; most = Math.max(most, compared)) {
    compared = 0;
    done = ordering.work(() => true);
  }
  assert.ok(most < 6000, `${most} comparisons at once`);
});

test('rows that change while they are being sorted come to stand right, and so do all others', () => {
  const { store, ordering } = filled(20_000);
  ordering.reorder({ compare: comparator([{ key: 'user', down: false }]) });
  ordering.work();
  ordering.reorder({ compare: comparator([{ key: 'task', down: false }]) });
  let seq = 1;
  let slices = 0;
  while (!ordering.work(() => true)) {
    slices += 1;
    if (slices % 4 !== 0) continue;
    const upserted = new Map(Array.from({ length: 9 }, () => some(random(20_500))).map(each => [each.session_id, each]));
    store.receive(changes(seq, (seq += 1), [...upserted.values()]));
    ordering.update(store.drain().changed);
  }
  assert.deepEqual(shown(store, ordering), expected(store, ordering));
});

test('very many changed rows are merged in by slices, while the old order stays', () => {
  const { store, ordering } = filled(10_000);
  ordering.reorder({ compare: comparator(DEFAULT_SORT) });
  ordering.work();
  const before = shown(store, ordering);
  const upserted = new Map(Array.from({ length: 9_000 }, () => some(random(14_000))).map(each => [each.session_id, each]));
  store.receive(changes(1, 2, [...upserted.values()]));
  ordering.update(store.drain().changed);
  assert.equal(ordering.work(() => true), false);
  assert.deepEqual(shown(store, ordering), before);
  ordering.work();
  assert.deepEqual(shown(store, ordering), expected(store, ordering));
});

test('a row that is swept leaves the order, and its slot may then hold another', () => {
  let now = T0;
  const store = new Store({ now: () => now });
  store.receive(hello());
  store.receive(snapshot(1, [session('a'), session('b')]));
  const ordering = new Ordering(store.slots);
  ordering.reorder({ compare: comparator(DEFAULT_SORT) });
  ordering.work();
  store.drain();
  store.receive(changes(1, 2, [], [{ session_id: 'a', cause: 'ended', at: iso(0) }]));
  ordering.update(store.drain().changed);
  assert.deepEqual(shown(store, ordering), ['a', 'b'], 'an ended row stays where it stood');
  now += 11_000;
  store.sweep();
  ordering.update(store.drain().changed);
  store.recycle();
  store.receive(changes(2, 3, [session('c', { is_stale: true })]));
  ordering.update(store.drain().changed);
  assert.deepEqual(shown(store, ordering), ['c', 'b']);
});

test('problems come first by default', () => {
  const store = new Store({ now: () => T0 });
  store.receive(hello());
  store.receive(
    snapshot(1, [
      session('idle'),
      session('running', { reported_status: 'running' }),
      session('hidden', { visibility: 'hidden' }),
      session('stale', { is_stale: true }),
      session('ending', { kill_requested: true }),
    ]),
  );
  const ordering = new Ordering(store.slots);
  ordering.reorder({ compare: comparator(DEFAULT_SORT) });
  ordering.work();
  assert.deepEqual(shown(store, ordering), ['stale', 'ending', 'running', 'idle', 'hidden']);
});

test('rows without a value come last in both directions', () => {
  for (const down of [true, false]) {
    const { store, ordering } = filled(200);
    ordering.reorder({ compare: comparator([{ key: 'user', down }]) });
    ordering.work();
    const users = shown(store, ordering).map(id => store.rows.get(id).user);
    const empty = users.indexOf('');
    assert.ok(empty > 0 && users.slice(empty).every(user => user === ''));
  }
});

test('pressing a heading sorts, turns, and returns to the default; with shift it adds', () => {
  const app = pressed(DEFAULT_SORT, 'app', false);
  assert.deepEqual(app, [{ key: 'app', down: false }]);
  const turned = pressed(app, 'app', false);
  assert.deepEqual(turned, [{ key: 'app', down: true }]);
  assert.deepEqual(pressed(turned, 'app', false), DEFAULT_SORT);
  const two = pressed(app, 'age', true);
  assert.deepEqual(two, [
    { key: 'app', down: false },
    { key: 'age', down: true },
  ]);
  assert.deepEqual(pressed(pressed(two, 'age', true), 'age', true), app);
  assert.equal(movesWithBeats(two), false);
  assert.equal(movesWithBeats([{ key: 'beat', down: true }]), true);
});

test('every column can be compared, told and written', () => {
  const { store } = filled(5);
  const [a, b] = store.rows.values();
  for (const [key, column] of Object.entries(COLUMNS)) {
    assert.equal(typeof column.text(a, T0), 'string', key);
    assert.equal(typeof comparator([{ key, down: false }])(a, b), 'number', key);
    assert.ok(column.title && column.track, key);
  }
});

test('facet counts follow every change, and ignore their own part of the filter', () => {
  const { store } = filled(500);
  const facets = new Facets();
  const apply = query => {
    const { mask } = sessionFilter(query);
    for (const row of store.rows.values()) facets.update(row, mask(row, T0));
    return mask;
  };
  const truth = (mask, facet, bit, of) => {
    const counts = new Map();
    for (const row of store.rows.values()) {
      if (!row.ended && (mask(row, T0) & (ALL & ~bit)) === (ALL & ~bit))
        counts.set(of(row), (counts.get(of(row)) ?? 0) + 1);
    }
    assert.deepEqual(new Map([...facets.counts[facet]].sort()), new Map([...counts].sort()), facet);
  };
  const check = mask => {
    truth(mask, 'app', 2, row => row.app);
    truth(mask, 'status', 4, row => row.state);
    truth(mask, 'user', 8, row => row.user);
  };
  check(apply(''));
  const mask = apply('app:risk status:running');
  check(mask);
  assert.equal(facets.counts.app.size, 3, 'the other apps stay in sight');
  let seq = 1;
  for (let round = 0; round < 30; round += 1) {
    const upserted = [
      ...new Map(Array.from({ length: 20 }, () => some(random(600))).map(entry => [entry.session_id, entry])).values(),
    ];
    const named = new Set(upserted.map(entry => entry.session_id));
    const removed = [`s${random(600)}`]
      .filter(id => !named.has(id))
      .map(id => ({ session_id: id, cause: 'ended', at: iso(0) }));
    store.receive(changes(seq, (seq += 1), upserted, removed));
    for (const row of store.drain().changed) facets.update(row, mask(row, T0));
  }
  check(mask);
  const top = facets.top('user', 5, ['nobody']);
  assert.equal(top.length, 6);
  assert.ok(top.slice(0, 4).every((entry, i) => entry.count >= top[i + 1].count));
  assert.deepEqual(top[5], { value: 'nobody', count: 0 });
});

test('groups have a heading with counts, and folded ones show no rows', () => {
  const { store, ordering } = filled(300);
  ordering.reorder({ compare: comparator(DEFAULT_SORT, GROUPINGS.app.key) });
  ordering.work();
  const { lines, length, groups } = linesOf(ordering, store.slots, 'app', new Set(['risk']));
  assert.deepEqual(
    groups.map(group => group.value),
    ['desk', 'risk', 'shop'],
  );
  assert.equal(
    groups.reduce((sum, group) => sum + group.size, 0),
    300,
  );
  assert.equal(length, 3 + 300 - groups[1].size);
  assert.equal(lines[0], -1);
  assert.equal(lines[1 + groups[0].size], -2);
  assert.equal(lines[2 + groups[0].size], -3);
  for (const group of groups)
    assert.equal(
      Object.values(group.states).reduce((a, b) => a + b),
      group.live,
    );
});
