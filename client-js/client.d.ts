/// <reference lib="esnext.disposable" />

/** Makes this page, or this process, a session until it ends. Returns at once, connects a tick later, and never throws. */
export declare function monitorSession(options: Options): MonitoredSession;

/** The app's own tags: at most 32 keys, 4 KiB in all. */
export type Meta = Record<string, string | number | boolean>;

/** The app's own WebSockets, or anything that is closed like one. */
export type Sockets = Iterable<{ close(code: number, reason: string): void }>;

export interface Options {
  /** What the session belongs to, 1 to 256 characters. */
  app: string;
  /** Who uses it, up to 256 characters; null or undefined where nobody is known. */
  userId?: string | null | undefined;
  /** Tags that the dashboard shows and filters by. */
  meta?: Meta | undefined;
  /** An id of your own, 1 to 128 of `A-Z a-z 0-9 . _ : -`. If another session has it, this one gets a new id. */
  id?: string | undefined;
  /** The monitor's address, with its base path if it has one; by default where the script came from. */
  server?: string | URL | undefined;
  /** The secret to register with, or a function that gets it, asked at each attempt. */
  token?: string | (() => string | Promise<string>) | undefined;
  /** The app's own sockets, read at the kill, which closes them with 4001. */
  sockets?: Sockets | (() => Sockets) | undefined;
  /** Ends the session when it is aborted. */
  signal?: AbortSignal | undefined;
  /**
   * Shows messages, locks and kills on the page. Without it, only the warning of a rule is shown that is about to end the
   * session, with a button to stay; with `false` nothing is shown. The app can show a message itself: `preventDefault()`.
   */
  notice?: boolean | undefined;
  /** With `false` the page does not tell how long its user has been idle (pointer, keys, scrolling, touch). */
  idle?: boolean | undefined;
  /** The WebSocket class to use, for a Node before 22: `import { WebSocket } from 'ws'`. */
  WebSocket?: any;
}

/**
 * - `connecting`: for the first time, or after `reconnect()`
 * - `online`: the server knows the session
 * - `offline`: the server is away, and is tried again
 * - `refused`: the server said no for good (the `error` event says why); only `reconnect()` tries again
 * - `locked`: locked out for a while, registers again when the lock is over
 * - `suspended`: in the back-forward cache
 * - `killed`, `ended`: final
 */
export type State =
  | 'connecting' | 'online' | 'offline' | 'refused' | 'locked' | 'suspended' | 'killed' | 'ended';

export interface StateChangeEvent extends Event {
  readonly state: State;
}

export interface MessageToUserEvent extends Event {
  readonly text: string;
  readonly level: 'info' | 'warning';
  /** Who sent it, where they said so. */
  readonly by: string | null;
  /** The rule that warns; null for other messages. */
  readonly rule: string | null;
  /** When the rule will end the session (RFC 3339) unless the user stays; null for other messages. */
  readonly ends_at: string | null;
}

export interface KillEvent extends Event {
  readonly reason: string | null;
  /** Who asked for it, where they said so. */
  readonly by: string | null;
  /** How long the server waits for the clean-up, in ms. */
  readonly grace_ms: number;
  /** Holds the acknowledgement back until `work` is settled, at most for the grace. Only while the event is handled. */
  waitUntil(work: Promise<unknown>): void;
}

export interface LockedEvent extends Event {
  readonly reason: string | null;
  /** When the session registers again; null where the lock has no end, which is tried every 5 minutes. */
  readonly until: Date | null;
}

export interface RefusedEvent extends Event {
  /** An HTTP status, or the close code of the socket; 0 where there is no WebSocket at all. */
  readonly status: number;
  /** What is wrong, in the server's words. */
  readonly detail: string;
}

export interface SessionEventMap {
  /** `state` changed. */
  statechange: StateChangeEvent;
  /** An administrator tells the user something; nothing ends. */
  message: MessageToUserEvent;
  /** An administrator ends the session. */
  kill: KillEvent;
  /** The user or the app is locked out for a while. */
  locked: LockedEvent;
  /** The server refused the session (`state` is `refused`), or one status or tag of it (`state` stays `online`). */
  error: RefusedEvent;
}

type Listener<E extends Event> = ((event: E) => unknown) | { handleEvent(event: E): unknown };

/** A task that is shown as running until `end()`, or until the end of the block of a `using`. */
export interface Task extends Disposable {
  /** Aborted by a kill. */
  readonly signal: AbortSignal;
  end(): void;
}

export interface MonitoredSession extends EventTarget {
  /** The session's id; undefined until the server has said it, unless you gave one. */
  readonly id: string | undefined;
  /** How the session stands; `statechange` tells when it changes. */
  readonly state: State;
  /**
   * Fulfilled when the session is online for the first time; rejected when it was killed or ended before. Do not let an
   * app's start wait for it: where the monitor is away, it is pending until the monitor is back.
   */
  readonly ready: Promise<MonitoredSession>;
  /** Aborted by a kill, and by nothing else. */
  readonly signal: AbortSignal;
  /** Reports `idle`, `running` or a word of your own. Within a task it is that task's status. */
  setStatus(status: string, task?: string | null): void;
  /** Replaces the tags. */
  setMeta(meta: Meta): void;
  /** Runs `work`, shown as running under `name` until it is done, and returns what it returns. */
  task<T>(name: string, work: (task: Task) => T | Promise<T>): Promise<T>;
  /** Begins a task that is no function. */
  startTask(name: string): Task;
  /** Tries to connect at once, also after a refusal. */
  reconnect(): void;
  /** The user stays: what a rule has warned of is called off. */
  stay(): void;
  /** Ends the session; the page lives on. */
  end(): void;

  addEventListener<K extends keyof SessionEventMap>(
    type: K, listener: Listener<SessionEventMap[K]> | null, options?: boolean | AddEventListenerOptions): void;
  addEventListener(
    type: string, listener: EventListenerOrEventListenerObject | null, options?: boolean | AddEventListenerOptions): void;
  removeEventListener<K extends keyof SessionEventMap>(
    type: K, listener: Listener<SessionEventMap[K]> | null, options?: boolean | EventListenerOptions): void;
  removeEventListener(
    type: string, listener: EventListenerOrEventListenerObject | null, options?: boolean | EventListenerOptions): void;
}
