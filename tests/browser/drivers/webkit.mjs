// WebKit, as Debian packages it: WebKitGTK's MiniBrowser, driven by Selenium over WebDriver. It has no headless mode,
// so it gets a screen in memory (Xvfb).

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { Builder, Capabilities, Key, Origin } from 'selenium-webdriver';
import { freePort } from '../support.mjs';

const KEYS = { Enter: Key.ENTER, Escape: Key.ESCAPE };

/** @returns {Promise<import('./tab.mjs').Browser>} */
export async function launch() {
  const children = [];
  const start = (command, args, options) => {
    const child = spawn(command, args, options);
    child.on('error', () => {}); // `exited` below tells of it
    children.push(child);
    return child;
  };
  const endAll = async () => {
    for (const child of children.reverse()) await end(child);
  };
  try {
    // Xvfb chooses a free display number and writes it to descriptor 3.
    const screen = start('Xvfb', ['-displayfd', '3', '-screen', '0', '1400x1000x24', '-nolisten', 'tcp'], {
      stdio: ['ignore', 'ignore', 'ignore', 'pipe'],
    });
    const [display] = await Promise.race([
      once(createInterface({ input: screen.stdio[3] }), 'line'),
      exited(screen, 'Xvfb'),
    ]);
    const port = await freePort();
    const service = start('WebKitWebDriver', [`--port=${port}`], {
      env: { ...process.env, DISPLAY: `:${display}`, GDK_BACKEND: 'x11', LIBGL_ALWAYS_SOFTWARE: '1' },
      stdio: 'ignore',
    });
    await Promise.race([listening(port), exited(service, 'WebKitWebDriver')]);
    const driver = await new Builder()
      .usingServer(`http://127.0.0.1:${port}`)
      .withCapabilities(new Capabilities({
        browserName: 'MiniBrowser',
        'webkitgtk:browserOptions': { binary: miniBrowser(), args: ['--automation'] },
      }))
      .build();
    await driver.manage().setTimeouts({ script: 60_000 });
    return browserOf(driver, endAll);
  } catch (error) {
    await endAll();
    throw error;
  }
}

async function browserOf(driver, endAll) {
  const version = (await driver.getCapabilities()).get('browserVersion');
  const startPage = await driver.getWindowHandle();
  return {
    name: `WebKitGTK ${version}`,
    async close() {
      await driver.quit().catch(() => {});
      await endAll();
    },
    async open() {
      await driver.switchTo().window(startPage);
      // A new tab would open in the background, where the page is hidden and draws nothing.
      await driver.switchTo().newWindow('window');
      const handle = await driver.getWindowHandle();
      const inWindow = work => async (...args) => {
        await driver.switchTo().window(handle);
        return work(...args);
      };
      const pointerAt = (x, y) => driver.actions().move({ x, y, origin: Origin.VIEWPORT, duration: 0 });
      return {
        goto: inWindow(url => driver.get(url)),
        reload: inWindow(() => driver.navigate().refresh()),
        back: inWindow(() => driver.navigate().back()),
        evaluate: inWindow(async (work, args) => {
          const { value, error } = await driver.executeAsyncScript(`
            const [args, done] = arguments;
            (async () => (${work})(...args))().then(value => done({ value }), error => done({ error: String(error) }));
          `, args);
          if (error) throw new Error(error);
          return value;
        }),
        click: inWindow((x, y) => pointerAt(x, y).click().perform()),
        type: inWindow(text => driver.actions().sendKeys(text).perform()),
        press: inWindow(key => driver.actions().sendKeys(KEYS[key] ?? key).perform()),
        close: inWindow(() => driver.close()),
      };
    },
  };
}

function miniBrowser() {
  const machine = { x64: 'x86_64', arm64: 'aarch64' }[process.arch];
  const path = process.env.MINI_BROWSER ?? `/usr/lib/${machine}-linux-gnu/webkit2gtk-4.1/MiniBrowser`;
  if (!existsSync(path)) throw new Error(`no ${path}: install webkit2gtk-driver, or set MINI_BROWSER`);
  return path;
}

/** Waits until the driver answers on its port. */
async function listening(port) {
  for (;;) {
    const answer = await fetch(`http://127.0.0.1:${port}/status`).catch(() => null);
    if (answer?.ok) return;
    await new Promise(resolve => setTimeout(resolve, 50));
  }
}

async function exited(child, name) {
  if (child.pid === undefined) throw new Error(`${name} cannot be started: is it installed?`);
  const [code] = await once(child, 'exit');
  throw new Error(`${name} exited with ${code}`);
}

async function end(child) {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  child.kill();
  await once(child, 'exit');
}
