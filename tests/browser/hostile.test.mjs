// Attacks of hostile pages on a monitor on the same machine, in real Chromium: from a foreign site, from a site whose
// name begins like ours, from a sandbox without an origin, by DNS rebinding, and from another port of our own host, to
// which the browser sends the dashboard's cookie. The victim must stay as it is, and no answer may be readable.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { until } from './client-pages.mjs';
import { api, launchBrowser, servePages, startServer } from './support.mjs';

const BLANK = { '/': '<!doctype html><title>hostile</title><body></body>' };

/** The attacks of a page: each resolves to what the page learns from it. */
const attacks = ({ target, socket }) => {
  const learn = promise => promise.then(({ status, type }) => status || type, ({ name }) => name);
  const send = (path, options) => learn(fetch(target + path, { credentials: 'include', ...options }));
  const loaded = element => new Promise(resolve => {
    element.onload = () => resolve('loaded');
    element.onerror = () => resolve('failed');
    document.body.append(element);
  });
  const connect = path => new Promise(resolve => {
    const opened = new WebSocket(socket + path, 'sessionwatch.v1');
    opened.onopen = () => opened.send('{"type":"register","app_name":"hostile"}');
    opened.onmessage = () => resolve('it spoke');
    opened.onclose = ({ code }) => resolve(code);
  });
  const form = (path, type) => new Promise(resolve => {
    const frame = Object.assign(document.createElement('iframe'), { name: `f${Math.random()}`, onload: () => resolve('sent') });
    const made = Object.assign(document.createElement('form'), { method: 'post', action: target + path, enctype: type, target: frame.name });
    made.append(Object.assign(document.createElement('input'), { name: '{"reason":"x","y":"', value: '"}' }));
    document.body.append(frame, made);
    made.submit();
  });
  const kill = '/sessions/victim/kill';
  return {
    'a POST without a body': () => send(kill, { method: 'POST', mode: 'no-cors' }),
    'a POST as text/plain': () => send(kill, { method: 'POST', mode: 'no-cors', body: '{}' }),
    'a POST as a form': () => send(kill, { method: 'POST', mode: 'no-cors', body: new URLSearchParams({ reason: 'x' }) }),
    'a kill-all': () => send('/apps/shop/kill-all', { method: 'POST', mode: 'no-cors' }),
    'a beacon': async () => navigator.sendBeacon(target + kill, '{}'),
    'a POST that wants to read the answer': () => send(kill, { method: 'POST' }),
    'a POST with our header': () => send(kill, { method: 'POST', headers: { 'x-sessionwatch': '1' } }),
    'a DELETE': () => send('/sessions/victim', { method: 'DELETE' }),
    'a DELETE of all stale ones': () => send('/sessions/stale?older_than_minutes=0', { method: 'DELETE' }),
    'a PUT': () => send('/sessions/victim/status', { method: 'PUT', body: '{"status":"running"}' }),
    'reading the sessions': () => send('/sessions', {}),
    'taking the sessions unread': () => send('/sessions', { mode: 'no-cors' }),
    'a submitted form': () => form(kill, 'text/plain'),
    'a submitted multipart form': () => form(kill, 'multipart/form-data'),
    'a picture that pings': () => loaded(Object.assign(new Image(), { src: `${target}/ping/shop/victim/fail` })),
    'the sessions as a script': () => loaded(Object.assign(document.createElement('script'), { src: `${target}/sessions` })),
    'the dashboard as a script': () => loaded(Object.assign(document.createElement('script'), { src: `${target}/assets/main.js` })),
    'an event stream': () => new Promise(resolve => {
      const events = new EventSource(`${target}/sessions/victim/events`, { withCredentials: true });
      events.onopen = () => resolve('open');
      events.onerror = () => { events.close(); resolve('failed'); };
    }),
    'the dashboards\' socket': () => connect('/ws'),
    'the clients\' socket': () => connect('/ws/client'),
  };
};

