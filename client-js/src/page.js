// What happens to the page is told to its session: seen, hidden, frozen, left, come back.

/**
 * @param {import('./session.js').Session} session
 * @param {boolean} input whether to tell of input of the user
 */
export function followPage(session, input) {
  const until = new AbortController();
  const on = (target, type, listener) => target.addEventListener(type, listener, { signal: until.signal, capture: true, passive: true });
  const see = () => session.see(document.visibilityState);
  on(document, 'visibilitychange', see);
  on(document, 'resume', see);
  on(window, 'online', see);
  on(document, 'freeze', () => session.see('frozen'));
  on(window, 'pagehide', ({ persisted }) => session.leave(persisted, true));
  // Out of the back-forward cache: the socket of the same page was closed as it was left.
  on(window, 'pageshow', ({ persisted }) => persisted && session.reconnect());
  on(session, 'statechange', () => session.over && until.abort());
  see();
  if (!input) return;
  for (const type of ['pointerdown', 'pointermove', 'keydown', 'wheel', 'scroll', 'touchmove'])
    on(window, type, () => session.touched());
  session.touched();
}
