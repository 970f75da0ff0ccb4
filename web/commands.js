// The HTTP requests of the page. An error carries the `detail` that the server gave.

import { keepPageSecret, pageHeaders } from './page-secret.js';

const HEADERS = { 'x-sessionwatch': '1' };

export class CommandError extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

/**
 * @param {string} path relative to the page, already encoded
 * @returns {Promise<any>} the JSON of the answer, null when it has none
 * @throws {CommandError} with the `detail` of the problem; status 0 when the server could not be reached
 */
async function request(method, path, body) {
  let answer;
  try {
    answer = await fetch(new URL(path, document.baseURI), {
      method,
      headers: {
        ...HEADERS,
        ...pageHeaders(),
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      body: body === undefined ? undefined : JSON.stringify(body),
      cache: 'no-store',
    });
  } catch {
    throw new CommandError(0, 'the server cannot be reached');
  }
  keepPageSecret(answer);
  const text = await answer.text();
  let content = null;
  try {
    content = text ? JSON.parse(text) : null;
  } catch {
    // No JSON, perhaps the page of a proxy: only the status is known.
  }
  if (!answer.ok)
    throw new CommandError(answer.status, content?.detail ?? content?.title ?? `${answer.status} ${answer.statusText}`);
  return content;
}

const part = encodeURIComponent;
const given = fields =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== '' && value !== undefined));

export const killSession = (id, { reason, by, lockFor }) =>
  request('POST', `./sessions/${part(id)}/kill`, given({ reason, by, lock_for: lockFor }));
export const killApp = (app, { reason, by, lockFor }) =>
  request('POST', `./apps/${part(app)}/kill-all`, given({ reason, by, lock_for: lockFor }));
export const locks = () => request('GET', './locks');
export const makeLock = fields => request('POST', './locks', given(fields));
export const liftLock = id => request('DELETE', `./locks/${part(id)}`);
export const messageSession = (id, { text, level, by }) =>
  request('POST', `./sessions/${part(id)}/message`, given({ text, level, by }));
export const messageApp = (app, { text, level, by }) =>
  request('POST', `./apps/${part(app)}/message`, given({ text, level, by }));
/** The table as it was. @param {{ at?: string, at_seq?: string }} moment */
export const then = moment => request('GET', `./sessions?${new URLSearchParams(moment)}`);
export const timeline = id => request('GET', `./sessions/${part(id)}/timeline`);
/** Counts of the last minutes; with a step so many minutes as one. */
export const stats = (minutes, step = 1) =>
  request('GET', `./stats?minutes=${minutes}${step > 1 ? `&step=${step}` : ''}`);
/** The servers that share the store. */
export const nodes = () => request('GET', './nodes');
/** The rules in force, and what they have done. */
export const rules = () => request('GET', './rules');
/** Lets a rule that its limit has stopped act again. */
export const releaseRule = name => request('POST', `./rules/${part(name)}/release`);
/** What a rule, given as TOML, would have done since then (`7d`). */
export const rehearseRule = (rule, since) => request('POST', './rules/rehearse', { rule, since });
/** Calls off what rules are about to do with a session. */
export const spare = id => request('POST', `./sessions/${part(id)}/spare`);
/** What was told to whom. @param {{ limit?: number, before?: string }} query */
export const alerts = query => request('GET', `./alerts?${new URLSearchParams(Object.entries(query))}`);
export const testTarget = name => request('POST', `./alerts/${part(name)}/test`);
export const login = token => request('POST', './login', { token });

/** @param {{ kind?: string, session_id?: string, app_name?: string, before?: number, after?: number, limit?: number }} query */
export function events(query) {
  return request(
    'GET',
    `./events?${new URLSearchParams(Object.entries(query).filter(([, value]) => value !== undefined && value !== null))}`,
  );
}

/**
 * Does `work` for every item, a few at the same time.
 * @param {any[]} items
 * @param {number} parallel how many at the same time
 * @param {(item) => Promise<void>} work must not reject
 */
export async function spread(items, parallel, work) {
  let next = 0;
  const worker = async () => {
    while (next < items.length) {
      const item = items[next];
      next += 1;
      await work(item);
    }
  };
  await Promise.all(Array.from({ length: Math.min(parallel, items.length) }, worker));
}
