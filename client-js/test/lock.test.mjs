// A lock-out against a real WebSocket server that speaks the contract's part of it.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mock, test } from 'node:test';
import { WebSocket, WebSocketServer } from 'ws';
import { monitorSession } from '../client.js';

test('locked out, the client comes back by itself when the lock is over, and not before', { timeout: 30_000 }, async () => {
  mock.method(Math, 'random', () => 0);
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1', handleProtocols: () => 'sessionwatch.v1' });
  await once(server, 'listening');
  const registrations = [];
  let until;
  server.on('connection', socket => socket.on('message', text => {
    const frame = JSON.parse(text);
    if (frame.type !== 'register') return;
    registrations.push({ at: Date.now(), app: frame.app_name });
    if (registrations.length === 1) {
      until = new Date(Date.now() + 1_000);
      socket.send(JSON.stringify({ type: 'error', status: 423, detail: 'locked', reason: 'release', until }));
      socket.close(4423, 'release');
    } else
      socket.send(JSON.stringify({ type: 'registered', session_id: 's', session_token: 't', heartbeat_interval: 30, resumed: false }));
  }));
  try {
    const session = monitorSession({ app: 'reports', server: `http://127.0.0.1:${server.address().port}`, WebSocket });
    const [locked] = await once(session, 'locked');
    assert.deepEqual([session.state, locked.reason, locked.until.getTime()], ['locked', 'release', until.getTime()]);
    // The wait for a lock keeps no process alive; the open server does here.
    await session.ready;
    assert.deepEqual([session.state, registrations.map(({ app }) => app)], ['online', ['reports', 'reports']]);
    assert.ok(registrations[1].at >= until.getTime());
    session.end();
  } finally {
    mock.restoreAll();
    for (const socket of server.clients) socket.terminate();
    server.close();
  }
});
