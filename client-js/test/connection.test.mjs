// The connection of a session: when it is opened and tried again, and what is written on the console.

import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';
import { monitorSession } from '../client.js';
import { lines, online, pass, settle, start } from './support.mjs';

beforeEach(() => mock.timers.enable({ apis: ['setTimeout', 'Date'], now: Date.UTC(2026, 0) }));
afterEach(() => { mock.timers.reset(); mock.restoreAll(); });

/** Fails the newest connection and tells the milliseconds until the next. */
async function delayOf(WebSocket, socket = WebSocket.last) {
  const had = WebSocket.sockets.length;
  socket.fail();
  for (let waited = 0; ; waited += 50) {
    if (WebSocket.sockets.length > had) return waited;
    assert.ok(waited <= 45_000, 'no further attempt');
    await pass(50);
  }
}

test('tries for ever, with full jitter under 0.5 s doubling to 30 s', async () => {
  mock.method(console, 'warn', () => {});
  const random = mock.method(Math, 'random', () => 0.999_999);
  const { WebSocket } = start();
  await pass(0);
  const delays = [];
  for (let i = 0; i < 9; i++) delays.push(await delayOf(WebSocket));
  assert.deepEqual(delays, [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
  random.mock.mockImplementation(() => 0.1);
  assert.equal(await delayOf(WebSocket), 3000);
});

test('begins anew at 0.5 s only after a connection that held', async () => {
  mock.method(console, 'warn', () => {});
  mock.method(Math, 'random', () => 0.999_999);
  const { WebSocket } = start();
  await pass(0);
  for (const expected of [500, 1000, 2000]) {
    WebSocket.last.open().register();
    assert.equal(await delayOf(WebSocket), expected, 'a server that lets in and throws out at once is not back');
  }
  WebSocket.last.open().register();
  await pass(10_001);
  assert.equal(await delayOf(WebSocket), 500);
});

for (const code of [1005, 1006, 1012, 4000, 4408])
  test(`comes back after ${code}`, async () => {
    const { session, socket, WebSocket } = await online();
    socket.fail(code);
    assert.equal(session.state, 'offline');
    await pass(500);
    assert.equal(WebSocket.sockets.length, 2);
  });

for (const code of [1002, 1003, 1007, 1009, 4401, 4403, 4409])
  test(`does not come back after ${code} by itself, and says so`, async () => {
    const { session, socket, WebSocket } = await online();
    const told = await lines(() => socket.fail(code, 'because'));
    assert.match(told.join(), new RegExp(`${code} because`));
    await pass(3_600_000);
    assert.equal(session.state, 'refused');
    assert.equal(WebSocket.sockets.length, 1);
    session.reconnect();
    assert.equal(session.state, 'connecting');
    WebSocket.last.open().register();
    assert.equal(session.state, 'online');
  });

test('a server that is away is told of once, with what to look at', async () => {
  const { WebSocket } = start({ server: 'http://away.test/base/' });
  const told = await lines(async () => {
    await pass(0);
    for (let i = 0; i < 5; i++) await delayOf(WebSocket);
    const other = start({ server: 'http://away.test/base/' });
    await pass(0);
    other.WebSocket.last.fail();
  });
  assert.equal(told.length, 1);
  assert.match(told[0], /ws:\/\/away\.test\/base\/ws\/client.*--allow-origin/);
});

test('a lost connection that was once there is not worth a line', async () => {
  const { socket } = await online();
  assert.deepEqual(await lines(() => socket.fail(1012)), []);
});

test('a register that is refused for good is not tried again; a busy server is', async () => {
  const bad = start({ app: '' });
  await pass(0);
  const told = await lines(() => bad.WebSocket.last.open().deliver({ type: 'error', status: 422, detail: 'app_name is empty' }));
  assert.match(told.join(), /app_name is empty/);
  await pass(60_000);
  assert.equal(bad.WebSocket.sockets.length, 1);
  assert.equal(bad.session.state, 'refused');
  const busy = start();
  await pass(0);
  busy.WebSocket.last.open().deliver({ type: 'error', status: 503, detail: 'too many sessions' });
  await pass(500);
  assert.equal(busy.WebSocket.sockets.length, 2);
});

test('a token travels as a subprotocol in base64url, asked for anew at each attempt', async () => {
  const tokens = ['~~~???', 'second'];
  const { WebSocket } = start({ token: async () => tokens.shift() });
  await pass(0);
  assert.deepEqual(WebSocket.last.protocols, ['sessionwatch.v1', 'sessionwatch.auth.fn5-Pz8_']);
  mock.method(console, 'warn', () => {});
  await delayOf(WebSocket);
  assert.deepEqual(WebSocket.last.protocols[1], 'sessionwatch.auth.c2Vjb25k');
});

test('a token that cannot be had is tried for again', async () => {
  let asked = 0;
  const { session, WebSocket } = start({ token: async () => { if (++asked < 3) throw new Error('login first'); return 't'; } });
  const told = await lines(async () => {
    await pass(0);
    await pass(500);
    await pass(1000);
  });
  assert.match(told[0], /login first/);
  assert.equal(told.length, 1);
  assert.equal(WebSocket.sockets.length, 1);
  WebSocket.last.open().register();
  assert.equal(session.state, 'online');
});

test('a server whose ticks stop is taken for lost after 45 s; one that never ticks is not', async () => {
  const quiet = await online();
  await pass(3_600_000);
  assert.equal(quiet.session.state, 'online');
  const { session, socket, WebSocket } = await online();
  for (let minute = 0; minute < 3; minute++) {
    socket.deliver({ type: 'tick' });
    assert.deepEqual(socket.sent.at(-1), { type: 'heartbeat' });
    await pass(44_000);
  }
  assert.equal(session.state, 'online');
  await pass(1_000);
  assert.equal(session.state, 'offline');
  assert.equal(socket.readyState, 3);
  await pass(500);
  assert.equal(WebSocket.last.open().sent[0].session_id, 'id-1');
});

test('what an abandoned socket still says is not heard', async () => {
  const { session, socket, WebSocket } = await online();
  session.reconnect();
  await settle();
  socket.deliver({ type: 'kill', kill_id: 'k', reason: null, by: null, grace_ms: 0 });
  socket.fail(4403);
  assert.equal(session.state, 'connecting');
  WebSocket.last.open().register();
  assert.equal(session.state, 'online');
});

test('an error event says what was refused, and the state whether the session was', async () => {
  const heard = [];
  const { session, socket } = await online();
  session.addEventListener('error', ({ status, detail }) => heard.push([session.state, status, detail]));
  await lines(() => {
    socket.deliver({ type: 'error', status: 422, detail: 'not a status' });
    socket.fail(4401, 'the token is no longer valid');
  });
  assert.deepEqual(heard, [['online', 422, 'not a status'], ['refused', 4401, 'the token is no longer valid']]);
});

test('a server that is away is no error event: it is tried again', async () => {
  const { session, socket } = await online();
  let errors = 0;
  session.addEventListener('error', () => errors++);
  socket.fail(1006);
  assert.deepEqual([session.state, errors], ['offline', 0]);
});

test('without any WebSocket the session is refused, with what to do', async () => {
  const heard = [];
  const told = await lines(async () => {
    const session = monitorSession({ app: 'job', server: 'http://monitor.test', WebSocket: null });
    session.addEventListener('error', ({ status, detail }) => heard.push([session.state, status, detail]));
    await pass(60_000);
  });
  assert.equal(heard.length, 1);
  assert.deepEqual(heard[0].slice(0, 2), ['refused', 0]);
  assert.match(heard[0][2], /no WebSocket.*install `ws`/);
  assert.equal(told.length, 1);
});

for (const how of ['by an error frame', 'by a close without it'])
  test(`a lock ${how} is waited for, and told`, async () => {
    mock.method(Math, 'random', () => 0.5);
    const heard = [];
    const { session, WebSocket, states } = start();
    session.addEventListener('locked', ({ reason, until }) => heard.push([reason, until?.toISOString() ?? null]));
    await pass(0);
    const until = new Date(Date.now() + 30 * 60_000).toISOString();
    if (how === 'by an error frame')
      WebSocket.last.open().deliver({ type: 'error', status: 423, detail: 'locked', reason: 'maintenance', until });
    else WebSocket.last.open().fail(4423, 'maintenance');
    const minutes = how === 'by an error frame' ? 30 : 5;
    assert.deepEqual(heard, [['maintenance', minutes === 30 ? until : null]]);
    assert.equal(session.state, 'locked');
    await pass(minutes * 60_000);
    assert.equal(WebSocket.sockets.length, 1, 'not before the lock is over');
    await pass(2_500);
    WebSocket.last.open().register();
    assert.deepEqual([WebSocket.sockets.length, states], [2, ['locked', 'online']]);
  });

test('a lock of many days is waited for, though no timer is that long', async () => {
  mock.method(Math, 'random', () => 0);
  const { WebSocket } = start();
  await pass(0);
  const until = new Date(Date.now() + 40 * 86_400_000).toISOString();
  WebSocket.last.open().deliver({ type: 'error', status: 423, detail: 'locked', reason: null, until });
  for (let hour = 0; hour < 40 * 24 - 1; hour++) await pass(3_600_000);
  assert.equal(WebSocket.sockets.length, 1);
  await pass(3_600_000);
  assert.equal(WebSocket.sockets.length, 2);
});

test('a locked session can be ended, and can be tried at once', async () => {
  const { session, WebSocket } = start();
  await pass(0);
  WebSocket.last.open().fail(4423, 'maintenance');
  session.reconnect();
  await settle();
  assert.equal(WebSocket.sockets.length, 2);
  WebSocket.last.open().fail(4423, 'maintenance');
  session.end();
  await pass(3_600_000);
  assert.deepEqual([session.state, WebSocket.sockets.length], ['ended', 2]);
});

test('with a WebSocket that fails, or a server that is no address, the app goes on', async () => {
  const broken = class { constructor() { throw new SyntaxError('no such scheme'); } };
  const { session } = start({ WebSocket: broken });
  const told = await lines(async () => { for (let i = 0; i < 10; i++) await pass(30_000); });
  assert.equal(told.length, 1);
  assert.equal(session.state, 'offline');
  session.setStatus('running');
  session.end();
});
