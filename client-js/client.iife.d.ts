import type { MonitoredSession, monitorSession } from './client.js';

declare global {
  /** What the classic script defines. */
  var sessionwatch: {
    readonly monitorSession: typeof monitorSession;
    /** The session that the script's tag has started; undefined where the tag has no `data-app`. */
    readonly session: MonitoredSession | undefined;
  };
}

export {};
