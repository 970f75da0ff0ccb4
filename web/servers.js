// The servers that share the store, as `GET /nodes` tells: asked for when the page is complete, when a session names a
// server that is new to the page, and while their list is open.

import { nodes } from './commands.js';
import { Reading } from './lib/reading.js';

/**
 * The servers to show: those that run, and of those that are gone the last one of each name that no running server
 * has. By name.
 * @param {{ node: number, name: string, gone: boolean }[]} all
 */
export function listed(all) {
  const running = all.filter(server => !server.gone);
  const names = new Set(running.map(server => server.name));
  const last = new Map();
  for (const server of all) {
    if (!server.gone || names.has(server.name)) continue;
    if (!(last.get(server.name)?.node > server.node)) last.set(server.name, server);
  }
  const word = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
  return [...running, ...last.values()].sort((a, b) => word(a.name, b.name) || a.node - b.node);
}

export class Servers extends Reading {
  constructor() {
    super(async () => {
      const answer = await nodes();
      this.list = listed(answer.nodes);
      this.answeredBy = answer.answered_by;
      this.asOf = Date.now();
    });
    this.list = [];
    /** The number of the server that this page is connected to. */
    this.answeredBy = null;
    /** When the list was read, in ms since 1970. */
    this.asOf = 0;
  }

  /** Whether there are several, now or a short time ago. */
  get several() {
    return this.list.length > 1;
  }
}
