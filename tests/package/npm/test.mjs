// Tries the npm package as it will be published: packs it, installs it in a clean folder, and compiles the recipes of its
// README there. `node test.mjs FOLDER` leaves the package in FOLDER.

import { execFileSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = fileURLToPath(new URL('.', import.meta.url));
const client = resolve(here, '../../../client-js');
const out = resolve(process.argv[2] ?? '.');

const run = (folder, program, ...args) => {
  console.log(`$ ${program} ${args.join(' ')}`);
  return execFileSync(program, args, { cwd: folder, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
};
const fail = why => { console.error(why); process.exit(1); };

const [packed] = JSON.parse(run(client, 'npm', 'pack', '--json', '--pack-destination', out));
const tarball = join(out, packed.filename);
const names = packed.files.map(file => file.path).sort();
const expected = ['LICENSE', 'README.md', 'client.d.ts', 'client.iife.d.ts', 'client.iife.js', 'client.js', 'package.json'];
if (names.join() !== expected.join()) fail(`the package has ${names}, and should have ${expected}`);

/** The block of the README under this heading. */
function recipe(heading) {
  const text = readFileSync(join(client, 'README.md'), 'utf8');
  const block = text.split(`### ${heading}\n`)[1]?.match(/```\w+\n([\s\S]*?)```/)?.[1];
  return block ?? fail(`the README has no recipe for ${heading}`);
}

const folder = mkdtempSync(join(tmpdir(), 'sessionwatch-npm-'));
try {
  cpSync(here, folder, { recursive: true });
  for (const [heading, name] of [['React', 'use-session.ts'], ['Vue', 'Recipe.vue'], ['Svelte', 'Recipe.svelte']])
    writeFileSync(join(folder, 'src', name), recipe(heading));
  run(folder, 'npm', 'install', '--no-audit', '--no-fund', '--loglevel=error', tarball);
  const npx = (...args) => {
    console.log(`$ ${args.join(' ')}`);
    execFileSync('npx', ['--no-install', ...args], { cwd: folder, stdio: ['ignore', 'inherit', 'inherit'] });
  };
  npx('publint', '--strict', tarball);
  // The package is ESM only, which old CommonJS importers cannot use; that is meant.
  npx('attw', tarball, '--profile', 'esm-only', '--exclude-entrypoints', './package.json');
  npx('vue-tsc', '--noEmit');
  npx('svelte-check', '--fail-on-warnings', '--tsconfig', './tsconfig.json');
  npx('vite', 'build', '--logLevel', 'warn');
  console.log(`${tarball}: ${packed.size} bytes; it installs, its types are right, and React, Vue and Svelte compile`);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
