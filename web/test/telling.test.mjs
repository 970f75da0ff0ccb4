import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { defaults, read, write } from '../address.js';
import { Kills, killOf, steps, verdict } from '../kills.js';
import { backoff } from '../lib/backoff.js';
import { cell, csv, guarded, tabbed } from '../lib/csv.js';
import { ago, count, elapsed, plural, printable, took } from '../lib/format.js';
import { scrollFor, windowOf } from '../lib/virtual.js';
import { Row } from '../row.js';
import { chartSpan } from '../stats.js';
import { T0, iso, session } from './support.mjs';

test('spans are told as people say them', () => {
  assert.deepEqual([0, 999, 4_200, 59_999, 120_000, 3 * 3_600_000, 5 * 86_400_000].map(ago), [
    'now',
    'now',
    '4 s ago',
    '59 s ago',
    '2 min ago',
    '3 h ago',
    '5 d ago',
  ]);
  assert.deepEqual([0, 7_400, 201_000, 3_723_000, 51 * 3_600_000, -5].map(elapsed), [
    '0:00',
    '0:07',
    '3:21',
    '1:02:03',
    '2d 3h',
    '0:00',
  ]);
  assert.deepEqual([2.6, 41, 1240, 12_000, 130_000].map(took), ['3 ms', '41 ms', '1.24 s', '12 s', '2 min']);
  assert.equal(count(1204), '1,204');
  assert.equal(plural(1, 'session'), '1 session');
  assert.equal(plural(1204, 'session'), '1,204 sessions');
});

test('characters that cannot be seen are spelled out', () => {
  assert.equal(printable('a\u202Eb'), 'a‹U+202E›b');
  assert.equal(printable('x\u0000\u200by\n'), 'x‹U+0000›‹U+200B›y‹U+000A›');
  assert.equal(printable('grüße, 世界, مرحبا'), 'grüße, 世界, مرحبا');
});