/** Runs every attack in this page, and returns what each learned. */
const attack = (page, server) => page.evaluate(async ({ source, reach }) => {
  const learned = {};
  for (const [name, use] of Object.entries((0, eval)(source)(reach))) learned[name] = await use();
  return learned;
}, { source: `(${attacks})`, reach: { target: server.url, socket: server.url.replace('http', 'ws') } });

const ALONE = {
  'a POST without a body': 'TypeError', 'a POST as text/plain': 'TypeError', 'a POST as a form': 'TypeError', 'a kill-all': 'TypeError',
  'a beacon': true, 'a POST that wants to read the answer': 'TypeError', 'a POST with our header': 'TypeError',
  'a DELETE': 'TypeError', 'a DELETE of all stale ones': 'TypeError', 'a PUT': 'TypeError',
  'reading the sessions': 'TypeError', 'taking the sessions unread': 'TypeError', 'a submitted form': 'sent',
  'a submitted multipart form': 'sent', 'a picture that pings': 'failed', 'the sessions as a script': 'failed',
  'the dashboard as a script': 'failed', 'an event stream': 'failed', 'the dashboards\' socket': 1006, 'the clients\' socket': 1006,
};

let server, hostile, browser, admin;

before(async () => {
  server = await startServer(['--strict']);
  admin = { authorization: `Bearer ${JSON.parse(readFileSync(`${server.db}.tokens`)).tokens.find(({ role }) => role === 'admin').token}` };
  await api(server.url, 'POST', '/sessions', { app_name: 'shop', session_id: 'victim' }, admin);
  hostile = await servePages(BLANK);
  browser = await launchBrowser(['--host-resolver-rules=MAP *.com 127.0.0.1']);
});

after(async () => {
  await browser?.close();
  await Promise.all([hostile?.close(), server?.stop()]);
});

/**
 * Opens a page of that origin. `statuses` collects the status of every answer that our server gave it, `cookies` our
 * cookies that were sent. Both are read over the DevTools protocol, since Playwright hides what the browser hides from
 * the page.
 */
async function pageAt(context, origin) {
  const page = await context.newPage();
  const statuses = [];
  const ours = new Set();
  const wire = await context.newCDPSession(page);
  await wire.send('Network.enable');
  wire.on('Network.requestWillBeSent', ({ requestId, request }) => {
    if (new URL(request.url).port === String(server.port)) ours.add(requestId);
  });
  wire.on('Network.responseReceivedExtraInfo', ({ requestId, statusCode }) => { if (ours.has(requestId)) statuses.push(statusCode); });
  const cookies = [];
  wire.on('Network.requestWillBeSentExtraInfo', ({ headers }) => {
    const cookie = headers.cookie ?? headers.Cookie;
    if (cookie?.includes(`sessionwatch-${server.port}=`)) cookies.push(cookie);
  });
  await page.goto(origin);
  return { page, statuses, cookies };
}

async function nothingHappened() {
  const { events } = await api(server.url, 'GET', '/sessions/victim/timeline', undefined, admin);
  assert.deepEqual(events.map(({ kind }) => kind), ['registered']);
  assert.equal((await api(server.url, 'GET', '/sessions', undefined, admin)).total, 1);
}

const kinds = statuses => [...new Set(statuses)].sort();

const port = () => new URL(hostile.url).port;

for (const host of ['evil.com', 'localhost.evil.com', '127.evil.com']) {
  test(`a page at ${host} does nothing and learns nothing`, async () => {
    const { page, statuses } = await pageAt(await browser.newContext(), `http://${host}:${port()}/`);
    assert.deepEqual(await attack(page, server), ALONE);
    // The server has seen all attacks: 403 from the gate, and 405 for preflights of requests that no other site may
    // send.
    await until('the server has seen all attacks', async () => statuses.length >= 12 && statuses.includes(405));
    assert.deepEqual(kinds(statuses), [403, 405]);
    await nothingHappened();
  });
}

