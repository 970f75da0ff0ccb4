// The page's half of a login. The cookie goes to every port of this host, so it is worth
// nothing alone: with it goes a second secret, which only pages of this very origin can
// read. It lives as long as the cookie, in all tabs.

const HEADER = 'x-sessionwatch-page';
const key = () => `sessionwatch.page ${new URL('.', document.baseURI).pathname}`;
/** Where the browser keeps nothing, it lasts as long as the page. */
let kept = null;

/** @returns {string|null} */
export function pageSecret() {
  try {
    return localStorage.getItem(key()) ?? kept;
  } catch {
    return kept;
  }
}

/** What a request sends with the cookie. */
export function pageHeaders() {
  const secret = pageSecret();
  return secret === null ? {} : { [HEADER]: secret };
}

/** Keeps what the answer to a login gave, if it gave one. */
export function keepPageSecret(answer) {
  const secret = answer.headers.get(HEADER);
  if (secret === null) return;
  kept = secret;
  try {
    localStorage.setItem(key(), secret);
  } catch {
    // Then it lasts as long as the page.
  }
}
