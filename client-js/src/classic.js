// The classic script, served as /client.iife.js: defines `sessionwatch`, and starts a session by itself where its tag
// has `data-app`.

import { monitorFrom } from './monitor.js';

const tag = /** @type {HTMLScriptElement | null} */ (document.currentScript);
const { app, user, server, token, notice } = tag?.dataset ?? {};
const monitorSession = monitorFrom(tag?.src);

Object.assign(window, {
  sessionwatch: {
    monitorSession,
    session: app ? monitorSession({ app, userId: user, server, token, notice: notice !== undefined }) : undefined,
  },
});
