// Makes from client.js what is committed beside it: the types in client.d.ts, and client.iife.js for pages without
// modules. `node build.mjs` writes them; the tests compare `build()` with what is on disk.

import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const path = name => fileURLToPath(new URL(name, import.meta.url));

/** The types that tsc reads from the JSDoc. Throws with tsc's own words when client.js has an error. */
function declarations() {
  let declaration = '';
  const program = ts.createProgram([path('client.js')], {
    allowJs: true, checkJs: true, declaration: true, emitDeclarationOnly: true, lib: ['lib.esnext.d.ts', 'lib.dom.d.ts',
      'lib.dom.iterable.d.ts'], module: ts.ModuleKind.ESNext, moduleResolution: ts.ModuleResolutionKind.Bundler,
    newLine: ts.NewLineKind.LineFeed, target: ts.ScriptTarget.ESNext, types: [],
  });
  const { diagnostics } = program.emit(undefined, (_, text) => { declaration = text; });
  const errors = [...ts.getPreEmitDiagnostics(program), ...diagnostics];
  if (errors.length) throw new Error(ts.formatDiagnostics(errors, {
    getCanonicalFileName: name => name, getCurrentDirectory: () => '', getNewLine: () => '\n',
  }));
  // A startTask() is disposable, which an app's own `lib` may not yet know of.
  return `/// <reference lib="esnext.disposable" />\n${declaration}`;
}

/** client.js as a classic script that defines `sessionwatch`, and starts by itself where its tag has `data-app`. */
function classic(source) {
  const { outputText } = ts.transpileModule(source, {
    compilerOptions: {
      module: ts.ModuleKind.ESNext, newLine: ts.NewLineKind.LineFeed, removeComments: true,
      target: ts.ScriptTarget.ESNext,
    },
  });
  const body = outputText.replace('export const', 'const').replace('import.meta.url', 'tag?.src');
  if (/^(ex|im)port\b|import\.meta/m.test(body)) throw new Error('client.js has an import or export that a classic script cannot');
  return `// Made from client.js by build.mjs.
window.sessionwatch = ((tag = document.currentScript) => {
${body.trimEnd()}
const { app, user: userId, server, token, notice } = tag?.dataset ?? {};
return {
    monitorSession,
    session: app && monitorSession({ app, userId, server, token, notice: notice != null }),
};
})();
`;
}

/** @returns {Record<string, string>} each made file's name and text */
export function build() {
  return {
    'client.d.ts': declarations(),
    'client.iife.js': classic(readFileSync(path('client.js'), 'utf8')),
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url))
  for (const [name, text] of Object.entries(build())) writeFileSync(path(name), text);
