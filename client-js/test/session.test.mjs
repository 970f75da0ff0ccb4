// The session apart from its connection: status, tasks, kill, messages, end.

import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';
import { monitorSession } from '../client.js';
import { lines, online, pass, settle, start } from './support.mjs';

const REASON = 'Session terminated by administrator';

beforeEach(() => mock.timers.enable({ apis: ['setTimeout', 'Date'], now: Date.UTC(2026, 0) }));
afterEach(() => mock.timers.reset());

test('registers with what the app says of itself, and is ready once the server has answered', async () => {
  const { session, WebSocket, states } = start({ server: 'http://monitor.test', userId: 'ana', meta: { env: 'prod' } });
  assert.equal(session.state, 'connecting');
  await pass(0);
  const socket = WebSocket.last;
  assert.equal(socket.url, 'ws://monitor.test/ws/client');
  assert.deepEqual(socket.protocols, ['sessionwatch.v1']);
  socket.open();
  assert.deepEqual(socket.sent, [{
    type: 'register', app_name: 'reports', user_id: 'ana', meta: { env: 'prod' }, client: 'js/0.1.0', status: 'idle',
    current_task: null,
  }]);
  socket.register('s-1');
  assert.equal(await session.ready, session);
  assert.equal(session.id, 's-1');
  assert.deepEqual(states, ['online']);
});

test('a task is running while its function runs, and idle again after it, also when it throws', async () => {
  const { session, socket } = await online();
  socket.sent.length = 0;
  const result = await session.task('Q4 report', async ({ signal }) => {
    assert.equal(signal.aborted, false);
    return 7;
  });
  assert.equal(result, 7);
  const status = (status, current_task) => ({ type: 'status', status, current_task });
  assert.deepEqual(socket.sent, [status('running', 'Q4 report'), status('idle', null)]);
  await assert.rejects(session.task('bad', () => { throw new RangeError('mine'); }), RangeError);
  assert.deepEqual(socket.sent.at(-1), status('idle', null));
});

test('tasks nest and overlap: the innermost that still runs is shown', async () => {
  const { session, socket } = await online();
  const shown = () => socket.sent.at(-1).current_task;
  const outer = session.startTask('outer');
  const inner = session.startTask('inner');
  assert.equal(shown(), 'inner');
  outer.end();
  assert.equal(shown(), 'inner');
  inner[Symbol.dispose]();
  assert.equal(shown(), null);
  inner.end();
  assert.equal(socket.sent.at(-1).status, 'idle');
});

test('setStatus within a task keeps its name, and what was said before it comes back after it', async () => {
  const { session, socket } = await online();
  session.setStatus('loading', 'catalogue');
  const task = session.startTask('Q4');
  session.setStatus('waiting');
  assert.deepEqual(socket.sent.at(-1), { type: 'status', status: 'waiting', current_task: 'Q4' });
  session.setStatus('waiting', 'for the disk');
  assert.equal(socket.sent.at(-1).current_task, 'for the disk');
  task.end();
  assert.deepEqual(socket.sent.at(-1), { type: 'status', status: 'loading', current_task: 'catalogue' });
  session.setStatus('idle');
  assert.deepEqual(socket.sent.at(-1), { type: 'status', status: 'idle', current_task: null });
});

test('offline keeps only the newest status and the tasks, and says them when it resumes the same session', async () => {
  const { session, socket, WebSocket, states } = await online({ meta: { build: 1 } });
  socket.fail();
  assert.equal(session.state, 'offline');
  session.setStatus('loading');
  session.setStatus('sleeping');
  session.setMeta({ build: 2 });
  session.startTask('short').end();
  session.startTask('long');
  await pass(500);
  const again = WebSocket.last.open();
  assert.deepEqual(again.sent, [{
    type: 'register', app_name: 'reports', session_id: 'id-1', session_token: 'secret', meta: { build: 2 },
    client: 'js/0.1.0', status: 'running', current_task: 'long',
  }]);
  again.register();
  assert.deepEqual(states, ['online', 'offline', 'online']);
});

