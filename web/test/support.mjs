// A session as the server sends it, for tests of what is made of it.

export const T0 = Date.parse('2026-11-22T08:00:00.000Z');
export const iso = ms => new Date(T0 + ms).toISOString();

export function session(id, fields = {}) {
  return {
    session_id: id,
    app_name: 'shop',
    user_id: null,
    start_time: iso(0),
    last_heartbeat: iso(0),
    duration_seconds: 0,
    status: 'idle',
    current_task: null,
    is_stale: false,
    kill_requested: false,
    reported_status: 'idle',
    task_started_at: null,
    connected: true,
    node: null,
    visibility: 'visible',
    heartbeat_interval: 30,
    client: 'js/0.1.0',
    remote_addr: '127.0.0.1',
    meta: {},
    kill: null,
    due: [],
    ...fields,
  };
}

export const hello = (epoch = 'e1', seq = 0) => ({
  type: 'hello',
  protocol: 1,
  server: 'sessionwatch 0.1.0',
  epoch,
  seq,
  now: iso(0),
  role: 'admin',
});
export const snapshot = (seq, sessions, part = 1, parts = 1) => ({ type: 'snapshot', seq, part, parts, sessions });
export const changes = (from, seq, upserted = [], removed = []) => ({ type: 'changes', from, seq, upserted, removed });
