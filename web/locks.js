// The locks: who cannot register for a while. `GET /locks` tells; it is asked for when the page is complete and when the
// feed hints that they have changed.

import { liftLock, locks, makeLock } from './commands.js';
import { ALL } from './facets.js';
import { sessionFilter } from './fields.js';
import { Reading } from './lib/reading.js';

/** For how long a kill also locks out, as the API names it, and in words. */
export const LOCK_FOR = [
  ['', 'not at all'],
  ['10m', '10 minutes'],
  ['1h', '1 hour'],
  ['1d', '1 day'],
  ['until_lifted', 'until lifted'],
];

/** Whom a lock keeps out, in words. */
export function whom({ app_name: app, user_id: user, filter }) {
  const which = filter ? [`who matches ${filter}`] : [];
  if (app && user) return [`${user} in ${app}`, ...which].join(', ');
  if (user) return [`${user} in all apps`, ...which].join(', ');
  return app ? [`everybody in ${app}`, ...which].join(', ') : which.join('');
}

/** Whether a lock keeps out, or will keep out, the user of a row. */
export function fits(lock, row, now = Date.now()) {
  if ((lock.app_name && lock.app_name !== row.app) || (lock.user_id && lock.user_id !== row.user)) return false;
  return !lock.filter || parsed(lock).mask(row, now) === ALL;
}

/** The filters of locks, parsed once. */
const filters = new WeakMap();
function parsed(lock) {
  let filter = filters.get(lock);
  if (!filter) filters.set(lock, (filter = sessionFilter(lock.filter)));
  return filter;
}

/** Whether a lock holds at `now`, in ms since 1970. */
export const holds = (lock, now) =>
  (!lock.from || Date.parse(lock.from) <= now) && (!lock.until || now < Date.parse(lock.until));

/** Of the locks that keep out the user of a row now, the one that holds longest; null if there is none. */
export function lockOf(list, row, now) {
  let longest = null;
  for (const lock of list) {
    if (!holds(lock, now) || !fits(lock, row, now)) continue;
    if (!longest || !lock.until || (longest.until && lock.until > longest.until)) longest = lock;
  }
  return longest;
}

export class Locks extends Reading {
  constructor() {
    super(async () => {
      this.list = (await locks()).locks;
    });
    this.list = [];
  }

  /** Makes a lock. @throws {import('./commands.js').CommandError} */
  async make(fields) {
    await makeLock(fields);
    await this.refresh();
  }

  /** Lifts a lock; one that is gone already counts as lifted. @throws {import('./commands.js').CommandError} */
  async lift(id) {
    try {
      await liftLock(id);
    } catch (error) {
      if (error.status !== 404) throw error;
    }
    await this.refresh();
  }
}