test('cells that a spreadsheet would run are made harmless, numbers stay numbers', () => {
  for (const formula of ['=1+1', '+1', '-1', '@SUM(A1)', '\t=1', '\r=1', ' =1', '＝1'])
    assert.match(cell(formula), /^"?'/, JSON.stringify(formula));
  assert.equal(cell(-5), '-5');
  assert.equal(cell('a=b'), 'a=b');
  assert.equal(cell('say "hi", ok'), '"say ""hi"", ok"');
  assert.equal(cell('=HYPERLINK("http://x","y")'), `"'=HYPERLINK(""http://x"",""y"")"`);
  assert.equal(cell('two\nlines'), 'two‹U+000A›lines');
  assert.equal(cell(null), '');
  assert.equal(cell('<img src=x onerror=alert(1)>'), '<img src=x onerror=alert(1)>');
  assert.equal(
    csv(
      ['a', 'b'],
      [
        ['x', 1],
        ['y,z', null],
      ],
    ),
    'a,b\r\nx,1\r\n"y,z",\r\n',
  );
  assert.equal(tabbed(['a\tb', null, 3]), 'a‹U+0009›b\t\t3');
});

test('formulas are made harmless as the server does it', () => {
  const vectors = JSON.parse(readFileSync(new URL('../../tests/vectors/csv-cells.json', import.meta.url), 'utf8'));
  assert.ok(vectors.length > 20);
  for (const [text, expected] of vectors) {
    assert.equal(guarded(text), expected);
    assert.equal(cell(text).replace(/^"|"$/g, '').replaceAll('""', '"'), printable(expected));
  }
  assert.equal(tabbed(['=1', 2]), "'=1\t2");
});

test('only the lines in view and a few around them exist', () => {
  assert.deepEqual(windowOf({ length: 100_000, lineHeight: 36, scrollTop: 0, viewHeight: 720 }), {
    first: 0,
    last: 24,
    height: 3_600_000,
  });
  assert.deepEqual(windowOf({ length: 100_000, lineHeight: 36, scrollTop: 3_599_280, viewHeight: 720 }), {
    first: 99_976,
    last: 100_000,
    height: 3_600_000,
  });
  assert.deepEqual(windowOf({ length: 0, lineHeight: 36, scrollTop: 500, viewHeight: 720 }), {
    first: 0,
    last: 0,
    height: 0,
  });
  const beyond = windowOf({ length: 10, lineHeight: 36, scrollTop: 5000, viewHeight: 720 });
  assert.ok(beyond.first <= beyond.last && beyond.last === 10);
  assert.equal(scrollFor({ index: 5, lineHeight: 36, scrollTop: 0, viewHeight: 720 }), 0);
  assert.equal(scrollFor({ index: 20, lineHeight: 36, scrollTop: 0, viewHeight: 720 }), 36);
  assert.equal(scrollFor({ index: 2, lineHeight: 36, scrollTop: 720, viewHeight: 720 }), 72);
});

test('waits double up to a cap and are spread', () => {
  assert.equal(
    backoff(0, () => 0),
    167,
  );
  assert.equal(
    backoff(0, () => 1),
    500,
  );
  assert.equal(
    backoff(50, () => 1),
    15_000,
  );
  assert.equal(
    backoff(50, () => 0),
    5_000,
  );
});

test('a view goes into the address and comes back; the default view is a bare address', () => {
  assert.equal(write(defaults()), '?');
  const view = {
    page: 'live',
    query: 'app:"Q4 & more" status:running,stale -user:ana',
    sort: [
      { key: 'app', down: false },
      { key: 'age', down: true },
    ],
    group: 'app',
    columns: ['app', 'id'],
    session: 'a:b.c',
    wall: true,
    at: '2026-11-27T14:03:00.000Z',
    versus: '1234',
  };
  assert.deepEqual(read(write(view)), view);
  assert.match(write({ ...defaults(), query: 'app:risk' }), /^\?q=app:risk$/);
});

test('an address with nonsense in it shows the default view', () => {
  assert.deepEqual(read('?sort=__proto__,toString&columns=constructor&group=hasOwnProperty&page=evil'), defaults());
  assert.deepEqual(read('?sort=app,app,-app').sort, [{ key: 'app', down: false }]);
});

const ended = { cause: 'killed', at: T0 + 60, by: null, reason: null };
const kill = fields => ({
  kill_id: 'k',
  requested_at: iso(0),
  requested_by: 'joe',
  reason: null,
  delivered_at: null,
  acknowledged_at: null,
  confirm_by: iso(3000),
  ...fields,
});

test('a kill is told by its steps, and is gone only when the server says so', () => {
  const kills = new Kills();
  const row = new Row(0, session('a'), T0);
  kills.ask(row, '', T0);
  const state = () => kills.all.get('a').state;
  assert.equal(state(), 'asking');
  const told = (fields, now) => {
    row.describe(session('a', { kill_requested: true, kill: kill(fields) }));
    kills.update([row], now);
  };
  told({}, T0 + 1);
  assert.equal(state(), 'requested');
  told({ delivered_at: iso(3) }, T0 + 4);
  assert.equal(state(), 'delivered');
  told({ delivered_at: iso(3), acknowledged_at: iso(41) }, T0 + 42);
  assert.equal(state(), 'acknowledged');
  assert.deepEqual(
    steps(kills.all.get('a')).map(step => [step.text, step.done]),
    [
      ['requested', true],
      ['delivered 3 ms', true],
      ['acked 41 ms', true],
      ['gone', false],
    ],
  );
  row.ended = ended;
  kills.update([row], T0 + 61);
  assert.equal(state(), 'gone');
  assert.equal(verdict(kills.all.get('a'), T0 + 61), 'gone after 60 ms');
});

test('past confirm_by a kill is unconfirmed and can be tried again, and gone after all when it goes', () => {
  const kills = new Kills();
  const row = new Row(0, session('a', { kill_requested: true, kill: kill({}) }), T0);
  kills.ask(row, '', T0);
  kills.update([row], T0 + 2999);
  assert.equal(kills.failed().length, 0);
  kills.tick(T0 + 3001);
  assert.deepEqual(
    kills.failed().map(entry => entry.id),
    ['a'],
  );
  assert.match(verdict(kills.all.get('a'), T0 + 3001), /unconfirmed: not delivered/);
  row.ended = ended;
  kills.update([row], T0 + 4000);
  assert.equal(kills.failed().length, 0);
});

test('a refusal keeps the words of the server', () => {
  const kills = new Kills();
  kills.ask(new Row(0, session('a'), T0), '', T0);
  kills.refuse('a', 'your role is view');
  assert.equal(verdict(kills.all.get('a'), T0), 'refused: your role is view');
  assert.equal(kills.failed().length, 1);
});

test('a kill asked for elsewhere is told from the row alone', () => {
  const row = new Row(
    0,
    session('a', { kill_requested: true, connected: false, kill: kill({ confirm_by: iso(60_000) }) }),
    T0,
  );
  assert.match(verdict(killOf(row, T0 + 10_000), T0 + 10_000), /waits for the next heartbeat, at most 50 s/);
});

test('charts show what there is a record of, up to the whole hour', () => {
  const HOUR = 3_600_000;
  const spanAfter = minutes => chartSpan([{ time: T0 }], T0 + minutes * 60_000, HOUR) / 60_000;
  assert.deepEqual([0, 1, 4, 5, 8, 20, 39, 41, 60, 600].map(spanAfter), [4, 4, 4, 8, 8, 20, 40, 60, 60, 60]);
  assert.equal(chartSpan([], T0, HOUR), 4 * 60_000);
});
