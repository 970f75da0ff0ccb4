// The five states of a live session, of which it has exactly one. They are no field of the protocol; the server derives
// the same ones for `GET /stats`.

/** In the order of the header. */
export const STATES = ['idle', 'running', 'hidden', 'stale', 'ending'];

/** Problems first: the order of the state column, and of the table by default. */
export const STATE_RANK = { stale: 0, ending: 1, running: 2, idle: 3, hidden: 4 };

const AWAY = new Set(['hidden', 'frozen', 'suspended']);

/**
 * @param {object} session as the server sends it
 * @returns {'ending'|'stale'|'running'|'hidden'|'idle'} the first that applies
 */
export function stateOf(session) {
  if (session.kill_requested) return 'ending';
  if (session.is_stale) return 'stale';
  if (session.reported_status !== 'idle') return 'running';
  if (AWAY.has(session.visibility)) return 'hidden';
  return 'idle';
}
