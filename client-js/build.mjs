// Makes what is committed and served out of src/: client.js, an ES module, and client.iife.js, for pages without modules.
// `node build.mjs` writes them; a test compares `build()` with what is on disk.

import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import esbuild from 'esbuild';
import ts from 'typescript';

const path = name => fileURLToPath(new URL(name, import.meta.url));

/** The browsers that the client runs in: docs/dashboard.md names them. */
const TARGET = ['chrome92', 'firefox90', 'safari15.4'];

const BANNER = '// sessionwatch client 0.1.0, MIT. Made from client-js/src by build.mjs.';

/** What tsc has against the sources, which have to be what client.d.ts says. @returns {string[]} */
export function typeErrors() {
  const program = ts.createProgram([path('src/index.js'), path('src/classic.js')], {
    allowJs: true, checkJs: true, noEmit: true, allowImportingTsExtensions: true,
    lib: ['lib.esnext.d.ts', 'lib.dom.d.ts', 'lib.dom.iterable.d.ts'],
    module: ts.ModuleKind.ESNext, moduleResolution: ts.ModuleResolutionKind.Bundler, target: ts.ScriptTarget.ESNext, types: [],
  });
  return ts.getPreEmitDiagnostics(program).map(({ file, start, messageText }) =>
    `${file?.fileName}:${file && ts.getLineAndCharacterOfPosition(file, start).line + 1} ${ts.flattenDiagnosticMessageText(messageText, '\n')}`);
}

function bundle(entry, format) {
  const { outputFiles } = esbuild.buildSync({
    entryPoints: [path(entry)], bundle: true, minify: true, format, target: TARGET, charset: 'utf8', write: false,
    banner: { js: BANNER }, logLevel: 'silent',
  });
  return outputFiles[0].text;
}

/** @returns {Record<string, string>} each made file's name and text */
export function build() {
  return { 'client.js': bundle('src/index.js', 'esm'), 'client.iife.js': bundle('src/classic.js', 'iife') };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const errors = typeErrors();
  if (errors.length > 0) throw new Error(errors.join('\n'));
  for (const [name, text] of Object.entries(build())) writeFileSync(path(name), text);
}
