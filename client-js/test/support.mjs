// A scripted WebSocket: a test decides when it opens, which frames come and how it closes. The client against a real
// server, in real browsers, is tested in tests/browser.

import { mock } from 'node:test';
import { monitorSession } from '../client.js';

/** The class to hand to `monitorSession`, with the `sockets` it made. */
export function scriptedWebSocket() {
  return class Scripted {
    static sockets = [];
    static get last() { return this.sockets.at(-1); }

    readyState = 0;
    sent = [];

    constructor(url, protocols) {
      Object.assign(this, { url, protocols });
      this.constructor.sockets.push(this);
    }

    send(text) { this.sent.push(JSON.parse(text)); }

    close(code, reason) { this.readyState = 3; this.closedWith = [code, reason]; }

    // What the other side does:

    open() { this.readyState = 1; this.onopen({}); return this; }

    deliver(frame) { this.onmessage({ data: JSON.stringify(frame) }); return this; }

    fail(code = 1006, reason = '') { this.readyState = 3; this.onclose({ code, reason }); }

    register(session_id = 'id-1', session_token = 'secret') {
      return this.deliver({ type: 'registered', session_id, session_token, heartbeat_interval: 30, resumed: false });
    }
  };
}

let servers = 0;

/**
 * Starts a session with a scripted socket. Each has a server address of its own, since the client writes one console line
 * for each address. `states` collects the states of the session.
 */
export function start(options = {}) {
  const WebSocket = scriptedWebSocket();
  const session = monitorSession({ app: 'reports', server: `http://monitor-${++servers}.test`, WebSocket, ...options });
  const states = [];
  session.addEventListener('statechange', ({ state }) => states.push(state));
  return { session, WebSocket, states };
}

/** The same, already registered. */
export async function online(options) {
  const started = start(options);
  await pass(0);
  return { ...started, socket: started.WebSocket.last.open().register() };
}

/** Advances the mocked time and runs what was waiting for it. */
export async function pass(milliseconds) {
  mock.timers.tick(milliseconds);
  await settle();
}

/** Runs all promises that are due. */
export async function settle() {
  for (let turn = 0; turn < 20; turn++) await null;
}

/** The lines that the client wrote to the console while `work` ran. */
export async function lines(work) {
  const warn = mock.method(console, 'warn', () => {});
  try {
    await work();
    return warn.mock.calls.map(call => call.arguments.join(' '));
  } finally { warn.mock.restore(); }
}
