// The kills that this page asked for, each with its steps by the server's clock. A kill is done only when the server
// says that the session is gone. After `confirm_by` it is unconfirmed.

import { took } from './lib/format.js';

/**
 * @typedef {object} Kill
 * @property {string} id the session
 * @property {string} app
 * @property {string} user
 * @property {string} state `asking`, `refused`, `requested`, `delivered`, `acknowledged`, `unconfirmed`, `gone`
 */

export class Kills {
  constructor() {
    /** @type {Map<string, Kill>} by session id, oldest first */
    this.all = new Map();
    this.version = 0;
  }

  /** Notes that this page sends a kill request for `row`. */
  ask(row, reason, now) {
    this.all.delete(row.id); // Another try goes to the end of the list.
    this.all.set(row.id, {
      id: row.id,
      app: row.app,
      user: row.user,
      task: row.task,
      reason,
      askedAt: now,
      requestedAt: 0,
      deliveredAt: 0,
      acknowledgedAt: 0,
      goneAt: 0,
      confirmBy: 0,
      state: 'asking',
      detail: null,
      connected: row.connected,
    });
    this.version += 1;
  }

  /** The server refused, or could not be asked. */
  refuse(id, detail) {
    const kill = this.all.get(id);
    if (!kill || kill.state === 'gone') return;
    kill.state = 'refused';
    kill.detail = detail;
    this.version += 1;
  }

  /** Updates the kills of rows that changed. */
  update(rows, now) {
    for (const row of rows) {
      const kill = this.all.get(row.id);
      if (!kill) continue;
      follow(kill, row);
      this.version += 1;
    }
    this.tick(now);
  }

  /** Updates the states that change with time: after `confirm_by` a kill is unconfirmed. */
  tick(now) {
    for (const kill of this.all.values()) {
      const state = stateAt(kill, now);
      if (state !== kill.state) {
        kill.state = state;
        this.version += 1;
      }
    }
  }

  /** The kills that failed, for another try. */
  failed() {
    return [...this.all.values()].filter(({ state }) => state === 'unconfirmed' || state === 'refused');
  }

  clear() {
    this.all.clear();
    this.version += 1;
  }
}

function follow(kill, row) {
  const steps = row.kill;
  if (steps) {
    kill.requestedAt = Date.parse(steps.requested_at) || 0;
    kill.deliveredAt = steps.delivered_at ? Date.parse(steps.delivered_at) : 0;
    kill.acknowledgedAt = steps.acknowledged_at ? Date.parse(steps.acknowledged_at) : 0;
    kill.confirmBy = steps.confirm_by ? Date.parse(steps.confirm_by) : 0;
    kill.connected = row.connected;
  }
  if (row.ended) {
    kill.goneAt = row.ended.at;
    kill.cause = row.ended.cause;
  }
}

function stateAt(kill, now) {
  if (kill.goneAt) return 'gone';
  if (kill.state === 'refused') return 'refused';
  if (!kill.requestedAt) return 'asking';
  if (kill.confirmBy && now > kill.confirmBy) return 'unconfirmed';
  if (kill.acknowledgedAt) return 'acknowledged';
  return kill.deliveredAt ? 'delivered' : 'requested';
}

/** The kill of a row, whoever asked for it. */
export function killOf(row, now) {
  const kill = {
    state: 'asking',
    requestedAt: 0,
    deliveredAt: 0,
    acknowledgedAt: 0,
    goneAt: 0,
    confirmBy: 0,
    connected: row.connected,
  };
  follow(kill, row);
  kill.state = stateAt(kill, now);
  return kill;
}

/** Whether a session was asked to end and did not in time. */
export const isUnconfirmed = (row, now) => row.state === 'ending' && killOf(row, now).state === 'unconfirmed';

/**
 * The steps in words with their milliseconds after the request: `requested ✓`, `delivered 3 ms ✓`, …
 * @returns {{ name: string, done: boolean, text: string }[]}
 */
export function steps(kill) {
  const after = time => (kill.requestedAt ? took(time - kill.requestedAt) : '');
  const list = [
    { name: 'requested', done: kill.requestedAt > 0, text: 'requested' },
    {
      name: 'delivered',
      done: kill.deliveredAt > 0,
      text: kill.deliveredAt ? `delivered ${after(kill.deliveredAt)}` : 'delivered',
    },
    {
      name: 'acknowledged',
      done: kill.acknowledgedAt > 0,
      text: kill.acknowledgedAt ? `acked ${after(kill.acknowledgedAt)}` : 'acked',
    },
    { name: 'gone', done: kill.goneAt > 0, text: kill.goneAt ? `gone ${after(kill.goneAt)}` : 'gone' },
  ];
  return list;
}

/** The state of a kill in words. */
export function verdict(kill, now) {
  switch (kill.state) {
    case 'asking':
      return 'asking the server…';
    case 'refused':
      return `refused: ${kill.detail}`;
    case 'gone':
      return kill.requestedAt ? `gone after ${took(kill.goneAt - kill.requestedAt)}` : 'gone';
    case 'unconfirmed':
      return kill.deliveredAt ? 'unconfirmed: delivered, app busy or not answering' : 'unconfirmed: not delivered';
    case 'delivered':
      return 'delivered, waiting for the app';
    case 'acknowledged':
      return 'acknowledged, closing';
    default: {
      const wait = kill.confirmBy - now;
      return kill.connected || wait <= 0 ? 'requested' : `waits for the next heartbeat, at most ${took(wait)}`;
    }
  }
}
