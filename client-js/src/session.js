// What is true of one session: its state, its tasks, its kill. It knows neither the network nor the page.
// `connection.js` brings it what the server says, `page.js` what happens to the page.

import { say } from './say.js';

/** The reason with which the server closes the socket of a killed session. */
export const TERMINATED = 'Session terminated by administrator';

/** Close codes after which another try would end the same way: protocol errors, tokens, a newer socket of this session. */
const FINAL = [1002, 1003, 1007, 1009, 4401, 4403, 4409];
/** The close code of a session whose user or app is locked out for a while. */
const LOCKED = 4423;
/** How long a lock without an end is respected before the next try, in ms. */
const LOCK_WITHOUT_END = 5 * 60_000;
/** Sessions that were locked together come back within this time, in ms, and not all at once. */
const LOCK_JITTER = 5_000;
/** Without input for this long, in ms, the user counts as idle. */
const IDLE = 60_000;

export class Session extends EventTarget {
  /** @type {import('../client.d.ts').State} */
  state = 'connecting';
  #abort = new AbortController();
  signal = this.#abort.signal;
  /** What is reported, the innermost task last. Offline this is all that is kept; its last entry is sent on the way back. */
  #work = [{ status: 'idle', current_task: null }];
  /** The fields of every `register` frame. */
  #registration;
  #connection;
  #sockets;
  #settleReady;
  /** Ends the wait for the app's clean-up early. */
  #cutGrace;
  /** When the user did something last, in ms since 1970; undefined where nobody looks. */
  #input;
  /** The user counts as active, and a timer looks whether that is still so. */
  #isActive = false;

