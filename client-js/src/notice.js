// Shows messages, a lock and the kill on the page, for apps that have no place of their own for them.

import { TERMINATED } from './session.js';

/** @param {any} session its events carry fields that `Event` does not know */
export function showNotices(session) {
  const box = document.createElement('div');
  const show = (kind, text) => {
    // A popover lies on top of the page without any style of ours, so it works under a strict CSP.
    Object.assign(box, { className: `sessionwatch-notice ${kind}`, role: 'alert', popover: 'manual', textContent: text });
    document.documentElement.append(box);
    box.showPopover?.();
  };
  box.onclick = () => session.over || box.remove();
  session.addEventListener('message', ({ level, text }) => show(level, text));
  session.addEventListener('locked', ({ reason, until }) =>
    show('locked', `Locked${until ? ` until ${until.toLocaleString()}` : ''}${reason ? `: ${reason}` : ''}`));
  session.addEventListener('statechange', ({ state }) => {
    if (state === 'online' && box.classList.contains('locked')) box.remove();
  });
  session.addEventListener('kill', ({ reason }) => show('kill', TERMINATED + (reason ? `: ${reason}` : '')));
}
