// The alerts and the targets that get them, as `GET /alerts` tells: asked for when the page is complete, and while their
// list is open.

import { alerts } from './commands.js';
import { Reading } from './lib/reading.js';

/** What an alert has come to, in words. */
export function outcome({ state, tries, answer }) {
  if (state === 'delivered') return tries > 1 ? `delivered at try ${tries}` : 'delivered';
  if (state === 'failed') return 'given up';
  if (tries === 0) return 'waits';
  return `waits after ${tries} ${tries === 1 ? 'try' : 'tries'}${answer ? '' : ', without an answer'}`;
}

export class Alerts extends Reading {
  constructor() {
    super(async () => {
      const answer = await alerts({ limit: 100 });
      this.list = answer.alerts;
      this.targets = answer.targets;
    });
    /** The newest alerts, the newest first. */
    this.list = [];
    /** Names, kinds and addresses of the targets. */
    this.targets = [];
  }

  /** Whether there is anything to show: the rules file names targets, or something was told. */
  get any() {
    return this.targets.length > 0 || this.list.length > 0;
  }
}