test('a kill: event and signals, the work waited for, the sockets closed with 4001, the ack, then nothing', async () => {
  const order = [];
  const own = { close: (...how) => order.push(['close', ...how]) };
  const { session, socket, WebSocket, states } = await online({ sockets: [own] });
  let saved;
  session.addEventListener('kill', event => {
    order.push(['kill', event.reason, event.by, event.grace_ms, session.state]);
    event.waitUntil(new Promise(resolve => { saved = resolve; }));
  });
  session.signal.addEventListener('abort', () => order.push(['abort', session.signal.reason.name]));
  socket.sent.length = 0;
  socket.deliver({ type: 'kill', session_id: 'id-1', kill_id: 'k', reason: 'maintenance', by: 'root', grace_ms: 2000 });
  await pass(1999);
  assert.deepEqual(order, [['kill', 'maintenance', 'root', 2000, 'killed'], ['abort', 'AbortError']]);
  assert.deepEqual(socket.sent, []);
  saved();
  await settle();
  assert.deepEqual(order[2], ['close', 4001, REASON]);
  assert.deepEqual(socket.sent, [{ type: 'kill_ack', kill_id: 'k' }]);
  socket.fail(1001, REASON);
  session.reconnect();
  session.setStatus('running');
  session.end();
  await pass(600_000);
  assert.equal(WebSocket.sockets.length, 1);
  assert.deepEqual(states, ['online', 'killed']);
});

test('waitUntil is cut at the grace, and a rejected promise does not hold up the others', async () => {
  const { session, socket } = await online();
  session.addEventListener('kill', event => {
    event.waitUntil(Promise.reject(new Error('disk full')));
    event.waitUntil(new Promise(() => {}));
  });
  socket.deliver({ type: 'kill', kill_id: 'k', reason: null, by: null, grace_ms: 800 });
  await pass(799);
  assert.equal(socket.sent.at(-1).type, 'register');
  await pass(1);
  assert.equal(socket.sent.at(-1).type, 'kill_ack');
});

test('a server that closes first cuts the wait, since a hidden page\'s own timer may be late', async () => {
  const closed = [];
  const { session, socket } = await online({ sockets: () => [{ close: code => closed.push(code) }] });
  session.addEventListener('kill', event => event.waitUntil(new Promise(() => {})));
  socket.deliver({ type: 'kill', kill_id: 'k', reason: null, by: null, grace_ms: 2000 });
  socket.fail(1001, REASON);
  await settle();
  assert.deepEqual(closed, [4001]);
});

test('an error in the app\'s own sockets keeps neither the others open nor the ack back', async () => {
  const closed = [];
  const bad = { close() { throw new Error('not open'); } };
  const { socket } = await online({ sockets: new Set([bad, { close: code => closed.push(code) }]) });
  socket.deliver({ type: 'kill', kill_id: 'k', reason: null, by: null, grace_ms: 2000 });
  await settle();
  assert.deepEqual(closed, [4001]);
  assert.equal(socket.sent.at(-1).type, 'kill_ack');
});

test('1001 with the reason is a kill even when its frame was missed; 1001 alone is not', async () => {
  const first = await online();
  first.socket.fail(1001, '');
  assert.equal(first.session.state, 'offline');
  const second = await online();
  let killed = 0;
  second.session.addEventListener('kill', () => killed++);
  second.socket.fail(1001, REASON);
  assert.equal(second.session.state, 'killed');
  assert.equal(killed, 1);
});

test('killed before it was ready: ready rejects, and a task gets an aborted signal', async () => {
  const { session, WebSocket } = start({ id: 'mine' });
  await pass(0);
  WebSocket.last.open().deliver({ type: 'kill', kill_id: 'k', reason: 'r', by: null, grace_ms: 0 });
  await assert.rejects(session.ready, { name: 'AbortError' });
  assert.equal(await session.task('late', ({ signal }) => signal.aborted), true);
});

test('a message is an event and is acknowledged', async () => {
  const { session, socket } = await online();
  let seen;
  session.addEventListener('message', ({ text, level, by }) => { seen = { text, level, by }; });
  socket.deliver({ type: 'message', session_id: 'id-1', message_id: 'm', text: 'Back at 9', level: 'warning', by: 'root' });
  assert.deepEqual(seen, { text: 'Back at 9', level: 'warning', by: 'root' });
  assert.deepEqual(socket.sent.at(-1), { type: 'message_ack', message_id: 'm' });
});

