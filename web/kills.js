// What became of each kill asked for or seen here. A kill is told by its steps, by the
// server's clock; nothing counts as done before the server has said that the session
// is gone, and past `confirm_by` it is called what it is: unconfirmed.

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

  /** Notes that this page asks for the end of `row`. */
  ask(row, reason, now) {
    this.all.delete(row.id); // another try stands at the end again
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

  /** Takes what changed rows say about the kills that are followed. */
  update(rows, now) {
    for (const row of rows) {
      const kill = this.all.get(row.id);
      if (!kill) continue;
      follow(kill, row);
      this.version += 1;
    }
    this.tick(now);
  }

  /** Lets time pass: a kill past its `confirm_by` is unconfirmed until it is gone after all. */
  tick(now) {
    for (const kill of this.all.values()) {
      const state = stateAt(kill, now);
      if (state !== kill.state) {
        kill.state = state;
        this.version += 1;
      }
    }
  }

  /** Those that did not end, and will not by themselves: for another try. */
  failed() {
    return [...this.all.values()].filter(({ state }) => state === 'unconfirmed' || state === 'refused');
  }

  clear() {
    this.all.clear();
    this.version += 1;
  }
}

function follow(kill, row) {
  const told = row.kill;
  if (told) {
    kill.requestedAt = Date.parse(told.requested_at) || 0;
    kill.deliveredAt = told.delivered_at ? Date.parse(told.delivered_at) : 0;
    kill.acknowledgedAt = told.acknowledged_at ? Date.parse(told.acknowledged_at) : 0;
    kill.confirmBy = told.confirm_by ? Date.parse(told.confirm_by) : 0;
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

/** The same for a row, whoever asked for its end. */
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

/** Whether a session was asked to end and nobody has said in time that it did. */
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

/** One sentence for where a kill stands. */
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