test('a sandboxed frame, whose origin is null, does nothing and learns nothing', async () => {
  const { page, statuses } = await pageAt(await browser.newContext(), `http://evil.com:${port()}/`);
  await page.evaluate(() => new Promise(resolve => document.body.append(Object.assign(document.createElement('iframe'), {
    sandbox: 'allow-scripts allow-forms', srcdoc: '<!doctype html><body></body>', onload: resolve,
  }))));
  const frame = page.frames()[1];
  assert.equal(await frame.evaluate(() => origin), 'null');
  assert.deepEqual(await attack(frame, server), ALONE);
  assert.deepEqual(kinds(statuses).filter(status => ![403, 405].includes(status)), []);
  await nothingHappened();
});

test('a name that was rebound to our address meets 421, though to the browser it is one origin', async () => {
  const { page, statuses } = await pageAt(await browser.newContext(), `http://evil.com:${server.port}/`);
  const learned = await page.evaluate(async () => {
    const ask = (path, method = 'GET') => fetch(path, { method, headers: { 'x-sessionwatch': '1' } }).then(({ status }) => status);
    return [await ask('/sessions'), await ask('/sessions/victim/kill', 'POST'), await ask('/sessions/victim', 'DELETE'), await ask('/client.js')];
  });
  assert.deepEqual(learned, [421, 421, 421, 421]);
  assert.deepEqual(kinds(statuses), [421]);
  await nothingHappened();
});

test('the dashboard opens in no frame and by no link of another site', async () => {
  const { page, statuses } = await pageAt(await browser.newContext(), `http://evil.com:${port()}/`);
  await page.evaluate(url => new Promise(resolve => document.body.append(Object.assign(document.createElement('iframe'), { src: url, onload: resolve }))), server.url);
  assert.deepEqual(statuses, [403]);
  const [opened] = await Promise.all([page.waitForEvent('popup'), page.evaluate(url => { window.open(url); }, server.url)]);
  await opened.waitForLoadState();
  assert.match(await opened.evaluate(() => document.body.innerText), /"status":403/);
});

test('another port of our own host, with the dashboard\'s cookie sent along, does nothing and learns nothing', async () => {
  const context = await browser.newContext();
  const dashboard = await context.newPage();
  await dashboard.goto(server.url);
  // Log in by the form. The page keeps its second secret.
  await dashboard.locator('.login input').fill(admin.authorization.slice(7));
  await dashboard.locator('.login button[type=submit]').click();
  await dashboard.locator('.login').waitFor({ state: 'hidden' });
  const reads = (page = dashboard) => page.evaluate(async () => {
    const { pageHeaders } = await import('/assets/page-secret.js');
    return fetch('/sessions', { headers: pageHeaders() }).then(({ status }) => status);
  });
  assert.equal(await reads(), 200, 'the dashboard itself is let in');
  const another = await context.newPage();
  await another.goto(server.url);
  assert.equal(await reads(another), 200, 'and so is another tab');
  const bare = await dashboard.evaluate(() => fetch('/sessions').then(({ status }) => status));
  assert.equal(bare, 401, 'the cookie alone is worth nothing');
  assert.equal(await dashboard.evaluate(() => document.cookie), '', 'and cannot read its own cookie');

  const { page, statuses, cookies } = await pageAt(context, hostile.url);
  const learned = await attack(page, server);
  // Loopback is an allowed origin for apps, but never with credentials: the cookie has no effect there.
  assert.deepEqual(learned, { ...ALONE, 'the clients\' socket': 4401 });
  // 204: preflights of requests that an app may send with its session's own token.
  const expected = [204, 401, 403, 405];
  const heard = () => statuses.length >= 12 && cookies.length > 5 && expected.every(status => statuses.includes(status));
  await until('the server has seen all attacks', async () => heard());
  assert.ok(cookies.length > 5, 'the browser did send the cookie along');
  assert.deepEqual(kinds(statuses), expected);
  await nothingHappened();
  assert.equal(await reads(), 200);
});
