// Connects the parts: frames of the socket go into the dashboard, its state into the views, the view into the address.
// Everything is drawn from here, at most once for each animation frame, and not while the page is hidden.

import { read, write } from './address.js';
import * as commands from './commands.js';
import { Connection } from './connection.js';
import { Dashboard } from './dashboard.js';
import { Page } from './views/page.js';

/** How long one animation frame may read and sort before it draws, in ms. A frame has 16 ms. */
const FRAME = 5;
/** More work is done between frames, in tasks of this many ms. Input is handled between two tasks. */
const SLICE = 8;
/** How often a hidden page reads, in ms. */
const HIDDEN_EVERY = 1000;
/** How long it may read then, in ms. It draws nothing, so it may take longer. */
const HIDDEN = 500;

const dashboard = new Dashboard({ view: read(location.search) });
const connection = new Connection({
  url: () => {
    const url = new URL('./ws', document.baseURI);
    url.protocol = url.protocol.replace('http', 'ws');
    return url;
  },
  position: () => dashboard.fed.position,
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

// A message to oneself is handled after the input and the frames that wait already. A timer would wait 4 ms.
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

// A hidden page gets no animation frames, so it reads when a frame of the socket comes: those are not throttled.
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

// The address follows the view; going back in the browser changes the view.
let addressed = write(dashboard.view);
dashboard.addEventListener('view', () => {
  const address = write(dashboard.view);
  if (address !== addressed) {
    // Details, another page and the past are entries of the browser's history; each letter of a filter is not.
    const before = read(addressed);
    const isStep =
      before.page !== dashboard.view.page ||
      (before.at === null) !== (dashboard.view.at === null) ||
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
  // The link that the server prints carries a secret for one login. It must not stay in the address.
  const once = new URLSearchParams(location.hash.slice(1)).get('t');
  if (once) {
    history.replaceState(null, '', location.pathname + location.search);
    try {
      await commands.login(once);
    } catch {
      // It was used already, or is too old: the form asks for a token.
    }
  }
  connection.start();
  ask();
}

start();
