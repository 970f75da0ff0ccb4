import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { ALL } from '../facets.js';
import { eventFilter, sessionFilter } from '../fields.js';
import { duration, format, parse, toggled, valuesOf, withValues, without } from '../query.js';
import { Row } from '../row.js';
import { long, matches as judged } from './filters.mjs';
import { T0, iso, session } from './support.mjs';

const row = fields => new Row(0, session(fields.session_id ?? 'id-1', fields), T0);
const matches = (query, fields, now = T0) => sessionFilter(query).mask(row(fields), now) === ALL;

test('words, qualifiers, quotes and exclusions are read apart', () => {
  assert.deepEqual(parse('app:risk status:running,stale task:"Q4 report" -user:ana meta.env:prod oops').terms, [
    { key: 'app', values: ['risk'], not: false },
    { key: 'status', values: ['running', 'stale'], not: false },
    { key: 'task', values: ['Q4 report'], not: false },
    { key: 'user', values: ['ana'], not: true },
    { key: 'meta.env', values: ['prod'], not: false },
    { key: null, values: ['oops'], not: false },
  ]);
});

test('whatever is formatted is read back the same', () => {
  const odd = [
    'a b',
    'say "hi"',
    'back\\slash',
    'comma,inside',
    'key:like',
    '-minus',
    '',
    '<img src=x onerror=alert(1)>',
    '\u202Eevil',
    '__proto__',
  ];
  for (const value of odd) {
    const query = withValues('first', 'app', [value, 'other']);
    assert.deepEqual(valuesOf(query, 'app'), [value, 'other'], query);
    assert.equal(format(parse(query)), query);
    const named = { terms: [{ key: `meta.${value || 'x'}`, values: [value], not: false }] };
    assert.deepEqual(parse(format(named)), named, format(named));
    if (value !== '') {
      const words = { terms: [{ key: null, values: [value], not: true }] };
      assert.deepEqual(parse(format(words)), words, format(words));
    }
  }
});

test('a half-typed query is no error', () => {
  for (const text of ['', '   ', 'app:', ':', '-', '"', 'task:"half', 'app:,', '"" ""'])
    assert.doesNotThrow(() => sessionFilter(text), text);
  assert.equal(matches('app:', { app_name: 'x' }), true);
});

test('values are added, taken out and replaced in place', () => {
  assert.equal(toggled('app:risk error', 'status', 'stale'), 'app:risk error status:stale');
  assert.equal(toggled('status:stale app:risk', 'status', 'idle'), 'status:stale,idle app:risk');
  assert.equal(toggled('status:stale,idle app:risk', 'status', 'stale'), 'status:idle app:risk');
  assert.equal(toggled('app:risk', 'app', 'risk'), '');
  assert.equal(without('app:risk', 'app', 'demo'), 'app:risk -app:demo');
});

test('names are compared whole, without case, with * for anything', () => {
  assert.ok(matches('app:risk', { app_name: 'Risk' }));
  assert.ok(!matches('app:risk', { app_name: 'risk-batch' }));
  assert.ok(matches('app:risk*', { app_name: 'risk-batch' }));
  assert.ok(matches('app:*.*', { app_name: 'a.b' }));
  assert.ok(!matches('app:a.b', { app_name: 'axb' }), 'a dot is a dot');
  assert.ok(matches('app:risk,shop', { app_name: 'shop' }));
  assert.ok(!matches('-app:risk,shop', { app_name: 'shop' }));
});

test('a user who is not known is the empty name', () => {
  assert.ok(matches('user:""', { user_id: null }));
  assert.ok(!matches('user:""', { user_id: 'ana' }));
});

test('status is the state on display, and running also its own word', () => {
  assert.ok(matches('status:stale', { is_stale: true, reported_status: 'running' }));
  assert.ok(!matches('status:running', { is_stale: true, reported_status: 'running' }));
  assert.ok(matches('status:running', { reported_status: 'uploading' }));
  assert.ok(matches('status:uploading', { reported_status: 'uploading' }));
  assert.ok(matches('status:hidden', { visibility: 'frozen' }));
  assert.ok(matches('status:ending', { kill_requested: true }));
});

