// What differs between the tables of two moments: who came, who went, who changed and how.

import { stateOf } from './states.js';

/** What is compared, and how a difference is told. */
const ASPECTS = [
  session => stateOf(session),
  // Two words are told by the state.
  session => (['idle', 'running'].includes(session.reported_status) ? '' : session.reported_status),
  session => session.current_task ?? '',
  session => session.user_id ?? '',
  session => session.visibility ?? '',
  session => killStep(session.kill),
];

function killStep(kill) {
  if (!kill) return '';
  if (kill.acknowledged_at) return 'kill acknowledged';
  return kill.delivered_at ? 'kill delivered' : 'kill requested';
}

/** How a session changed, as `idle → running`; empty where it did not. */
function change(before, after) {
  const words = [];
  for (const aspect of ASPECTS) {
    const [from, to] = [aspect(before), aspect(after)];
    // A state and the reported word are mostly the same.
    const text = `${from || 'none'} → ${to || 'none'}`;
    if (from !== to && !words.includes(text)) words.push(text);
  }
  return words.join(', ');
}

/**
 * @param {object[]} older sessions as the server sends them
 * @param {object[]} newer
 * @returns {{ came: object[], went: object[], changed: { session: object, words: string }[], counts: object }} a session
 *   that began anew with the same id has gone and come
 */
export function differences(older, newer) {
  const before = new Map(older.map(session => [session.session_id, session]));
  const [came, went, changed] = [[], [], []];
  for (const session of newer) {
    const then = before.get(session.session_id);
    before.delete(session.session_id);
    if (!then || then.start_time !== session.start_time) {
      came.push(session);
      continue;
    }
    const words = change(then, session);
    if (words !== '') changed.push({ session, words });
  }
  went.push(...before.values());
  return { came, went, changed, counts: { came: came.length, went: went.length, changed: changed.length } };
}

/** The sessions that differ, each with what the table shows of that. */
export const withMarks = ({ came, went, changed }) => [
  ...came.map(session => ({ ...session, differs: { kind: 'came', words: 'came' } })),
  ...went.map(session => ({ ...session, differs: { kind: 'went', words: 'went' } })),
  ...changed.map(({ session, words }) => ({ ...session, differs: { kind: 'changed', words } })),
];
