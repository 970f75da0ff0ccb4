// Shows messages, a lock and the kill on the page, for apps that have no place of their own for them.

import { TERMINATED } from './session.js';

/**
 * @param {any} session its events carry fields that `Event` does not know
 * @param {boolean} onlyWarnings shows only warnings that the session will be ended, with a button to stay
 */
export function showNotices(session, onlyWarnings) {
  /** @type {HTMLElement | undefined} made when it is needed */
  let box;
  const show = (kind, text) => {
    if (!box) {
      box = document.createElement('div');
      box.onclick = () => session.over || box.remove();
    }
    // A popover lies on top of the page without any style of ours, so it works under a strict CSP.
    Object.assign(box, { className: `sessionwatch-notice ${kind}`, role: 'alert', popover: 'manual', textContent: text });
    document.documentElement.append(box);
    box.showPopover?.();
  };
  session.addEventListener('message', event => setTimeout(() => {
    // The app has heard of it by now, and may show it itself.
    const { level, text, ends_at: end, defaultPrevented } = event;
    if (defaultPrevented || session.over || (onlyWarnings && !end)) return;
    show(level, text);
    if (!end) return;
    const stay = document.createElement('button');
    Object.assign(stay, { type: 'button', textContent: 'Stay', onclick: () => session.stay() });
    box.append(' ', stay);
    setTimeout(() => stay.isConnected && !session.over && box.remove(), Date.parse(end) - Date.now());
  }));
  if (onlyWarnings) return;
  session.addEventListener('locked', ({ reason, until }) =>
    show('locked', `Locked${until ? ` until ${until.toLocaleString()}` : ''}${reason ? `: ${reason}` : ''}`));
  session.addEventListener('statechange', ({ state }) => {
    if (state === 'online' && box?.classList.contains('locked')) box.remove();
  });
  session.addEventListener('kill', ({ reason }) => show('kill', TERMINATED + (reason ? `: ${reason}` : '')));
}
