// Idleness and the answer to a warning, with mocked time and a scripted socket. In a real browser: tests/browser.

import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import { online, pass } from './support.mjs';

const idle = socket => socket.sent.filter(frame => 'idle_seconds' in frame).map(frame => [frame.type, frame.idle_seconds]);

test('it tells once that nobody does anything, and once that somebody does again', async () => {
  mock.timers.enable({ apis: ['setTimeout', 'Date'], now: 1e12 });
  try {
    const { session, socket } = await online();
    session.touched();
    for (let second = 0; second < 59; second += 1) await pass(1_000);
    assert.deepEqual(idle(socket), [['heartbeat', 0]]);
    session.touched();
    await pass(59_999);
    assert.deepEqual(idle(socket), [['heartbeat', 0]]);
    await pass(1);
    for (let minute = 0; minute < 10; minute += 1) await pass(60_000);
    assert.deepEqual(idle(socket), [['heartbeat', 0], ['heartbeat', 60]]);
    session.touched();
    session.touched();
    assert.deepEqual(idle(socket).at(-1), ['heartbeat', 0]);
    assert.equal(idle(socket).length, 3);
  } finally { mock.timers.reset(); }
});

test('a registration says for how long nobody has done anything, and nothing where nobody looks', async () => {
  mock.timers.enable({ apis: ['setTimeout', 'Date'], now: 1e12 });
  try {
    const { session, socket, WebSocket } = await online();
    assert.deepEqual(idle(socket), []);
    session.touched();
    await pass(60_000);
    socket.fail();
    await pass(60_000);
    WebSocket.last.open();
    const [[type, seconds]] = idle(WebSocket.last);
    assert.equal(type, 'register');
    assert.ok(seconds >= 60 && seconds <= 120, `${seconds}`);
  } finally { mock.timers.reset(); }
});

test('a warning tells its rule and its time, and the app can answer it', async () => {
  mock.timers.enable({ apis: ['setTimeout'] });
  const { session, socket } = await online();
  const heard = [];
  session.addEventListener('message', ({ text, rule, ends_at }) => heard.push([text, rule, ends_at]));
  socket.deliver({ type: 'message', message_id: 'm', text: 'hello', level: 'info', by: null });
  socket.deliver({ type: 'message', message_id: 'n', text: 'out in 5 min', level: 'warning', by: null, rule: 'idle desks', ends_at: '2026-11-22T08:00:00.000Z' });
  assert.deepEqual(heard, [['hello', null, null], ['out in 5 min', 'idle desks', '2026-11-22T08:00:00.000Z']]);
  session.stay();
  assert.equal(socket.sent.at(-1).type, 'stay');
  session.end();
  session.stay();
  assert.equal(socket.sent.at(-1).type, 'bye');
  mock.timers.reset();
});
