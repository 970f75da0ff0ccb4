import assert from 'node:assert/strict';
import { test } from 'node:test';
import { killOf, steps } from '../kills.js';
import { stripWords } from '../columns.js';
import { Store } from '../store.js';
import { T0, changes, hello, iso, session, snapshot } from './support.mjs';

const ids = store =>
  [...store.rows.values()]
    .filter(row => !row.ended)
    .map(row => row.id)
    .sort();

function watching(sessions = [], seq = 10, now = () => T0) {
  const store = new Store({ now });
  store.receive(hello('e1', seq));
  assert.equal(store.receive(snapshot(seq, sessions)), 'ok');
  store.drain();
  return store;
}

test('a snapshot in parts is shown part by part and is whole only at the end', () => {
  const store = new Store();
  store.receive(hello('e1', 7));
  store.receive(snapshot(7, [session('a')], 1, 2));
  assert.deepEqual(ids(store), ['a']);
  assert.equal(store.position, null, 'half a snapshot is no place to resume from');
  store.receive(snapshot(7, [session('b')], 2, 2));
  assert.deepEqual(ids(store), ['a', 'b']);
  assert.deepEqual(store.position, { epoch: 'e1', seq: 7 });
});

test('an empty server sends one empty part, and that is a whole picture', () => {
  const store = watching([], 3);
  assert.deepEqual(store.position, { epoch: 'e1', seq: 3 });
  assert.equal(store.live, 0);
});

test('a later snapshot removes what it does not name, and only at its last part', () => {
  const store = watching([session('a'), session('b')]);
  store.receive(snapshot(20, [session('c')], 1, 2));
  assert.deepEqual(ids(store), ['a', 'b', 'c']);
  store.receive(snapshot(20, [session('b')], 2, 2));
  assert.deepEqual(ids(store), ['b', 'c']);
  assert.equal(store.live, 2);
});

test('a part that does not follow the one before is a gap', () => {
  const store = new Store();
  store.receive(hello());
  store.receive(snapshot(7, [], 1, 3));
  assert.equal(store.receive(snapshot(7, [], 3, 3)), 'gap');
});

test('changes move the position, and each state is counted once', () => {
  const store = watching([session('a'), session('b')]);
  store.receive(changes(10, 12, [session('a', { reported_status: 'running' }), session('c', { is_stale: true })]));
  assert.equal(store.seq, 12);
  assert.deepEqual(store.counts, { idle: 1, running: 1, hidden: 0, stale: 1, ending: 0 });
  store.receive(changes(12, 13, [], [{ session_id: 'a', cause: 'ended', at: iso(5) }]));
  assert.deepEqual(store.counts, { idle: 1, running: 0, hidden: 0, stale: 1, ending: 0 });
  assert.equal(store.live, 2);
});

test('a patch changes its fields only, and null takes a field away', () => {
  const meta = { env: 'prod' };
  const store = watching([session('a', { current_task: 'Q4', task_started_at: iso(1), meta }), session('b')]);
  const before = store.rows.get('b').toWire(T0);
  const patch = { session_id: 'a', last_heartbeat: iso(7), is_stale: true, status: 'stale', current_task: null };
  assert.equal(store.receive({ ...changes(10, 11), patched: [patch] }), 'ok');
  const { current_task: task, last_heartbeat: beat, ...rest } = store.rows.get('a').toWire(T0);
  assert.deepEqual([task, beat, rest.is_stale, rest.meta, rest.task_started_at], [null, iso(7), true, meta, iso(1)]);
  assert.deepEqual(store.rows.get('b').toWire(T0), before);
  assert.equal(store.seq, 11);
});

test('a patch for a session that is not known needs a snapshot', () => {
  const store = watching([session('a')]);
  const patch = { session_id: 'x', last_heartbeat: iso(7), status: 'running' };
  assert.equal(store.receive({ ...changes(10, 11), patched: [patch] }), 'gap');
  assert.equal(store.position, null);
});

test('changes that are known already change nothing', () => {
  const store = watching([session('a')]);
  assert.equal(store.receive(changes(8, 10, [], [{ session_id: 'a', cause: 'ended', at: iso(1) }])), 'ok');
  assert.deepEqual(ids(store), ['a']);
});

test('changes that start after where we stand are a gap and are not applied', () => {
  const store = watching([session('a')]);
  assert.equal(store.receive(changes(11, 12, [session('b')])), 'gap');
  assert.deepEqual(ids(store), ['a']);
  assert.equal(store.seq, 10);
});

test('changes before any snapshot are a gap', () => {
  const store = new Store();
  store.receive(hello());
  assert.equal(store.receive(changes(0, 1, [session('a')])), 'gap');
});

