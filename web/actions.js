// The actions of an administrator: kill requests and messages. A kill is noted here before its request goes out; what
// became of it comes from the feed alone.

import * as commands from './commands.js';

/** How many requests run at the same time: fewer than a browser opens to one host. */
const PARALLEL = 5;

/**
 * Sends a kill request for each of `rows`.
 * @param {import('./dashboard.js').Dashboard} dashboard
 * @param {import('./row.js').Row[]} rows
 * @param {{ reason: string, by: string, lockFor?: string }} why `lockFor` also locks their users out, those that have one
 */
export async function killRows(dashboard, rows, why) {
  for (const row of rows) dashboard.kills.ask(row, why.reason, dashboard.now());
  dashboard.dispatchEvent(new Event('kills'));
  await commands.spread(rows, PARALLEL, async row => {
    try {
      // A session without a user has nobody to lock out.
      await commands.killSession(row.id, row.user ? why : { ...why, lockFor: '' });
      // The feed sends no change for a session that was asked to end before: its row has the state already.
      if (row.state === 'ending') dashboard.kills.update([row], dashboard.now());
    } catch (error) {
      // 404 and 410: the session is gone, and the feed says how it ended.
      if (error.status !== 404 && error.status !== 410) dashboard.kills.refuse(row.id, error.message);
      else if (!dashboard.store.rows.get(row.id)?.ended) dashboard.kills.refuse(row.id, 'it is gone already');
    }
    dashboard.dispatchEvent(new Event('kills'));
  });
}

/** Sends one kill request for all sessions of an app. */
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
 * @property {boolean} sent it went out; that does not say that it arrived
 * @property {string|null} deliveredAt when the client acknowledged it
 */

const delivery = (row, entry) => ({
  row,
  error: null,
  sent: Boolean(entry?.delivered_at) || Boolean(row.connected),
  deliveredAt: entry?.delivered_at ?? null,
});

/**
 * Sends a message to the users of `rows`, each by its own request.
 * @param {(outcome: Delivery[]) => void} onDelivery called as they come in
 */
export async function messageRows(rows, what, onDelivery) {
  await commands.spread(rows, PARALLEL, async row => {
    try {
      const { sent, deliveries } = await commands.messageSession(row.id, what);
      const entry = deliveries?.find(each => each.session_id === row.id);
      onDelivery([{ ...delivery(row, entry), sent: sent > 0 }]);
    } catch (error) {
      onDelivery([{ row, error: error.message, sent: false, deliveredAt: null }]);
    }
  });
}

/**
 * Sends one message to all sessions of an app, those that registered a moment ago included.
 * @param {(outcome: Delivery[]) => void} onDelivery
 * @throws {commands.CommandError} when the server refused all of it
 */
export async function messageApp(dashboard, app, what, onDelivery) {
  const { deliveries } = await commands.messageApp(app, what);
  const rowOf = id => dashboard.store.rows.get(id) ?? { id, app, user: '' };
  onDelivery(deliveries.map(entry => delivery(rowOf(entry.session_id), entry)));
}
