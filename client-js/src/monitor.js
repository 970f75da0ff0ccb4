// Puts the parts together: the session, its connection, and in a browser the page and the notice.

import { Connection } from './connection.js';
import { showNotices } from './notice.js';
import { followPage } from './page.js';
import { Session } from './session.js';

/**
 * Makes `monitorSession` for a script that was loaded from `script`.
 * @param {string | undefined} script its address. It is passed on by name, because bundlers take
 *   `new URL(…, import.meta.url)` for a file that belongs into the bundle.
 */
export const monitorFrom = script => (/** @type {import('../client.d.ts').Options} */ options) => {
  // An app without types may give no options at all: the server says what is missing.
  options ??= { app: '' };
  const session = new Session(options, owner => new Connection(options, script, owner));
  if (globalThis.document) {
    followPage(session, options.idle !== false);
    if (options.notice !== false) showNotices(session, !options.notice);
  }
  const end = () => session.end();
  options.signal?.addEventListener('abort', end);
  if (options.signal?.aborted) end();
  return session;
};