test('changes between the parts of a snapshot wait for its end', () => {
  const store = new Store();
  store.receive(hello());
  store.receive(snapshot(7, [session('a')], 1, 2));
  assert.equal(store.receive(changes(7, 8, [session('c')], [{ session_id: 'b', cause: 'ended', at: iso(1) }])), 'ok');
  assert.equal(store.receive(snapshot(7, [session('b')], 2, 2)), 'ok');
  assert.deepEqual(ids(store), ['a', 'c']);
  assert.equal(store.seq, 8);
});

test('resumed in the same epoch, changes go on from where we stood', () => {
  const store = watching([session('a')]);
  store.receive(hello('e1', 15));
  assert.deepEqual(store.position, { epoch: 'e1', seq: 10 });
  assert.equal(store.receive(changes(10, 15, [session('b')])), 'ok');
  assert.deepEqual(ids(store), ['a', 'b']);
});

test('in another epoch the old position is worth nothing, and the rows are replaced', () => {
  const store = watching([session('a')]);
  store.receive(hello('e2', 2));
  assert.equal(store.position, null);
  assert.equal(store.receive(changes(10, 11, [session('b')])), 'gap');
  store.receive(snapshot(2, [session('b')]));
  assert.deepEqual(ids(store), ['b']);
  assert.deepEqual(store.position, { epoch: 'e2', seq: 2 });
});

test('beats move only the last beat, and ids named like object internals are ids', () => {
  const store = watching([session('__proto__'), session('constructor')]);
  const frame = JSON.parse(
    `{"type":"beats","at":"${iso(30_000)}","beats":{"__proto__":"${iso(30_000)}","nobody":"${iso(1)}"}}`,
  );
  store.receive(frame);
  assert.equal(store.rows.get('__proto__').beat, T0 + 30_000);
  assert.equal(store.rows.get('constructor').beat, T0);
  const { changed, beaten } = store.drain();
  assert.equal(changed.length, 0);
  assert.deepEqual(
    beaten.map(row => row.id),
    ['__proto__'],
  );
  assert.equal(store.seq, 10);
});

test('an ended row lingers for ten seconds with its cause, then goes, and its slot is used again', () => {
  let now = T0;
  const store = watching([session('a'), session('b')], 10, () => now);
  store.receive(
    changes(10, 11, [], [{ session_id: 'a', cause: 'killed', at: iso(0), by: 'joe', reason: 'maintenance' }]),
  );
  const row = store.rows.get('a');
  assert.equal(row.ended.cause, 'killed');
  assert.equal(row.ended.by, 'joe');
  now += 9_900;
  store.sweep();
  assert.equal(store.rows.get('a'), row);
  now += 200;
  store.sweep();
  assert.equal(store.rows.has('a'), false);
  assert.equal(row.gone, true);
  assert.deepEqual(store.drain().changed, [row]);
  store.recycle();
  store.receive(changes(11, 12, [session('c')]));
  assert.equal(store.rows.get('c').slot, row.slot);
});

test('a row says of its session all that the server said', () => {
  const told = [
    session('a', { duration_seconds: 60, status_since: iso(20), idle_since: iso(30) }),
    session('b', {
      app_name: 'risk',
      user_id: 'ana',
      start_time: iso(-90 * 86_400_000), // further away than what is kept small
      last_heartbeat: iso(59_123),
      duration_seconds: 90 * 86_400 + 60,
      status: 'stale',
      current_task: 'Q4 report',
      is_stale: true,
      kill_requested: true,
      reported_status: 'uploading',
      task_started_at: iso(7),
      status_since: iso(7),
      idle_since: null,
      connected: false,
      visibility: null,
      heartbeat_interval: 1.1,
      client: null,
      remote_addr: null,
      meta: { env: 'prod', size: 3, big: true },
      kill: { kill_id: 'k', requested_at: iso(8), requested_by: 'joe', reason: null },
    }),
  ];
  const store = watching(told);
  for (const each of told) assert.deepEqual(store.rows.get(each.session_id).toWire(T0 + 60_000), each);
});

test('the end of a session brings the last steps of its kill along', () => {
  const store = watching([session('a')]);
  const kill = {
    kill_id: 'k',
    requested_at: iso(0),
    delivered_at: iso(3),
    acknowledged_at: iso(41),
    confirm_by: iso(3000),
  };
  store.receive(changes(10, 11, [], [{ session_id: 'a', cause: 'killed', at: iso(60), kill }]));
  assert.deepEqual(
    steps(killOf(store.rows.get('a'), T0 + 100)).map(step => step.text),
    ['requested', 'delivered 3 ms', 'acked 41 ms', 'gone 60 ms'],
  );
});

