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
 * Sends a message to the users of `rows`.
 * @param {(outcome: { row: any, error: string|null, deliveredAt: string|null, sent: boolean }) => void} told for each
 */
export async function message(rows, what, told) {
  await commands.spread(rows, LANES, async row => {
    try {
      const answer = await commands.messageSession(row.id, what);
      const delivery = answer.deliveries?.find(entry => entry.session_id === row.id);
      told({ row, error: null, sent: answer.sent > 0, deliveredAt: delivery?.delivered_at ?? null });
    } catch (error) {
      told({ row, error: error.message, sent: false, deliveredAt: null });
    }
  });
}
