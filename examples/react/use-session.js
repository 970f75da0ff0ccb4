import { useCallback, useEffect, useState, useSyncExternalStore } from 'react';
import { monitorSession } from 'sessionwatch-client';

/**
 * Returns the component's session, from its mount to its unmount, and the session's state. When a component is mounted,
 * unmounted and mounted again at once, as in StrictMode, it has one session with one socket.
 *
 * @param {Pick<import('sessionwatch-client').Options, 'app' | 'userId' | 'server'>} options
 */
export function useSession({ app, userId, server }) {
  const [session, setSession] = useState(null);
  useEffect(() => {
    const session = monitorSession({ app, userId, server });
    setSession(session);
    return () => session.end();
  }, [app, userId, server]);
  const subscribe = useCallback(changed => {
    session?.addEventListener('statechange', changed);
    return () => session?.removeEventListener('statechange', changed);
  }, [session]);
  const state = useSyncExternalStore(subscribe, () => session?.state ?? 'connecting', () => 'connecting');
  return { session, state };
}
