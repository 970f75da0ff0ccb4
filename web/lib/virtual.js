// Which lines of a very long list need an element. All lines have the same height.

/**
 * @param {{ length: number, lineHeight: number, scrollTop: number, viewHeight: number, overscan?: number }} list
 * @returns {{ first: number, last: number, height: number }} lines `first` up to and without `last`; the height of all, in px
 */
export function windowOf({ length, lineHeight, scrollTop, viewHeight, overscan = 4 }) {
  const seenFirst = Math.floor(scrollTop / lineHeight);
  const seenLast = Math.ceil((scrollTop + viewHeight) / lineHeight);
  const last = Math.max(0, Math.min(length, seenLast + overscan));
  const first = Math.min(last, Math.max(0, seenFirst - overscan));
  return { first, last, height: length * lineHeight };
}

/** The `scrollTop` with which line `index` is in view, as near to the present one as possible. */
export function scrollFor({ index, lineHeight, scrollTop, viewHeight }) {
  const top = index * lineHeight;
  if (top < scrollTop) return top;
  if (top + lineHeight > scrollTop + viewHeight) return top + lineHeight - viewHeight;
  return scrollTop;
}
