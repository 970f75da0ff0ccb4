// The socket of the page: opened, resumed, opened again after each loss. Frames are passed on as text and not decoded
// here. The socket itself is in a worker (`socket.js`).

import { backoff } from './lib/backoff.js';
import { pageHeaders, pageSecret } from './page-secret.js';

/** After this long without a frame, in ms, the server is probed: a network that fails silently closes no socket. */
const SILENCE = 30_000;
/** How long a probe may take, in ms. */
const PROBE = 5_000;
/** After a connection that lasted this long, in ms, the waits between attempts start small again. */
const STABLE = 5_000;

/**
 * Events: `frame` (`detail` is the text), `state` (`detail` is `{state, retryAt, lostAt}`), where state is
 * `connecting`, `open`, `waiting` or `denied`.
 */
export class Connection extends EventTarget {
  #url;
  #position;
  /** The number of the current socket, 0 when there is none. Messages of earlier sockets are ignored. */
  #socket = 0;
  #opened = 0;
  #isOpen = false;
  #worker = null;
  #attempt = 0;
  #timer = 0;
  #quiet = 0;
  #openedAt = 0;
  #resyncedAt = 0;

  /** @param {{ url: () => URL, position: () => ({ epoch: string, seq: number }|null) }} how */
  constructor({ url, position }) {
    super();
    this.#url = url;
    this.#position = position;
    this.state = 'connecting';
    this.retryAt = 0;
    /** When the connection was lost, 0 while it is not, in ms since 1970. */
    this.lostAt = 0;
    this.#thread(); // The worker starts while the page is being built.
  }

  /** Connects, at the beginning and again after a login. */
  start() {
    addEventListener('online', this.#wake);
    document.addEventListener('visibilitychange', this.#wake);
    this.#connect();
  }

  /** Connects again, from the last position that is complete, because a frame was missed. */
  resync() {
    this.#close();
    // The second time in a short while it waits first: a server that leaves gaps again and again is not to be flooded.
    const again = Date.now() - this.#resyncedAt < STABLE;
    this.#resyncedAt = Date.now();
    if (again) this.#lost(1006, true);
    else this.#connect();
  }

  /** Tries at once instead of waiting. */
  retry() {
    if (this.state !== 'waiting') return;
    clearTimeout(this.#timer);
    this.#connect();
  }

  #wake = () => {
    if (document.visibilityState === 'visible' && this.state === 'waiting') this.retry();
  };

  #tell(state) {
    this.state = state;
    this.dispatchEvent(new CustomEvent('state', { detail: { state, retryAt: this.retryAt, lostAt: this.lostAt } }));
  }

  #connect() {
    clearTimeout(this.#timer);
    this.#tell('connecting');
    const url = this.#url();
    const position = this.#position();
    if (position) {
      url.searchParams.set('epoch', position.epoch);
      url.searchParams.set('seq', String(position.seq));
    }
    this.#opened += 1;
    this.#socket = this.#opened;
    this.#isOpen = false;
    this.#thread().postMessage({ open: this.#socket, url: url.href, page: pageSecret() });
  }

  #thread() {
    if (this.#worker) return this.#worker;
    const worker = new Worker(new URL('./socket.js', import.meta.url));
    worker.onmessage = ({ data }) => {
      if (data.number === this.#socket) this.#hear(data);
    };
    // The worker's script could not be loaded, so the server is away. The next attempt loads it again.
    worker.onerror = () => {
      worker.terminate();
      this.#worker = null;
      if (this.#socket) this.#lost(1006, this.#isOpen);
    };
    this.#worker = worker;
    return worker;
  }

  #hear({ opened, frame, code }) {
    if (frame !== undefined) {
      this.#listen();
      this.dispatchEvent(new CustomEvent('frame', { detail: frame }));
    } else if (opened) {
      this.#isOpen = true;
      this.#openedAt = Date.now();
      this.lostAt = 0;
      this.retryAt = 0;
      this.#listen();
      this.#tell('open');
    } else this.#lost(code, this.#isOpen);
  }

  #listen() {
    clearTimeout(this.#quiet);
    this.#quiet = setTimeout(() => this.#probe(), SILENCE);
  }

  async #probe() {
    const socket = this.#socket;
    try {
      const answer = await fetch(new URL('./healthz', document.baseURI), {
        signal: AbortSignal.timeout(PROBE),
        cache: 'no-store',
      });
      if (answer.ok && this.#socket === socket) this.#listen();
      else throw new Error('not well');
    } catch {
      if (this.#socket !== socket) return;
      this.#close();
      this.#lost(1006, true);
    }
  }

  async #lost(code, opened) {
    this.#close();
    this.lostAt ||= Date.now();
    if (opened && Date.now() - this.#openedAt > STABLE) this.#attempt = 0;
    if (code === 4401 || code === 4403 || (!opened && (await this.#refused()))) {
      this.#tell('denied');
      return;
    }
    if (this.#socket) return; // `retry` connected in the meantime
    const wait = backoff(this.#attempt);
    this.#attempt += 1;
    this.retryAt = Date.now() + wait;
    this.#timer = setTimeout(() => this.#connect(), wait);
    this.#tell('waiting');
  }

  /** Whether a login is missing. A refused handshake shows the page only code 1006, so a plain request has to tell. */
  async #refused() {
    try {
      const answer = await fetch(new URL('./sessions?limit=0', document.baseURI), {
        signal: AbortSignal.timeout(PROBE),
        cache: 'no-store',
        headers: pageHeaders(),
      });
      return answer.status === 401 || answer.status === 403;
    } catch {
      return false;
    }
  }

  #close() {
    clearTimeout(this.#quiet);
    const socket = this.#socket;
    this.#socket = 0;
    if (socket) this.#worker?.postMessage({ close: socket });
  }
}
