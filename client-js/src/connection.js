// The socket of one session: opened, watched, opened again.

import { say } from './say.js';

/** The longest wait before the first retry, in ms; it doubles with each further one, up to LONGEST. */
const SHORTEST = 500;
const LONGEST = 30_000;
/** A hidden page waits between one and one and a half times this, in ms: less than until its session goes stale. */
const HIDDEN = 30_000;
/** A connection that lasted this long, in ms, was a good one: the next wait starts small again. */
const HELD = 10_000;
/** Without a tick for this long, in ms, a connection is dead though it looks open. */
const SILENCE = 45_000;
/** Timers cannot wait longer than 24.8 days; a longer wait is taken in steps of this, in ms. */
const LONGEST_TIMER = 3_600_000;

const base64url = text => btoa(text).replace(/\+/g, '-').replace(/\//g, '_').replace(/=/g, '');

export class Connection {
  #options;
  #script;
  #session;
  #socket;
  #openedAt;
  #attempts = 0;
  #retryTimer;
  /** Not to be tried before this time, in ms since 1970, because of a lock. */
  #notBefore = 0;
  #silenceTimer;

  /**
   * @param {import('../client.d.ts').Options} options
   * @param {string | undefined} script the address of this script, beside which the server is unless `server` is given
   * @param {import('./session.js').Session} session
   */
  constructor(options, script, session) {
    this.#options = options;
    this.#script = script;
    this.#session = session;
    // A tick later, so that a component that is mounted and unmounted at once opens no socket.
    setTimeout(() => session.over || this.open(), 0);
  }

  async open() {
    this.close();
    const { token, WebSocket = globalThis.WebSocket } = this.#options;
    if (!WebSocket) {
      this.#session.impossible('this JavaScript has no WebSocket. In Node before 22, install `ws` and pass its class: ' +
        "import { WebSocket } from 'ws'; monitorSession({ …, WebSocket })");
      return;
    }
    // Stands for the socket while the token is fetched. What an earlier socket still says is not heard.
    let own = this.#socket = /** @type {any} */ ({});
    const current = () => own === this.#socket;
    let address;
    const closed = ({ code, reason }) => {
      if (!current()) return;
      if (!this.#openedAt)
        say(`no connection to ${address}: ${reason || code}. Is it up, and does it allow this origin ` +
          `(--allow-origin ${globalThis.origin})?`);
      this.#session.closed(code, reason);
    };
    try {
      address = this.#url('ws/client').replace(/^http/, 'ws');
      const secret = typeof token === 'function' ? await token() : token;
      if (!current()) return;
      const protocols = ['sessionwatch.v1'];
      // As a subprotocol, since a browser lets no header be set, and an address ends up in logs.
      if (secret) protocols.push(`sessionwatch.auth.${base64url(secret)}`);
      own = this.#socket = new WebSocket(address, protocols);
      own.onopen = () => {
        if (!current()) return;
        this.#openedAt = Date.now();
        this.#session.opened();
      };
      own.onmessage = ({ data }) => { if (current()) this.#session.receive(JSON.parse(data)); };
      own.onclose = closed;
      // `ws` throws an error that nobody listens for; the close that follows tells of it.
      own.onerror = () => {};
    } catch (reason) { closed({ code: 1006, reason }); }
  }

  /** @returns {boolean | undefined} whether the frame went out */
  send(frame) {
    try {
      if (this.#socket?.readyState !== 1) return false;
      this.#socket.send(JSON.stringify(frame));
      return true;
    } catch (error) { say(error); }
  }

  /** Posts a body in a way that outlives the page. As text, which needs no preflight. */
  post(path, fields) {
    const url = this.#url(path);
    const body = JSON.stringify(fields);
    if (!globalThis.navigator?.sendBeacon?.(url, body))
      fetch(url, { method: 'POST', body, keepalive: true }).catch(() => {});
  }

  /**
   * Tries again after a random time, so that a thousand pages do not come back in one moment.
   * @param {boolean} hidden whether the page is hidden
   */
  retry(hidden) {
    if (Date.now() - this.#openedAt > HELD) this.#attempts = 0;
    this.close();
    const most = hidden ? HIDDEN / 2 : Math.min(LONGEST, SHORTEST * 2 ** this.#attempts);
    if (!hidden) this.#attempts += 1;
    this.#wait(Math.random() * most + (hidden ? HIDDEN : 0));
  }

  /** Tries again at `time`, in ms since 1970, and not before. */
  retryAt(time) {
    this.close();
    this.#notBefore = time;
    this.#wait(time - Date.now());
  }

  #wait(delay) {
    this.#retryTimer = setTimeout(() => this.wake(), Math.min(delay, LONGEST_TIMER));
    // In Node the wait for a server keeps no process alive.
    Object(this.#retryTimer).unref?.();
  }

  /** Tries at once what would be tried later: its time has come, or the network or the reader is back. */
  wake() {
    if (!this.#retryTimer) return;
    const left = this.#notBefore - Date.now();
    if (left <= 0) this.open();
    else {
      clearTimeout(this.#retryTimer);
      this.#wait(left);
    }
  }

  /** The server ticks: without the next tick the connection counts as dead. */
  expectTick() {
    clearTimeout(this.#silenceTimer);
    this.#silenceTimer = setTimeout(() => this.#session.closed(1006, ''), SILENCE);
  }

  close() {
    clearTimeout(this.#retryTimer);
    clearTimeout(this.#silenceTimer);
    this.#socket?.close?.();
    this.#retryTimer = this.#socket = this.#openedAt = undefined;
    this.#notBefore = 0;
  }

  #url(path) {
    return `${this.#options.server ?? new URL('.', this.#script)}`.replace(/\/?$/, `/${path}`);
  }
}
