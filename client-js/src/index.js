// The ES module, served as /client.js.

import { monitorFrom } from './monitor.js';

/** @type {typeof import('../client.d.ts').monitorSession} */
export const monitorSession = monitorFrom(import.meta.url);
