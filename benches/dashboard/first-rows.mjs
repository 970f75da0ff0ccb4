// When the dashboard shows the first rows of very many sessions over a slow link, in real Chromium with the real server.
// Prints a table for docs/measured.md; asserts nothing, since the values depend on the machine.
//
//   script/bench first-rows [--sessions 100000] [--mbit 50] [--rounds 5]
//
// It needs the Node packages of tests/browser and a server binary (SESSIONWATCH_BIN, or a release build).
//
// Page and socket go through a proxy in this script that passes on so many bytes a second. Chromium can throttle a page by
// itself (`Network.emulateNetworkConditions`), but the page's socket is in a worker; the script tells what such a socket
// gets from a page that is throttled so.

import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { parseArgs } from 'node:util';
import { startServer, launchBrowser } from '../../tests/browser/support.mjs';
import { population, startCrowd } from '../../tests/browser/dashboard-support.mjs';

const { values } = parseArgs({
  options: {
    sessions: { type: 'string', default: '100000' },
    mbit: { type: 'string', default: '50' },
    rounds: { type: 'string', default: '5' },
  },
});
const SESSIONS = Number(values.sessions);
const ROUNDS = Number(values.rounds);
/** What the link carries to the browser, in bytes a second. */
const RATE = (Number(values.mbit) * 1_000_000) / 8;
/** The goal for the first rows, in ms. */
const GOAL = 500;

/** Starts a proxy in front of the server that passes on `RATE` bytes a second to the browser, over all connections. */
async function slowLine(server) {
  let freeAt = 0;
  let passed = 0;
  const open = new Set();
  const listener = createServer(near => {
    const far = connect(server.port, '127.0.0.1');
    near.setNoDelay(true);
    near.pipe(far);
    far.on('data', bytes => {
      far.pause();
      passed += bytes.length;
      freeAt = Math.max(freeAt, performance.now()) + (bytes.length / RATE) * 1000;
      setTimeout(() => {
        if (near.write(bytes)) far.resume();
        else near.once('drain', () => far.resume());
      }, freeAt - performance.now());
    });
    for (const [one, other] of [
      [near, far],
      [far, near],
    ]) {
      open.add(one);
      one.on('error', () => other.destroy());
      one.on('close', () => {
        open.delete(one);
        other.destroy();
      });
    }
  });
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  return {
    url: `http://127.0.0.1:${listener.address().port}`,
    /** The bytes since the last call. */
    passed: () => [passed, (passed = 0)][0],
    close() {
      for (const socket of open) socket.destroy();
      listener.close();
    },
  };
}

/** Runs in the page before anything of it: notes when the first rows and all rows were there, in ms. */
function watch(total) {
  const seen = { first: null, all: null };
  window.bench = seen;
  const wanted = new Intl.NumberFormat('en').format(total);
  const look = () => {
    if (seen.first === null && document.querySelector('tbody tr.row')) seen.first = performance.now();
    const isWhole = document.querySelector('.matches')?.textContent.startsWith(wanted);
    if (seen.all === null && isWhole && document.querySelector('.badge.is-live')) seen.all = performance.now();
    else requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
}

/** Throttles a page by Chromium's own means. */
async function throttle(page) {
  const cdp = await page.context().newCDPSession(page);
  await cdp.send('Network.enable');
  const conditions = { offline: false, latency: 0, downloadThroughput: RATE, uploadThroughput: RATE };
  await cdp.send('Network.emulateNetworkConditions', conditions);
}

/** Bytes a second that reach a socket in a worker of a throttled page: a whole snapshot as plain text. */
async function socketRate(browser, server) {
  const page = await browser.newPage();
  await throttle(page);
  await page.goto(`${server.url}/healthz`);
  const rate = await page.evaluate(
    address =>
      new Promise((resolve, reject) => {
        const source = `
          let bytes = 0, begun;
          const socket = new WebSocket(${JSON.stringify(address)}, 'sessionwatch.v1');
          socket.onerror = () => postMessage(0);
          socket.onmessage = ({ data }) => {
            begun ??= performance.now();
            bytes += data.length;
            const head = /^{"type":"snapshot","seq":\\\\d+,"part":(\\\\d+),"parts":(\\\\d+)/.exec(data.slice(0, 120));
            if (head && head[1] === head[2]) postMessage(bytes / (performance.now() - begun) * 1000);
          };`;
        const worker = new Worker(URL.createObjectURL(new Blob([source.replaceAll('\\\\', '\\')])));
        worker.onmessage = ({ data }) => resolve(data);
        worker.onerror = reject;
      }),
    `${server.url.replace('http', 'ws')}/ws`,
  );
  await page.close();
  return rate;
}

const median = list => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)];

const server = await startServer(['--allow-host', '127.0.0.1']);
const crowd = startCrowd(server);
const browser = await launchBrowser();
const line = await slowLine(server);
try {
  const people = population(SESSIONS);
  for (let i = 0; i < SESSIONS; i += 10_000) await crowd.tell({ register: people.slice(i, i + 10_000) });
  const mbit = bytes => `${((bytes * 8) / 1e6).toFixed(0)} Mbit/s`;
  const rate = await socketRate(browser, server).catch(() => 0);
  const own = rate > 0 ? `a worker's socket gets ${mbit(rate)}` : "a worker's socket could not be measured";
  console.log(`Chromium ${browser.version()}, throttled by CDP to ${mbit(RATE)}: ${own}; the proxy passes on ${mbit(RATE)}`);
  const times = { cold: [], again: [] };
  const sizes = {};
  for (let round = 0; round < ROUNDS; round += 1) {
    const context = await browser.newContext({ viewport: { width: 1440, height: 900 } });
    const page = await context.newPage();
    await page.addInitScript(watch, SESSIONS);
    for (const run of ['cold', 'again']) {
      line.passed();
      await page.goto(line.url);
      await page.waitForFunction(() => window.bench.all !== null, null, { timeout: 120_000 });
      const { first, all } = await page.evaluate(() => window.bench);
      times[run].push({ first, all });
      sizes[run] = line.passed();
    }
    await context.close();
  }
  console.log('| measure | goal | measured |\n| --- | --- | --- |');
  for (const [run, of] of Object.entries(times)) {
    const [first, all] = ['first', 'all'].map(name => median(of.map(time => time[name])));
    const link = `${SESSIONS} sessions over ${mbit(RATE)}, ${run === 'cold' ? 'nothing cached' : 'reloaded'}`;
    const verdict = first <= GOAL ? 'met' : 'missed';
    console.log(`| first rows, ${link} | ${GOAL} ms | ${first.toFixed(0)} ms (${verdict}) |`);
    console.log(`| all rows, ${link} | | ${all.toFixed(0)} ms, ${(sizes[run] / 1e6).toFixed(1)} MB |`);
  }
} finally {
  line.close();
  crowd.stop();
  await browser.close();
  await server.stop();
}
