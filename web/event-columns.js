// The columns of the audit log, and of the ended sessions, which are its `removed` events.

import { elapsed, localTime, printable, shortTime, took } from './lib/format.js';

/** The kinds of events, in words. */
export const KINDS = {
  registered: 'registered',
  status_changed: 'status',
  message_sent: 'message sent',
  message_delivered: 'message delivered',
  stale: 'went stale',
  recovered: 'recovered',
  kill_requested: 'kill requested',
  kill_delivered: 'kill delivered',
  kill_acknowledged: 'kill acknowledged',
  removed: 'removed',
  warned: 'rule began',
  stayed: 'called off',
  logged_in: 'logged in',
  locked: 'locked',
  unlocked: 'unlocked',
  lock_announced: 'lock announced',
};

/** The other fields of an event, in one line. */
export function detail(event) {
  switch (event.kind) {
    case 'registered':
    case 'status_changed':
      return [
        event.status,
        event.current_task,
        event.visibility && event.visibility !== 'visible' ? event.visibility : null,
      ]
        .filter(Boolean)
        .join(' · ');
    case 'message_sent':
      return `${event.level === 'warning' ? 'warning: ' : ''}${event.text ?? ''}`;
    case 'warned':
      return event.text ?? event.reason ?? '';
    case 'removed':
      return [event.cause, event.reason].filter(Boolean).join(': ');
    case 'locked':
      return [
        event.reason,
        event.locked_from ? `from ${localTime(Date.parse(event.locked_from))}` : null,
        event.locked_until ? `until ${localTime(Date.parse(event.locked_until))}` : 'until it is lifted',
      ]
        .filter(Boolean)
        .join(' · ');
    default:
      return event.reason ?? '';
  }
}

/** @type {Record<string, { title: string, track: string, text: (event, now: number) => string, value?: (event) => any, hover?: (event) => string, right?: boolean, filter?: string }>} */
export const EVENT_COLUMNS = {
  at: {
    title: 'When',
    track: '132px',
    text: (event, now) => shortTime(Date.parse(event.at), now),
    value: event => event.at,
    hover: event => localTime(Date.parse(event.at)),
  },
  kind: {
    title: 'What',
    track: '150px',
    text: event => KINDS[event.kind] ?? event.kind,
    value: event => event.kind,
    filter: 'kind',
  },
  cause: { title: 'Cause', track: '96px', text: event => event.cause ?? '', filter: 'cause' },
  app: { title: 'App', track: 'minmax(90px, 1fr)', text: event => event.app_name ?? '', filter: 'app' },
  user: { title: 'User', track: 'minmax(80px, 1fr)', text: event => event.user_id ?? '', filter: 'user' },
  lasted: {
    title: 'Lasted',
    track: '84px',
    right: true,
    text: event =>
      event.duration_seconds === null || event.duration_seconds === undefined
        ? ''
        : elapsed(event.duration_seconds * 1000),
    value: event => event.duration_seconds ?? '',
    hover: event => (event.start_time ? `from ${localTime(Date.parse(event.start_time))}` : ''),
  },
  by: {
    title: 'By',
    track: 'minmax(72px, 0.7fr)',
    text: event => event.by ?? '',
    filter: 'by',
    hover: event => (event.from ? `from ${event.from}` : ''),
  },
  reason: { title: 'Reason', track: 'minmax(120px, 2fr)', text: event => event.reason ?? '', filter: 'reason' },
  detail: { title: 'Detail', track: 'minmax(140px, 2.4fr)', text: event => detail(event) },
  id: { title: 'Session id', track: 'minmax(140px, 1.2fr)', text: event => event.session_id ?? '', filter: 'id' },
};

export const EVENT_PAGES = {
  ended: {
    title: 'Sessions that ended',
    kinds: ['removed'],
    columns: ['at', 'cause', 'app', 'user', 'lasted', 'by', 'reason', 'id'],
  },
  log: { title: 'Audit log', kinds: [], columns: ['at', 'kind', 'app', 'user', 'by', 'detail', 'id'] },
};

export const eventText = (key, event, now) => printable(EVENT_COLUMNS[key].text(event, now));
export const eventValue = (key, event, now) => (EVENT_COLUMNS[key].value ?? EVENT_COLUMNS[key].text)(event, now);

/**
 * The life of a session, from its events: its states over time, its tasks, the steps of its kill.
 * @param {object[]} events oldest first
 * @param {number} now
 * @returns {{ start: number, end: number, ended: boolean, spans: { from: number, to: number, state: string, task: string|null }[],
 *   tasks: { name: string, from: number, to: number, open: boolean }[], steps: { at: number, kind: string, after: number }[] }}
 */
export function life(events, now) {
  const spans = [];
  const tasks = [];
  const steps = [];
  let state = { status: 'idle', task: null, visibility: 'visible', stale: false, ending: false };
  let asked = 0;
  let ended = 0;
  const shown = () => {
    if (state.ending) return 'ending';
    if (state.stale) return 'stale';
    if (state.status !== 'idle') return 'running';
    return state.visibility && state.visibility !== 'visible' ? 'hidden' : 'idle';
  };
  const change = (at, next) => {
    const last = spans.at(-1);
    if (last) last.to = at;
    state = { ...state, ...next };
    const look = shown();
    if (!last || last.state !== look || last.task !== state.task)
      spans.push({ from: at, to: at, state: look, task: state.task });
    const task = tasks.at(-1);
    if (task?.open && task.name !== state.task) Object.assign(task, { to: at, open: false });
    if (state.task && !tasks.at(-1)?.open) tasks.push({ name: state.task, from: at, to: at, open: true });
  };
  for (const event of events) {
    const at = Date.parse(event.at);
    switch (event.kind) {
      case 'registered':
      case 'status_changed':
        change(at, {
          status: event.status ?? state.status,
          task: event.current_task ?? null,
          visibility: event.visibility ?? state.visibility,
          stale: false,
        });
        break;
      case 'stale':
        change(at, { stale: true });
        break;
      case 'recovered':
        change(at, { stale: false });
        break;
      case 'kill_requested':
        asked = at;
        steps.push({ at, kind: event.kind, after: 0 });
        change(at, { ending: true });
        break;
      case 'kill_delivered':
      case 'kill_acknowledged':
        steps.push({ at, kind: event.kind, after: at - asked });
        break;
      case 'removed':
        ended = at;
        if (asked) steps.push({ at, kind: event.kind, after: at - asked });
        change(at, {});
        break;
      default:
    }
  }
  const end = ended || now;
  if (spans.length > 0) spans.at(-1).to = end;
  const task = tasks.at(-1);
  if (task?.open) Object.assign(task, { to: end, open: !ended });
  const start = events.length > 0 ? Date.parse(events[0].at) : now;
  return { start, end, ended: ended > 0, spans: spans.filter(span => span.to > span.from), tasks, steps };
}

/** `kill delivered 3 ms` */
export const stepText = ({ kind, after }) =>
  kind === 'kill_requested' ? 'kill requested' : `${kind === 'removed' ? 'gone' : KINDS[kind]} ${took(after)}`;
