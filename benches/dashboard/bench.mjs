// The speed of the dashboard with very many sessions, in real Chromium with the real server.
// Prints each goal with the measured value; asserts nothing, since the values depend on the
// machine.
//
//   node benches/dashboard/bench.mjs [--sessions 100000] [--rate 1000] [--minutes 10]
//
// It needs the Node packages of tests/browser and a server binary (SESSIONWATCH_BIN, or
// a release build), as the browser tests do.

import { readFileSync, readdirSync } from 'node:fs';
import { cpus, loadavg } from 'node:os';
import { parseArgs } from 'node:util';
import { startServer, launchBrowser } from '../../tests/browser/support.mjs';
import { population, startCrowd } from '../../tests/browser/dashboard-support.mjs';

const { values } = parseArgs({
  options: {
    sessions: { type: 'string', default: '100000' },
    rate: { type: 'string', default: '1000' },
    minutes: { type: 'string', default: '10' },
    scroll: { type: 'string', default: '15' },
  },
});
const SESSIONS = Number(values.sessions);
const RATE = Number(values.rate);
const MINUTES = Number(values.minutes);
/** How long each scroll is measured, in seconds. */
const SCROLL = Number(values.scroll);

const rows = [];
function goal(what, measured, wanted, met) {
  rows.push({ what, measured, goal: wanted, '': met === undefined ? '' : met ? 'met' : 'MISSED' });
  console.log(`${what}: ${measured}${wanted ? ` (goal: ${wanted})` : ''}`);
}

/** Runs in the page before anything of it: notes long tasks, frames, and when rows and all rows were there. */
function watch(total) {
  const seen = { tasks: [], frames: [], first: null, all: null };
  window.bench = seen;
  new PerformanceObserver(list => {
    for (const entry of list.getEntries())
      seen.tasks.push({ at: Math.round(entry.startTime), ms: Math.round(entry.duration) });
  }).observe({ type: 'longtask', buffered: true });
  const wanted = new Intl.NumberFormat('en').format(total);
  const frame = now => {
    seen.frames.push(now);
    if (seen.first === null && document.querySelector('tbody tr.row')) seen.first = performance.now();
    if (
      seen.all === null &&
      document.querySelector('.badge.is-live') &&
      document.querySelector('.matches')?.textContent.startsWith(wanted)
    )
      seen.all = performance.now();
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
}

const percentile = (list, share) =>
  [...list].sort((a, b) => a - b)[Math.min(list.length - 1, Math.floor(list.length * share))];

/**
 * Frames and long tasks while `action` runs. The wall clock also measures what else the machine does, so the longest
 * task of the page's main thread is told in its own CPU time as well.
 */
async function during(page, action) {
  const cdp = await page.context().browser().newBrowserCDPSession();
  const events = [];
  cdp.on('Tracing.dataCollected', ({ value }) => {
    for (const event of value) if (event.tdur > 1000 || event.name === 'thread_name') events.push(event);
  });
  await cdp.send('Tracing.start', { traceConfig: { includedCategories: ['toplevel', '__metadata'] } });
  const from = await page.evaluate(() => performance.now());
  await action();
  const { frames, tasks, to } = await page.evaluate(() => ({ ...window.bench, to: performance.now() }));
  const complete = new Promise(resolve => {
    cdp.once('Tracing.tracingComplete', resolve);
  });
  await cdp.send('Tracing.end');
  await complete;
  await cdp.detach();
  const mains = new Set(
    events.filter(event => event.args?.name === 'CrRendererMain').map(event => `${event.pid} ${event.tid}`),
  );
  const cpu = events
    .filter(event => event.tdur && mains.has(`${event.pid} ${event.tid}`))
    .map(event => event.tdur / 1000);
  const drawn = frames.filter(at => at >= from && at <= to);
  const gaps = drawn.slice(1).map((at, i) => at - drawn[i]);
  return {
    fps: (drawn.length / (to - from)) * 1000,
    gap99: percentile(gaps, 0.99) ?? 0,
    tasks: tasks.filter(task => task.at >= from).map(task => task.ms),
    cpu: cpu.reduce((most, ms) => Math.max(most, ms), 0),
  };
}

/** Real wheel events, as a hand would send them. */
async function wheel(page, seconds, step) {
  const end = Date.now() + seconds * 1000;
  for (let direction = 1; Date.now() < end;) {
    await page.mouse.wheel(0, step * direction);
    await page.waitForTimeout(16);
    if (Math.random() < 0.005) direction = -direction;
  }
}

/** Resident memory of the largest renderer of this browser in MB. */
function rendererMemory() {
  let largest = 0;
  for (const pid of readdirSync('/proc').filter(name => /^\d+$/.test(name))) {
    try {
      const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8');
      if (!command.includes('--type=renderer')) continue;
      const kb = Number(/^Pss:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1] ?? 0);
      largest = Math.max(largest, kb / 1024);
    } catch {
      // It ended meanwhile, or is not ours.
    }
  }
  return largest;
}