test('the same id coming back within those seconds is a live row again', () => {
  let now = T0;
  const store = watching([session('a')], 10, () => now);
  store.receive(changes(10, 11, [], [{ session_id: 'a', cause: 'ended', at: iso(0) }]));
  store.receive(changes(11, 12, [session('a')]));
  now += 60_000;
  store.sweep();
  assert.deepEqual(ids(store), ['a']);
  assert.equal(store.live, 1);
});

test('only rows that appear while watching are new', () => {
  const store = watching([session('a')]);
  store.receive(changes(10, 11, [session('b')]));
  assert.equal(store.rows.get('a').bornAt, 0);
  assert.equal(store.rows.get('b').bornAt, T0);
});

test('what the store holds after any cut and resume equals the server', () => {
  // A small server with a ring of changes, a reader that is cut at random, and one truth.
  let seed = 20261122;
  const random = n => {
    seed = (seed * 1103515245 + 12345) & 0x7fffffff;
    return seed % n;
  };
  const truth = new Map();
  const log = [];
  let epoch = 'e1';
  let seq = 0;
  const step = () => {
    const id = `s${random(40)}`;
    seq += 1;
    if (truth.has(id) && random(3) === 0) {
      truth.delete(id);
      log.push({ seq, id, removed: true });
    } else {
      truth.set(id, session(id, { current_task: `t${seq}`, reported_status: random(2) ? 'idle' : 'running' }));
      log.push({ seq, id, session: truth.get(id) });
    }
    if (log.length > 30) log.shift();
  };
  const store = new Store({ now: () => T0 });
  const since = from => {
    const latest = new Map(log.filter(entry => entry.seq > from).map(entry => [entry.id, entry]));
    const all = [...latest.values()];
    return changes(
      from,
      seq,
      all.filter(entry => !entry.removed).map(entry => entry.session),
      all.filter(entry => entry.removed).map(entry => ({ session_id: entry.id, cause: 'ended', at: iso(0) })),
    );
  };
  for (let round = 0; round < 300; round += 1) {
    if (random(40) === 0) {
      epoch = `e${round}`;
      seq = 0;
      log.length = 0;
      truth.clear();
    }
    const position = store.position;
    store.receive(hello(epoch, seq));
    let told = seq;
    const ring = log.length ? log[0].seq - 1 : seq;
    if (position && position.epoch === epoch && position.seq >= ring) {
      if (position.seq < seq) assert.equal(store.receive(since(position.seq)), 'ok');
    } else {
      const all = [...truth.values()];
      const cut = random(2) === 0 && all.length > 1;
      assert.equal(store.receive(snapshot(seq, all.slice(0, 20), 1, 2)), 'ok');
      if (cut) continue; // the line broke between the parts
      assert.equal(store.receive(snapshot(seq, all.slice(20), 2, 2)), 'ok');
    }
    for (let i = random(50); i > 0; i -= 1) {
      step();
      if (random(4) === 0) {
        assert.equal(store.receive(since(told)), 'ok');
        told = seq;
      }
    }
    if (told < seq && random(2) === 0 && seq - told <= 30) {
      store.receive(since(told));
      told = seq;
    }
    if (store.seq === seq) {
      assert.deepEqual(ids(store), [...truth.keys()].sort(), `round ${round}`);
      for (const [id, value] of truth) assert.equal(store.rows.get(id).task, value.current_task);
      assert.equal(
        Object.values(store.counts).reduce((a, b) => a + b),
        truth.size,
      );
    }
    if (random(3) === 0) {
      store.drain();
      store.recycle();
    }
  }
});

test('the strip of beats shows what came, what was missed, and what this page cannot know', () => {
  const store = watching([session('a')]);
  const row = store.rows.get('a');
  assert.equal(row.strip(T0), '.......1');
  row.heard(T0 + 30_000);
  row.heard(T0 + 31_000); // a status a second later is no second beat
  row.heard(T0 + 60_000);
  assert.equal(row.strip(T0 + 61_000), '.....111');
  row.heard(T0 + 150_000); // two beats are missing in between
  assert.equal(row.strip(T0 + 150_000), '..111001');
  // Overdue by now counts as missed without waiting for the next beat.
  assert.equal(row.strip(T0 + 150_000 + 100_000), '11100100');
});

test('a job that pings when it has something to say misses no beat, however long it is silent', () => {
  const store = watching([session('a', { client: 'ping' })]);
  const row = store.rows.get('a');
  assert.equal(row.strip(T0 + 110_000), '.......1');
  row.heard(T0 + 110_000);
  row.heard(T0 + 111_000);
  assert.equal(row.strip(T0 + 3_600_000), '.....111');
  assert.equal(stripWords(row.strip(T0 + 3_600_000), row.due), '3 pings seen, none is due at a fixed time');
  assert.equal(row.toWire(T0).heartbeat_interval, 30, 'what the server says of it stays as it is');
});
