// Small choices that are kept in the browser's storage. Where storage is not allowed they last as long as the page.

const kept = new Map();

export function recall(key, fallback = null) {
  try {
    return localStorage.getItem(`sessionwatch.${key}`) ?? kept.get(key) ?? fallback;
  } catch {
    return kept.get(key) ?? fallback;
  }
}

export function remember(key, value) {
  kept.set(key, value);
  try {
    if (value === null) localStorage.removeItem(`sessionwatch.${key}`);
    else localStorage.setItem(`sessionwatch.${key}`, value);
  } catch {
    // No storage: kept for this page.
  }
}