const describe = ({ fps, gap99, tasks, cpu }) =>
  [
    `${fps.toFixed(1)} frames a second`,
    `99 % within ${gap99.toFixed(0)} ms`,
    `${tasks.length} tasks over 50 ms${tasks.length ? `, at most ${Math.max(...tasks)} ms` : ''}`,
    `longest task ${cpu.toFixed(0)} ms of CPU`,
  ].join(', ');
const ms = value => `${Math.round(value)} ms`;

const server = await startServer();
const crowd = startCrowd(server);
const browser = await launchBrowser();
try {
  console.log(
    `${cpus().length} × ${cpus()[0].model}, Chromium ${browser.version()}, ${SESSIONS} sessions, ${RATE} changes a second, load of the machine before: ${loadavg()[0].toFixed(1)}`,
  );
  let start = Date.now();
  const people = population(SESSIONS);
  for (let i = 0; i < SESSIONS; i += 10_000) await crowd.tell({ register: people.slice(i, i + 10_000) });
  console.log(`registered in ${((Date.now() - start) / 1000).toFixed(1)} s`);

  const page = await browser.newPage({ viewport: { width: 1440, height: 900 } });
  await page.addInitScript(watch, SESSIONS);
  for (const run of ['cold', 'again']) {
    await page.goto(server.url);
    await page.waitForFunction(() => window.bench.all !== null, null, { timeout: 120_000 });
    const { first, all, tasks } = await page.evaluate(() => window.bench);
    goal(`first rows, ${run}`, ms(first), '1,000 ms', first <= 1000);
    goal(`all rows, ${run}`, ms(all), '3,000 ms', all <= 3000);
    goal(`longest task while loading, ${run}`, ms(Math.max(0, ...tasks.map(task => task.ms))), '', undefined);
  }

  await crowd.tell({ beat: 30_000 });
  await crowd.tell({ change: RATE });
  await page.waitForTimeout(2000);
  const still = await during(page, () => page.waitForTimeout(SCROLL * 1000));
  goal('looking on', describe(still), 'no task over 50 ms', still.tasks.length === 0);

  await page.mouse.move(900, 600);
  const scroll = await during(page, () => wheel(page, SCROLL, 240));
  goal(
    'scrolling',
    describe(scroll),
    '50 frames a second, no task over 50 ms',
    scroll.fps >= 50 && scroll.tasks.length === 0,
  );

  const scroller = page.locator('.table-view:not(.history) .scroller');
  await page.mouse.move(5, 5);
  const jump = await during(page, () =>
    scroller.evaluate(
      (node, seconds) =>
        new Promise(resolve => {
          const end = performance.now() + seconds * 1000;
          const step = () => {
            node.scrollBy(0, 4000);
            if (node.scrollTop + node.clientHeight >= node.scrollHeight - 1) node.scrollTop = 0;
            if (performance.now() < end) requestAnimationFrame(step);
            else resolve();
          };
          step();
        }),
      SCROLL,
    ),
  );
  goal(
    'racing through all rows while they move',
    describe(jump),
    '50 frames a second, no task over 50 ms',
    jump.fps >= 50 && jump.tasks.length === 0,
  );

  const sort = await during(page, async () => {
    for (const name of ['User', 'Task', 'App', 'Age']) {
      await page.getByRole('button', { name, exact: true }).click();
      await page.waitForTimeout(1500);
    }
  });
  goal('sorting all rows by other columns', describe(sort), 'no task over 50 ms', sort.tasks.length === 0);
  const filter = await during(page, async () => {
    await page.locator('#filter').pressSequentially('user:ana report', { delay: 60 });
    await page.waitForTimeout(1500);
    await page.locator('#filter').fill('');
    await page.waitForTimeout(1500);
  });
  goal('filtering while typing', describe(filter), 'no task over 50 ms', filter.tasks.length === 0);

  const counts = await page.evaluate(() => ({
    elements: document.querySelectorAll('*').length,
    delay: document.querySelector('.badge').textContent,
  }));
  goal('elements in the page', String(counts.elements), 'under 1,500', counts.elements < 1500);
  goal('the badge', counts.delay, '', undefined);

  const cdp = await page.context().newCDPSession(page);
  await cdp.send('Performance.enable');
  const heap = async () =>
    (await cdp.send('Performance.getMetrics')).metrics.find(metric => metric.name === 'JSHeapUsedSize').value / 1048576;
  let peak = 0;
  start = Date.now();
  while (Date.now() - start < MINUTES * 60_000) {
    await page.waitForTimeout(5000);
    peak = Math.max(peak, await heap());
  }
  const now = await heap();
  const renderer = rendererMemory();
  goal(
    `JavaScript heap after ${MINUTES} min`,
    `${now.toFixed(0)} MB, at most ${peak.toFixed(0)} MB`,
    'under 400 MB',
    peak < 400,
  );
  goal(`renderer process after ${MINUTES} min`, `${renderer.toFixed(0)} MB`, 'under 400 MB', renderer < 400);
  console.table(rows);
} finally {
  crowd.stop();
  await browser.close();
  await server.stop();
}
