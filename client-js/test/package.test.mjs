// The package: the size of its files, that they are up to date, its types, and that Node can load it.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { createContext, Script } from 'node:vm';
import { gzipSync } from 'node:zlib';
import ts from 'typescript';
import { build, typeErrors } from '../build.mjs';

const path = name => fileURLToPath(new URL(`../${name}`, import.meta.url));
const read = name => readFileSync(path(name), 'utf8');

for (const name of ['client.js', 'client.iife.js'])
  test(`${name} is at most 4,000 bytes gzipped`, t => {
    const size = gzipSync(read(name), { level: 9 }).length;
    t.diagnostic(`${name}: ${size} bytes gzipped`);
    assert.ok(size <= 4000, `${size} bytes`);
  });

test('what is made from src/ is what is committed', () => {
  for (const [name, text] of Object.entries(build()))
    assert.equal(read(name), text, `${name} is older than src/: run \`npm run build\``);
});

test('the sources are what the types say', () => assert.deepEqual(typeErrors(), []));

test('the module has no dependency and imports nothing', () => {
  assert.equal(JSON.parse(read('package.json')).dependencies, undefined);
  assert.doesNotMatch(read('client.js'), /^import |\bimport\(|\brequire\(/m);
});

test('Node loads it, and loading it adds and changes no global', () => {
  const told = execFileSync(process.execPath, ['--input-type=module', '-e', `
    const describe = () => JSON.stringify(Object.entries(Object.getOwnPropertyDescriptors(globalThis))
      .map(([name, { value, get }]) => [name, typeof value, String(get)]));
    const before = describe();
    const names = Object.keys(await import(${JSON.stringify(new URL('../client.js', import.meta.url).href)}));
    console.log(names.join(), before === describe());
  `], { encoding: 'utf8' });
  assert.equal(told.trim(), 'monitorSession true');
});

test('a Node process that gave no server, or whose WebSocket fails, ends by itself', () => {
  const told = execFileSync(process.execPath, ['--input-type=module', '-e', `
    import { monitorSession } from ${JSON.stringify(new URL('../client.js', import.meta.url).href)};
    console.warn = line => console.log(line);
    const session = monitorSession({ app: 'job', WebSocket: class { constructor() { throw new Error('none'); } } });
    await session.task('work', async () => {});
  `], { encoding: 'utf8', timeout: 20_000 });
  assert.match(told, /no connection to .*none/);
});

test('the classic script defines `sessionwatch` and starts a session from its tag\'s data', async () => {
  const urls = [];
  const script = new Script(read('client.iife.js'));
  const run = dataset => {
    const window = {};
    const context = createContext({
      window, setTimeout, clearTimeout, console, EventTarget, Event, AbortController, URL,
      WebSocket: class { constructor(url) { urls.push(url); } close() {} },
      document: {
        currentScript: { src: 'https://monitor.test/base/client.iife.js?v=1', dataset },
        addEventListener() {}, visibilityState: 'visible',
      },
    });
    window.addEventListener = () => {};
    script.runInContext(context);
    return window.sessionwatch;
  };
  const byHand = run({});
  assert.equal(byHand.session, undefined);
  const session = byHand.monitorSession({ app: 'reports' });
  await new Promise(resolve => setTimeout(resolve, 5));
  assert.deepEqual(urls, ['wss://monitor.test/base/ws/client']);
  assert.equal(run({ app: 'reports', user: 'ana' }).session.state, 'connecting');
  assert.equal(session.state, 'connecting');
});

test('the types say what a TypeScript app may do, and what not', () => {
  const app = `
    import { monitorSession, type KillEvent, type MonitoredSession, type State } from ${JSON.stringify(path('client.js'))};
    declare const user: string | null | undefined;
    const session: MonitoredSession = monitorSession({ app: 'a', userId: user, meta: { env: 'prod', n: 1 }, id: undefined, token: async () => 't' });
    const onKill = (event: KillEvent) => { event.waitUntil(fetch('/save')); const r: string | null = event.reason; };
    session.addEventListener('kill', onKill);
    session.removeEventListener('kill', onKill);
    session.addEventListener('message', event => { const level: 'info' | 'warning' = event.level; }, { once: true });
    session.addEventListener('statechange', event => event.state === 'killed');
    session.addEventListener('locked', ({ reason, until }) => { const time: number | undefined = until?.getTime(); });
    session.addEventListener('error', ({ status, detail }) => { const n: number = status; const s: string = detail; });
    session.addEventListener('app-event', (event: Event) => event.type);
    const n: Promise<number> = session.task('sum', ({ signal }) => signal.aborted ? 0 : 1);
    { using task = session.startTask('block'); task.end(); }
    session.setStatus('running', 'x'); session.setStatus('idle', null); session.setMeta({ a: true }); session.reconnect(); session.end();
    const feeds = new Set<WebSocket>(); monitorSession({ app: 'a', sockets: feeds }); monitorSession({ app: 'a', sockets: () => feeds });
    const states: State[] = ['offline', 'refused', 'locked'];
    const target: EventTarget = session;
    // @ts-expect-error app is missing
    monitorSession({});
    // @ts-expect-error no such option
    monitorSession({ app: 'a', user: 'ana' });
    // @ts-expect-error no such state
    session.state === 'gone';
    // @ts-expect-error the state is the client's to change
    session.state = 'online';
    // @ts-expect-error a task has no name
    session.startTask();
    // @ts-expect-error no such field
    session.removeEventListener('kill', (event: { wrong: true } & KillEvent) => event.wrong);
  `;
  assert.deepEqual(compiled('app.mts', app), []);
});

test('the classic script has types, and the package its licence', () => {
  const app = `
    import ${JSON.stringify(path('client.iife.js'))};
    sessionwatch.monitorSession({ app: 'a' }).end();
    const state: string | undefined = sessionwatch.session?.state;
    // @ts-expect-error the session may be undefined
    sessionwatch.session.end();
  `;
  assert.deepEqual(compiled('classic.mts', app), []);
  assert.equal(read('LICENSE'), read('../LICENSE'));
});

test('every option and every member is documented', () => {
  const source = ts.createSourceFile('client.d.ts', read('client.d.ts'), ts.ScriptTarget.ES2022, true);
  const bare = [];
  for (const statement of source.statements) {
    if (!ts.isInterfaceDeclaration(statement) || !['Options', 'MonitoredSession', 'SessionEventMap'].includes(statement.name.text)) continue;
    for (const member of statement.members) {
      const name = member.name.getText();
      if (!/EventListener$/.test(name) && ts.getJSDocCommentsAndTags(member).length === 0) bare.push(name);
    }
  }
  assert.deepEqual(bare, []);
});

/** What tsc, as strict as it gets, has against a file of an app. */
function compiled(name, text) {
  const options = {
    strict: true, exactOptionalPropertyTypes: true, noUncheckedIndexedAccess: true, noEmit: true,
    target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext,
    moduleResolution: ts.ModuleResolutionKind.Bundler, lib: ['lib.es2022.d.ts', 'lib.dom.d.ts'], types: [],
  };
  const host = ts.createCompilerHost(options);
  const readSource = host.getSourceFile;
  host.getSourceFile = (file, ...rest) =>
    file === name ? ts.createSourceFile(file, text, ts.ScriptTarget.ES2022) : readSource(file, ...rest);
  const program = ts.createProgram([name], options, host);
  return ts.getPreEmitDiagnostics(program).map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, '\n'));
}
