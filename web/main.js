// Wires the page: the socket's frames into the dashboard, the dashboard into the views,
// the view's state into the address. Everything is drawn from one place, at most once
// per animation frame, and not at all while the page is hidden.

import { read, write } from './address.js';
import * as commands from './commands.js';
import { Connection } from './connection.js';
import { Dashboard } from './dashboard.js';
import { Page } from './views/page.js';

/** How long one frame may read and sort before it draws, in ms: well under what a frame has. */
const FRAME = 5;
/** What is more than that goes on between frames, in tasks of this many ms: the page answers between any two of them. */
const SLICE = 8;
/** A hidden page reads once in HIDDEN_EVERY ms, and as long as it takes: nobody waits for a frame. */
const HIDDEN_EVERY = 1000;
const HIDDEN = 500;

const dashboard = new Dashboard({ view: read(location.search) });
const connection = new Connection({
  url: () => {
    const url = new URL('./ws', document.baseURI);
    url.protocol = url.protocol.replace('http', 'ws');
    return url;
  },
  position: () => dashboard.store.position,
});

let asked = false;
function ask() {
  if (asked || document.hidden) return;
  asked = true;
  requestAnimationFrame(draw);
}

function step(budget) {
  if (dashboard.step(budget)) return;
  connection.resync();
}

function draw() {
  asked = false;
  step(FRAME);
  page.render(dashboard.now());
  if (dashboard.busy) ask();
  goOn();
}

// A message to oneself comes after whatever waits already, input and frames included; timers would wait 4 ms.
const { port1: soon, port2: here } = new MessageChannel();
let going = false;
function goOn() {
  if (going || document.hidden || !dashboard.behind) return;
  going = true;
  here.postMessage(null);
}
soon.onmessage = () => {
  going = false;
  step(SLICE);
  goOn();
  ask();
};

const page = new Page(dashboard, {
  changed: ask,
  retry: () => connection.retry(),
  login: async token => {
    await commands.login(token);
    connection.start();
  },
});

// Without animation frames the socket itself keeps the pace: its messages are not throttled.
let hiddenAt = 0;
function readHidden() {
  if (performance.now() - hiddenAt < HIDDEN_EVERY) return;
  hiddenAt = performance.now();
  step(HIDDEN);
}

connection.addEventListener('frame', event => {
  dashboard.take(event.detail);
  if (document.hidden) readHidden();
  else ask();
});
connection.addEventListener('state', event => {
  dashboard.setLine(event.detail);
  ask();
});
document.addEventListener('visibilitychange', ask);
setInterval(() => {
  if (document.hidden) readHidden();
  else ask();
}, 1000);

// The address follows the view, and the view follows the way back.
let addressed = write(dashboard.view);
dashboard.addEventListener('view', () => {
  const address = write(dashboard.view);
  if (address !== addressed) {
    // A detail or another page is a step to come back from; a filter being typed is not.
    const before = read(addressed);
    const isStep =
      before.page !== dashboard.view.page ||
      (dashboard.view.session !== null && before.session !== dashboard.view.session);
    history[isStep ? 'pushState' : 'replaceState'](null, '', address);
    addressed = address;
  }
  ask();
});
addEventListener('popstate', () => {
  addressed = location.search || '?';
  dashboard.show(read(location.search));
});

async function start() {
  // A link printed by the server carries a word that is good for one login; it must not stay in the address.
  const once = new URLSearchParams(location.hash.slice(1)).get('t');
  if (once) {
    history.replaceState(null, '', location.pathname + location.search);
    try {
      await commands.login(once);
    } catch {
      // Used or too old: the form asks for a token.
    }
  }
  connection.start();
  ask();
}

start();
