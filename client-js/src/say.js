// Lines on the console, each of them once: a server that is away for a day must not fill it.

const said = new Set();

/** @param {unknown} line */
export function say(line) {
  if (said.has(line)) return;
  said.add(line);
  console.warn(`sessionwatch: ${line}`);
}
