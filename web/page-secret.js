// The second secret of a login. The browser sends the login cookie to every port of this host, so the server accepts it
// only together with this secret, which only pages of this origin can read. All tabs share it, for as long as the
// cookie lasts.

const HEADER = 'x-sessionwatch-page';
const key = () => `sessionwatch.page ${new URL('.', document.baseURI).pathname}`;
/** Used where the browser has no storage: it lasts as long as the page. */
let kept = null;

/** @returns {string|null} */
export function pageSecret() {
  try {
    return localStorage.getItem(key()) ?? kept;
  } catch {
    return kept;
  }
}

/** The headers that a request sends with the cookie. */
export function pageHeaders() {
  const secret = pageSecret();
  return secret === null ? {} : { [HEADER]: secret };
}

/** Keeps the secret of an answer to a login, if it contains one. */
export function keepPageSecret(answer) {
  const secret = answer.headers.get(HEADER);
  if (secret === null) return;
  kept = secret;
  try {
    localStorage.setItem(key(), secret);
  } catch {
    // No storage: it lasts as long as the page.
  }
}
