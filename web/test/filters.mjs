// The sessions of the tests of filters, and a peer for the comparison of the page's filter with the server's.

import { ALL } from '../facets.js';
import { sessionFilter } from '../fields.js';
import { Row } from '../row.js';

/** A session as the server sends it, from the short form of `tests/vectors/filters.json`. */
export function long(short, now) {
  const at = seconds => (seconds === undefined ? null : new Date(now + seconds * 1000).toISOString());
  const { id, start, beat, task_started: task, status_since: since, idle_since: idle, kill, ...fields } = short;
  return {
    session_id: id,
    start_time: at(start),
    last_heartbeat: at(beat),
    task_started_at: at(task),
    status_since: at(since),
    ...(idle === undefined ? {} : { idle_since: idle === null ? null : at(idle) }),
    is_stale: false,
    kill_requested: !!kill,
    kill: kill ? { kill_id: 'k', requested_at: at(-9), confirm_by: at(kill.confirm), reason: kill.reason } : null,
    current_task: null,
    client: null,
    remote_addr: null,
    visibility: null,
    node: null,
    heartbeat_interval: 30,
    ...fields,
  };
}

/** Whether a session matches; null where the server would refuse the filter. */
export function matches(text, session, now) {
  const { mask, unknown, incomplete } = sessionFilter(text);
  if (incomplete || unknown.length > 0) return null;
  return mask(new Row(0, session, now), now) === ALL;
}

/** Answers each line of `{"filter", "session", "now"}` on standard input with true, false or null. */
if (process.argv[2] === 'answer') {
  process.env.TZ = 'UTC';
  let text = '';
  process.stdin.setEncoding('utf8');
  for await (const piece of process.stdin) text += piece;
  const answers = text
    .split('\n')
    .filter(line => line !== '')
    .map(line => {
      const { filter, session, now } = JSON.parse(line);
      return matches(filter, long(session, now), now);
    });
  process.stdout.write(JSON.stringify(answers));
}