test('meta keys of any name are looked up as own keys only', () => {
  assert.ok(matches('meta.env:prod', { meta: { env: 'prod' } }));
  assert.ok(matches('meta.retries:3', { meta: { retries: 3 } }));
  assert.ok(!matches('meta.__proto__:*x*', { meta: {} }));
  assert.ok(matches('meta.__proto__:x', { meta: JSON.parse('{"__proto__":"x"}') }));
  assert.ok(!matches('meta.toString:*native*', { meta: {} }));
});

test('times are compared with durations, as of now', () => {
  const quiet = { last_heartbeat: iso(0) };
  assert.ok(!matches('silent:>5m', quiet, T0 + 299_000));
  assert.ok(matches('silent:>5m', quiet, T0 + 301_000));
  assert.ok(matches('silent:<30s', quiet, T0 + 10_000));
  assert.ok(matches('age:1h..2h', { start_time: iso(0) }, T0 + 90 * 60_000));
  assert.ok(!matches('busy:>1s', { task_started_at: null }, T0 + 90 * 60_000));
  assert.ok(matches('idle:>5m', { status_since: iso(0) }, T0 + 301_000));
  assert.ok(!matches('idle:>5m', { reported_status: 'running', status_since: iso(0) }, T0 + 301_000));
  assert.equal(sessionFilter('silent:>5m').timed, true);
  assert.equal(sessionFilter('app:x').timed, false);
  assert.equal(duration('1h30m'), 5_400_000);
  assert.equal(duration('1.5s'), 1500);
  assert.equal(duration('soon'), null);
});

test('instants are compared with instants', () => {
  assert.ok(matches('started:2026-11-22T07:59Z..2026-11-22T08:01Z', { start_time: iso(0) }));
  assert.ok(!matches('started:2026-11-22T08:01Z..', { start_time: iso(0) }));
  assert.ok(matches('started:<2026-11-22T08:01Z', { start_time: iso(0) }));
});

test('words are found in any field, meta values included', () => {
  const fields = { app_name: 'risk', user_id: 'ana', current_task: 'Monte Carlo', meta: { region: 'eu-west' } };
  assert.ok(matches('monte', fields));
  assert.ok(matches('EU-WEST ana', fields));
  assert.ok(!matches('monte paris', fields));
  assert.ok(matches('-paris', fields));
});

test('qualifiers that do not exist are named, and do not hide everything', () => {
  const { unknown } = sessionFilter('colour:red silent:>soon constructor:x app:a');
  assert.deepEqual(unknown, ['colour:red', 'silent:>soon', 'constructor:x']);
  assert.ok(matches('colour:red', {}));
});

test('the mask tells which part of the filter failed', () => {
  const { mask } = sessionFilter('app:shop status:stale fresh');
  assert.equal(mask(row({ app_name: 'shop', is_stale: true, current_task: 'fresh' }), T0), 15);
  assert.equal(mask(row({ app_name: 'risk', is_stale: true, current_task: 'fresh' }), T0), 13);
  assert.equal(mask(row({ app_name: 'shop', current_task: 'fresh' }), T0), 11);
  assert.equal(mask(row({ app_name: 'shop', is_stale: true }), T0), 14);
});

test('the event log speaks the same language', () => {
  const event = {
    seq: 1,
    at: iso(0),
    kind: 'removed',
    session_id: 's',
    app_name: 'risk',
    user_id: 'ana',
    by: 'joe',
    reason: 'memory',
    cause: 'killed',
  };
  assert.ok(eventFilter('cause:killed by:joe app:risk').matches(event));
  assert.ok(eventFilter('reason:mem').matches(event));
  assert.ok(!eventFilter('cause:expired').matches(event));
  assert.ok(eventFilter('at:2026-11-22T07:00Z..2026-11-22T09:00Z').matches(event));
});

test('the filter means what it means in the server', () => {
  const { now, sessions, cases, wrong } = JSON.parse(
    readFileSync(new URL('../../tests/vectors/filters.json', import.meta.url), 'utf8'),
  );
  const at = Date.parse(now);
  assert.ok(cases.length > 60 && wrong.length > 15);
  for (const [filter, expected] of cases) {
    const found = sessions.filter(short => judged(filter, long(short, at), at)).map(({ id }) => id);
    assert.deepEqual(found, expected, filter);
    assert.notEqual(judged(filter, long(sessions[0], at), at), null, filter);
  }
  for (const [filter] of wrong) assert.equal(judged(filter, long(sessions[0], at), at), null, filter);
});
