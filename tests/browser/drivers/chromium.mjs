// Chromium, driven by Playwright over the DevTools protocol. Started without Playwright's changes for tests, so that
// the back-forward cache is on.

import { launchPlainBrowser } from '../client-pages.mjs';

/** @returns {Promise<import('./tab.mjs').Browser>} */
export async function launch() {
  const { context, close } = await launchPlainBrowser(['--window-size=1280,900']);
  return {
    name: `Chromium ${context.browser().version()}`,
    close,
    async open() {
      const page = await context.newPage();
      return {
        goto: url => page.goto(url),
        reload: () => page.reload(),
        back: () => page.goBack({ waitUntil: 'commit' }),
        evaluate: (work, args) => page.evaluate(`(${work})(...${JSON.stringify(args)})`),
        click: (x, y) => page.mouse.click(x, y),
        type: text => page.keyboard.type(text),
        press: key => page.keyboard.press(key),
        close: () => page.close({ runBeforeUnload: true }),
      };
    },
  };
}