  /**
   * @param {import('../client.d.ts').Options} options
   * @param {(session: Session) => import('./connection.js').Connection} connect
   */
  constructor({ app, userId, meta, id, sockets }, connect) {
    super();
    this.id = id;
    this.#registration = { app_name: app, user_id: userId, meta, client: 'js/0.1.0' };
    this.#sockets = sockets;
    this.ready = new Promise((resolve, reject) => { this.#settleReady = { resolve, reject }; });
    // An app that does not wait for `ready` must not get an unhandled rejection.
    this.ready.catch(() => {});
    this.#connection = connect(this);
  }

  // What the app calls. The types and their documentation are in client.d.ts.

  setStatus(status, task) {
    const innermost = this.#work.at(-1);
    innermost.status = status;
    // Within a task a status alone keeps the task's name.
    if (task !== undefined || this.#work.length === 1) innermost.current_task = task ?? null;
    this.#report();
  }

  setMeta(meta) {
    this.#registration.meta = meta;
    this.#send('status', { meta });
  }

  async task(name, work) {
    const task = this.startTask(name);
    try { return await work(task); } finally { task.end(); }
  }

  startTask(name) {
    const entry = { status: 'running', current_task: name };
    const end = () => {
      this.#work = this.#work.filter(other => other !== entry);
      this.#report();
    };
    this.#work.push(entry);
    this.#report();
    return { signal: this.signal, end, [Symbol.dispose]: end };
  }

  reconnect() {
    if (this.over) return;
    this.#become('connecting');
    this.#connection.open();
  }

  stay() { this.#send('stay'); }

  end() { this.leave(); }

  // What the connection and the page tell.

  /** True once the session is killed or ended: nothing brings it back. */
  get over() { return this.state === 'killed' || this.state === 'ended'; }

  /** The socket is open: registers, with what is true now. */
  opened() { this.#send('register', { ...this.#registration, session_id: this.id, idle_seconds: this.#idleSeconds(), ...this.#work.at(-1) }); }

  /** Takes one frame of the server. @param {any} frame */
  receive({ type, ...fields }) {
    if (type === 'registered') this.#registered(fields);
    else if (type === 'tick') {
      // The answer keeps the session alive; a page's script cannot see pings.
      this.#send('heartbeat');
      this.#connection.expectTick();
    } else if (type === 'kill') this.#kill(fields);
    else if (type === 'error') this.#refused(fields);
    else if (type === 'message') {
      this.#emit(type, { rule: null, ends_at: null, ...fields });
      this.#send('message_ack', { message_id: fields.message_id });
    }
  }

  /** The socket is closed, or was never opened. */
  closed(code, reason) {
    // A proxy may close with 1001 too, so the reason counts.
    if (code === 1001 && reason === TERMINATED) this.#kill({});
    if (this.over) return;
    if (code === 1000) this.#become('ended');
    else if (code === LOCKED) this.#lock({ reason });
    else if (FINAL.includes(code)) this.#giveUp(code, reason);
    else {
      this.#become('offline');
      this.#connection.retry(this.#registration.visibility === 'hidden');
    }
  }

  /** Says what will not work however often it is tried; `reconnect()` tries all the same. */
  #giveUp(status, detail) {
    this.#become('refused');
    say(`not trying again: ${status} ${detail}`);
    this.#emit('error', { status, detail });
  }

  /** There is no way to connect at all. */
  impossible(detail) { this.#giveUp(0, detail); }

  /** The page is visible, hidden or frozen. */
  see(visibility) {
    if (this.#registration.visibility !== visibility) {
      this.#registration.visibility = visibility;
      this.#send('visibility', { visibility });
    }
    if (visibility === 'visible') this.#connection.wake();
  }

  /** The user does something. Called often, so it does little. */
  touched() {
    this.#input = Date.now();
    if (this.#isActive) return;
    this.#isActive = true;
    this.#sayIdle();
    this.#watchInput();
  }

  #watchInput() {
    const left = this.#input + IDLE - Date.now();
    // In Node this wait keeps no process alive.
    if (left > 0) return void Object(setTimeout(() => this.#watchInput(), left)).unref?.();
    this.#isActive = false;
    this.#sayIdle();
  }

  #sayIdle() { if (this.state === 'online') this.#send('heartbeat', { idle_seconds: this.#idleSeconds() }); }

  #idleSeconds() {
    return this.#isActive ? 0 : this.#input && Math.round((Date.now() - this.#input) / 1000);
  }

  /**
   * Says goodbye: for good, or into the back-forward cache.
   * @param {boolean} [persisted] the page may come back as it is
   * @param {boolean} [closing] the page is being closed, so the socket may be cut before the frame is out
   */
  leave(persisted = false, closing = false) {
    if (this.over) return;
    const { session_token } = this.#registration;
    const sent = this.#send('bye', { persisted: persisted && !!session_token });
    if (!persisted && session_token && (closing || !sent))
      this.#connection.post(`sessions/${encodeURIComponent(this.id)}/end`, { session_token });
    this.#connection.close();
    this.#become(persisted ? 'suspended' : 'ended');
  }

  #registered({ session_id, session_token }) {
    this.id = session_id;
    // The server does not repeat the token when a session is resumed.
    this.#registration.session_token = session_token ?? this.#registration.session_token;
    this.#become('online');
    this.#settleReady.resolve(this);
  }

  #report() { this.#send('status', this.#work.at(-1)); }

  #send(type, fields) { return !this.over && this.#connection.send({ type, ...fields }); }

  #emit(type, fields) { this.dispatchEvent(Object.assign(new Event(type, { cancelable: true }), fields)); }

  #become(state) {
    if (this.state === state) return;
    this.state = state;
    if (this.over) this.#settleReady.reject(new DOMException(state, 'AbortError'));
    this.#emit('statechange', { state });
  }

  #refused(frame) {
    const { status = 0, detail = '' } = frame;
    if (this.state === 'online') {
      say(detail);
      this.#emit('error', { status, detail });
    } else if (status === 423) {
      this.#connection.close();
      this.#lock(frame);
    } else if (status === 403 && this.id) {
      // The id belongs to another session: register as a new one.
      this.id = this.#registration.session_token = undefined;
      this.opened();
    } else {
      this.#connection.close();
      // A busy server (429, 503) is tried again, a wrong registration is not.
      if (status > 428) this.closed(1013, detail);
      else this.#giveUp(status, detail);
    }
  }

  /**
   * Waits until the lock is over, then registers again.
   * @param {{ reason?: string | null, until?: string | null, detail?: string }} lock
   */
  #lock({ reason, until, detail }) {
    const end = until ? new Date(until) : null;
    this.#become('locked');
    this.#emit('locked', { reason: reason || detail || null, until: end });
    this.#connection.retryAt((end?.getTime() ?? Date.now() + LOCK_WITHOUT_END) + Math.random() * LOCK_JITTER);
  }

  async #kill({ kill_id = '', reason = null, by = null, grace_ms = 2000 }) {
    // Told again, by the close of the socket: the grace is over. A hidden page's own timer is late.
    if (this.over) return this.#cutGrace?.();
    this.#become('killed');
    const work = [];
    const grace = new Promise(resolve => {
      this.#cutGrace = resolve;
      setTimeout(resolve, grace_ms);
    });
    this.#emit('kill', { reason, by, grace_ms, waitUntil: promise => work.push(promise) });
    this.#abort.abort(new DOMException(TERMINATED, 'AbortError'));
    await Promise.race([grace, Promise.allSettled(work)]);
    this.#closeSockets();
    this.#connection.send({ type: 'kill_ack', kill_id });
  }

  /** Closes the app's own sockets. An error there must not keep the acknowledgement back. */
  #closeSockets() {
    try {
      const sockets = typeof this.#sockets === 'function' ? this.#sockets() : this.#sockets ?? [];
      for (const socket of sockets)
        try { socket.close(4001, TERMINATED); } catch { /* It was closed already. */ }
    } catch (error) { say(error); }
  }
}
