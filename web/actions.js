// What an administrator does, and what is kept of it: a kill is noted before it is
// asked for, and everything said about it afterwards comes from the feed.

import * as commands from './commands.js';

/** At most this many requests at a time, fewer than browsers open to one host. */
const LANES = 5;

/**
 * Asks for the end of `rows`, each by its own request.
 * @param {import('./dashboard.js').Dashboard} dashboard
 * @param {import('./row.js').Row[]} rows
 * @param {{ reason: string, by: string }} why
 */
export async function killRows(dashboard, rows, why) {
  for (const row of rows) dashboard.kills.ask(row, why.reason, dashboard.now());
  dashboard.dispatchEvent(new Event('kills'));
  await commands.spread(rows, LANES, async row => {
    try {
      await commands.killSession(row.id, why);
      // Who was asked before is not told of anew by the feed: where it stands is known already.
      if (row.state === 'ending') dashboard.kills.update([row], dashboard.now());
    } catch (error) {
      // Gone already: the feed says so, and how.
      if (error.status !== 404 && error.status !== 410) dashboard.kills.refuse(row.id, error.message);
      else if (!dashboard.store.rows.get(row.id)?.ended) dashboard.kills.refuse(row.id, 'it is gone already');
    }
    dashboard.dispatchEvent(new Event('kills'));
  });
}

/** Asks for the end of every session of an app, in one request. */
export async function killApp(dashboard, app, why) {
  const rows = dashboard.rowsOfApp(app).filter(row => row.state !== 'ending');
  for (const row of rows) dashboard.kills.ask(row, why.reason, dashboard.now());
  dashboard.dispatchEvent(new Event('kills'));
  try {
    await commands.killApp(app, why);
  } catch (error) {
    for (const row of rows) dashboard.kills.refuse(row.id, error.message);
  }
  dashboard.dispatchEvent(new Event('kills'));
}

/**
 * @typedef {object} Delivery what became of a message to one session
 * @property {{ id: string, app: string, user: string }} row
 * @property {string|null} error the server's words, where it refused
 * @property {boolean} sent it went out; whether it arrived is another matter
 * @property {string|null} deliveredAt when the client said that it is shown
 */

const delivery = (row, entry) => ({
  row,
  error: null,
  sent: Boolean(entry?.delivered_at) || Boolean(row.connected),
  deliveredAt: entry?.delivered_at ?? null,
});

/**
 * Sends a message to the users of `rows`, each by its own request.
 * @param {(outcome: Delivery[]) => void} told called as they come in
 */
export async function messageRows(rows, what, told) {
  await commands.spread(rows, LANES, async row => {
    try {
      const { sent, deliveries } = await commands.messageSession(row.id, what);
      const entry = deliveries?.find(each => each.session_id === row.id);
      told([{ ...delivery(row, entry), sent: sent > 0 }]);
    } catch (error) {
      told([{ row, error: error.message, sent: false, deliveredAt: null }]);
    }
  });
}

/**
 * Sends a message to everyone of an app, in one request, which also reaches those who came a moment ago.
 * @param {(outcome: Delivery[]) => void} told
 * @throws {commands.CommandError} when the server refused all of it
 */
export async function messageApp(dashboard, app, what, told) {
  const { deliveries } = await commands.messageApp(app, what);
  const rowOf = id => dashboard.store.rows.get(id) ?? { id, app, user: '' };
  told(deliveries.map(entry => delivery(rowOf(entry.session_id), entry)));
}
