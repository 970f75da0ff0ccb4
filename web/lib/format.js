// Numbers, times and texts for people. All times are in ms since 1970, all durations in ms.

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

const numbers = new Intl.NumberFormat('en');
const exact = new Intl.DateTimeFormat('en-GB', {
  weekday: 'short',
  day: 'numeric',
  month: 'short',
  year: 'numeric',
  hour: '2-digit',
  minute: '2-digit',
  second: '2-digit',
  fractionalSecondDigits: 3,
  timeZoneName: 'short',
});
const clock = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });
const minute = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit' });
const day = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short' });

/** `1,204` */
export const count = number => numbers.format(number);

/** `3 sessions`, `1 session` */
export const plural = (number, noun) => `${count(number)} ${noun}${number === 1 ? '' : 's'}`;

/** `now`, `4 s ago`, `2 min ago`, `3 h ago`, `5 d ago` */
export function ago(span) {
  if (span < SECOND) return 'now';
  return `${spell(span)} ago`;
}

/** `4 s`, `2 min`, `3 h`, `5 d`: only the largest unit */
export function spell(span) {
  if (span < MINUTE) return `${Math.max(0, Math.floor(span / SECOND))} s`;
  if (span < HOUR) return `${Math.floor(span / MINUTE)} min`;
  if (span < 2 * DAY) return `${Math.floor(span / HOUR)} h`;
  return `${Math.floor(span / DAY)} d`;
}

/** `0:07`, `3:21`, `1:02:03`, `2d 3h`: a running clock */
export function elapsed(span) {
  const seconds = Math.max(0, Math.floor(span / SECOND));
  const two = number => String(number).padStart(2, '0');
  const hours = Math.floor(seconds / 3600);
  if (hours >= 48) return `${Math.floor(hours / 24)}d ${hours % 24}h`;
  const rest = two(seconds % 60);
  const minutes = Math.floor(seconds / 60) % 60;
  return hours > 0 ? `${hours}:${two(minutes)}:${rest}` : `${minutes}:${rest}`;
}

/** `3 ms`, `1.24 s`, `12 s`, `2 min`: how long a step took */
export function took(span) {
  if (span < SECOND) return `${Math.max(0, Math.round(span))} ms`;
  if (span < 10 * SECOND) return `${(span / SECOND).toFixed(2)} s`;
  return spell(span);
}

/** `Sun, 22 Nov 2026, 14:03:12.045 CET`: for titles and the drawer */
export const localTime = time => exact.format(time);

/** `14:03:12` */
export const timeOfDay = time => clock.format(time);

/** `14:03` */
export const hourAndMinute = time => minute.format(time);

/** `14:03:12`, with the day before it unless it is today's */
export function shortTime(time, now) {
  return new Date(time).toDateString() === new Date(now).toDateString()
    ? clock.format(time)
    : `${day.format(time)} ${clock.format(time)}`;
}

/** `2026-11-22T14:03`: local, as the filter reads it */
export function localMinute(time) {
  const date = new Date(time);
  const two = number => String(number).padStart(2, '0');
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}T${two(date.getHours())}:${two(date.getMinutes())}`;
}

// C0 and C1 controls, and characters that reorder or hide text: bidi marks, embeddings and isolates, zero width.
const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]/g;

/**
 * A text from outside with every character spelled out that cannot be seen or that would reorder other text:
 * `‹U+202E›`. The views show it as text; this makes sure that it does not look like another text.
 */
export function printable(text) {
  return String(text).replace(UNSEEN, char => `‹U+${char.codePointAt(0).toString(16).toUpperCase().padStart(4, '0')}›`);
}