test('a resumed session keeps its token where the server does not say it again', async () => {
  const { socket, WebSocket } = await online();
  socket.fail();
  await pass(500);
  WebSocket.last.open().deliver({ type: 'registered', session_id: 'id-1', resumed: true });
  WebSocket.last.fail();
  await pass(1000);
  assert.equal(WebSocket.last.open().sent[0].session_token, 'secret');
});

test('end says bye, closes, and rejects ready only if it never was', async () => {
  const { session, socket, WebSocket } = await online();
  session.end();
  assert.deepEqual(socket.sent.at(-1), { type: 'bye', persisted: false });
  assert.equal(socket.readyState, 3);
  assert.equal(session.state, 'ended');
  assert.equal(await session.ready, session);
  session.reconnect();
  session.end();
  await pass(60_000);
  assert.equal(WebSocket.sockets.length, 1);
  const early = start();
  early.session.end();
  await assert.rejects(early.session.ready, { name: 'AbortError' });
});

test('ended while the socket is away, the end goes out over HTTP with the session\'s token', async () => {
  const { session, socket } = await online({ server: 'http://monitor.test/sw' });
  const request = mock.method(globalThis, 'fetch', async () => new Response());
  try {
    socket.fail();
    session.end();
    const [url, { method, body, keepalive }] = request.mock.calls[0].arguments;
    assert.deepEqual({ url, method, body, keepalive }, {
      url: 'http://monitor.test/sw/sessions/id-1/end', method: 'POST', body: '{"session_token":"secret"}', keepalive: true,
    });
  } finally { request.mock.restore(); }
});

test('an id of the server is one part of a path, whatever it holds', async () => {
  const { session, socket } = await online({ server: 'http://monitor.test/sw' });
  const request = mock.method(globalThis, 'fetch', async () => new Response());
  try {
    socket.register('../x?y#z/ä').fail();
    session.end();
    assert.equal(request.mock.calls[0].arguments[0], 'http://monitor.test/sw/sessions/..%2Fx%3Fy%23z%2F%C3%A4/end');
  } finally { request.mock.restore(); }
});

test('a session that the server ends, as one that is deleted there, is ended and does not come back', async () => {
  const { session, socket, WebSocket } = await online();
  socket.fail(1000, 'the session has ended');
  assert.equal(session.state, 'ended');
  await pass(60_000);
  assert.equal(WebSocket.sockets.length, 1);
});

test('an aborted signal ends the session, at once where it already was', async () => {
  const controller = new AbortController();
  const { session } = await online({ signal: controller.signal });
  controller.abort();
  assert.equal(session.state, 'ended');
  const late = start({ signal: controller.signal });
  await pass(0);
  assert.equal(late.session.state, 'ended');
  assert.equal(late.WebSocket.sockets.length, 0);
});

test('a mount that is undone in the same tick and done again opens one socket', async () => {
  const first = start();
  first.session.end();
  const second = start();
  await pass(0);
  assert.equal(first.WebSocket.sockets.length, 0);
  assert.equal(second.WebSocket.sockets.length, 1);
});

test('an id that is somebody else\'s becomes a session of its own', async () => {
  const { session, WebSocket } = start({ id: 'taken' });
  await pass(0);
  const socket = WebSocket.last.open();
  assert.equal(socket.sent[0].session_id, 'taken');
  socket.deliver({ type: 'error', session_id: 'taken', status: 403, detail: 'not yours' });
  assert.equal('session_id' in socket.sent[1], false);
  socket.register('fresh');
  assert.equal(session.id, 'fresh');
});

test('a refused frame is told once and changes nothing', async () => {
  const { session, socket } = await online();
  const told = await lines(() => {
    for (let i = 0; i < 3; i++) socket.deliver({ type: 'error', status: 422, detail: '`Busy!` is not a status' });
  });
  assert.deepEqual(told, ['sessionwatch: `Busy!` is not a status']);
  assert.equal(session.state, 'online');
});

test('what the app does wrong is told on the console and thrown nowhere', async () => {
  const told = await lines(async () => {
    const { session, socket } = await online();
    session.setMeta({ size: 10n });
    session.setStatus('waiting');
    assert.equal(socket.sent.at(-1).status, 'waiting');
    session.end();
    monitorSession().end();
  });
  assert.match(told.join(), /BigInt/);
});
