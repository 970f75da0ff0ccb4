// Firefox, driven by Puppeteer over WebDriver BiDi.

import puppeteer from 'puppeteer-core';

/** @returns {Promise<import('./tab.mjs').Browser>} */
export async function launch() {
  const browser = await puppeteer.launch({
    browser: 'firefox',
    executablePath: process.env.FIREFOX ?? '/usr/bin/firefox-esr',
    headless: true,
    defaultViewport: { width: 1280, height: 800 },
  });
  return {
    name: await browser.version(),
    close: () => browser.close(),
    async open() {
      const page = await browser.newPage();
      return {
        goto: url => page.goto(url),
        reload: () => page.reload(),
        back: () => page.goBack(),
        evaluate: (work, args) => page.evaluate(work, ...args),
        click: (x, y) => page.mouse.click(x, y),
        type: text => page.keyboard.type(text),
        press: key => page.keyboard.press(key),
        close: () => page.close({ runBeforeUnload: true }),
      };
    },
  };
}
