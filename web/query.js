// The filter language: words, and qualifiers such as
//   app:risk status:running,stale user:ana task:"Q4 report" meta.env:prod silent:>5m -app:demo
// All words must be found somewhere in a row. A qualifier with several values (commas) matches one of them; a leading
// minus excludes. `*` matches anything. The qualifiers of live sessions and of events are in `fields.js`.

const UNITS = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/**
 * @param {string} text
 * @returns {{ terms: { key: string|null, values: string[], not: boolean }[] }}
 */
export function parse(text) {
  return { terms: read(text).terms };
}

/** As `parse`; `incomplete` tells of a quote that is not closed and of qualifiers without a value. */
function read(text) {
  const terms = [];
  const { found, open } = tokens(text);
  let incomplete = open;
  for (const token of found) {
    const not = token.length > 1 && token[0].text === '-' && !token[0].quoted;
    const parts = not ? token.slice(1) : token;
    const colon = parts.findIndex(part => !part.quoted && part.text === ':');
    const key = colon > 0 ? join(parts.slice(0, colon)) : null;
    if (key !== null && /^[a-z][a-z_]*(\..+)?$/i.test(key)) {
      const values = split(parts.slice(colon + 1));
      if (values.length > 0) terms.push({ key: normalKey(key), values, not });
      else incomplete = true;
    } else {
      const word = join(parts);
      if (word !== '') terms.push({ key: null, values: [word], not });
    }
  }
  return { terms, incomplete };
}

/** Splits at spaces. A token is a list of characters, each with whether it was quoted. */
function tokens(text) {
  const found = [];
  let current = [];
  let quoted = false;
  for (let i = 0; i < text.length; i += 1) {
    const char = text[i];
    if (char === '\\' && quoted && i + 1 < text.length) {
      i += 1;
      current.push({ text: text[i], quoted: true });
    } else if (char === '"') {
      quoted = !quoted;
      if (quoted) current.push({ text: '', quoted: true }); // so that "" is a value too
    } else if (!quoted && /\s/.test(char)) {
      if (current.length > 0) found.push(current);
      current = [];
    } else {
      current.push({ text: char, quoted });
    }
  }
  if (current.length > 0) found.push(current);
  return { found, open: quoted };
}

const join = parts => parts.map(part => part.text).join('');

function split(parts) {
  const values = [];
  let value = [];
  for (const part of [...parts, { text: ',', quoted: false }]) {
    if (part.text === ',' && !part.quoted) {
      if (value.length > 0) values.push(join(value));
      value = [];
    } else {
      value.push(part);
    }
  }
  return values;
}

function normalKey(key) {
  const dot = key.indexOf('.');
  return dot < 0 ? key.toLowerCase() : key.slice(0, dot).toLowerCase() + key.slice(dot);
}

const quote = (text, pattern) => (text === '' || pattern.test(text) ? `"${text.replace(/["\\]/g, '\\$&')}"` : text);

/** The text that `parse` reads as the same terms. */
export function format({ terms }) {
  return terms
    .map(({ key, values, not }) => {
      const minus = not ? '-' : '';
      if (key === null) return minus + quote(values[0], /[\s"\\:]|^-/);
      const dot = key.indexOf('.');
      // A meta key may hold anything; quoting a part of a token is part of the language.
      const name = dot < 0 ? key : key.slice(0, dot + 1) + quote(key.slice(dot + 1), /[\s":,\\]/);
      return `${minus}${name}:${values.map(value => quote(value, /[\s",\\]/)).join(',')}`;
    })
    .join(' ');
}

/** The values of `key:`, without those that are excluded. */
export function valuesOf(text, key) {
  return parse(text)
    .terms.filter(term => term.key === key && !term.not)
    .flatMap(term => term.values);
}

/** The query with exactly these values for `key`, in its old place. Without values `key` is removed. */
export function withValues(text, key, values) {
  const { terms } = parse(text);
  const at = terms.findIndex(term => term.key === key && !term.not);
  const rest = terms.filter(term => term.key !== key || term.not);
  if (values.length > 0) rest.splice(at < 0 ? rest.length : at, 0, { key, values, not: false });
  return format({ terms: rest });
}

/** The query with one value of `key` added, or taken out when it is there. */
export function toggled(text, key, value) {
  const values = valuesOf(text, key);
  return withValues(text, key, values.includes(value) ? values.filter(other => other !== value) : [...values, value]);
}

/** The query that also excludes `value` of `key`. */
export function without(text, key, value) {
  const { terms } = parse(text);
  const left = terms.filter(term => term.key !== key || !term.values.includes(value));
  return format({ terms: [...left, { key, values: [value], not: true }] });
}

/**
 * Compiles terms against the fields of one kind of row.
 *
 * @param {string} text
 * @param {Record<string, Field>} fields where `Field` is `{type: 'word'|'text'|'since'|'span'|'time', get(row, name)}`:
 *   `word` compares whole (with `*`), `text` finds within, `since` compares the age of an instant with a duration,
 *   `span` a duration, `time` an instant with an instant
 * @param {(row) => Iterable<string|null>} words what free words are looked for in
 * @returns {{ tests: { key: string|null, test: (row, now: number) => boolean }[], timed: boolean, unknown: string[], incomplete: boolean }}
 *   `timed` when the result changes with time alone; `unknown` lists qualifiers that do not exist and values that cannot be
 *   read; `incomplete` when a quote is not closed or a value is missing, which the server refuses
 */
export function compile(text, fields, words) {
  const tests = [];
  const unknown = [];
  let timed = false;
  const { terms, incomplete } = read(text);
  for (const { key, values, not } of terms) {
    let test;
    if (key === null) {
      const needle = values[0].toLowerCase();
      test = row => {
        for (const word of words(row)) if (word && word.toLowerCase().includes(needle)) return true;
        return false;
      };
    } else {
      const dot = key.indexOf('.');
      const name = dot < 0 ? key : key.slice(0, dot);
      const field = Object.hasOwn(fields, name) && dot < 0 === !fields[name].named ? fields[name] : null;
      const any = field ? values.map(value => matcher(field, value, dot < 0 ? '' : key.slice(dot + 1))) : [null];
      if (any.includes(null)) {
        unknown.push(`${key}:${values.join(',')}`);
        continue;
      }
      if (field.type === 'since' || field.timed?.(values)) timed = true;
      test = any.length === 1 ? any[0] : (row, now) => any.some(one => one(row, now));
    }
    tests.push({ key, test: not ? (row, now) => !test(row, now) : test });
  }
  return { tests, timed, unknown, incomplete };
}

function matcher(field, value, name) {
  if (field.type === 'word' || field.type === 'text') {
    const same = field.type === 'text' ? within(value) : whole(value);
    return (row, now) => {
      const found = field.get(row, name, now);
      return Array.isArray(found) ? found.some(same) : same(found);
    };
  }
  const read = field.type === 'time' ? instant : duration;
  const range = interval(value, read);
  if (!range) return null;
  const { low, high } = range;
  return (row, now) => {
    let found = field.get(row, name);
    if (!found) return false;
    if (field.type === 'since') found = now - found;
    return found >= low && found <= high;
  };
}

function within(value) {
  const needle = value.toLowerCase();
  return needle === '' ? text => !text : text => !!text && String(text).toLowerCase().includes(needle);
}

function whole(value) {
  const wanted = value.toLowerCase();
  if (!wanted.includes('*')) {
    return text => (text ?? '') === value || String(text ?? '').toLowerCase() === wanted;
  }
  const pattern = new RegExp(
    `^${wanted
      .split(/\*+/)
      .map(part => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'))
      .join('[^]*')}$`,
  );
  return text => pattern.test(String(text ?? '').toLowerCase());
}

/** `>5m`, `<=2h`, `5m..1h`, or `5m`, which means at least 5 minutes. */
function interval(value, read) {
  const [from, to, more] = value.split('..');
  if (more !== undefined) return null;
  if (to !== undefined) {
    const low = from === '' ? -Infinity : read(from);
    const high = to === '' ? Infinity : read(to);
    return low === null || high === null ? null : { low, high };
  }
  const [, sign, rest] = /^(>=?|<=?|)([^]*)$/.exec(value);
  const limit = read(rest);
  if (limit === null) return null;
  if (sign === '>') return { low: limit + 1, high: Infinity };
  if (sign === '<') return { low: -Infinity, high: limit - 1 };
  return sign === '<=' ? { low: -Infinity, high: limit } : { low: limit, high: Infinity };
}

/** `90`, `90s`, `5m`, `1h30m`, `2d` in ms; null when it is none. */
export function duration(text) {
  if (/^\d+(\.\d+)?$/.test(text)) return Number(text) * 1000;
  if (!/^(\d+(\.\d+)?(ms|[smhd]))+$/.test(text)) return null;
  let sum = 0;
  for (const [, number, , unit] of text.matchAll(/(\d+(\.\d+)?)(ms|[smhd])/g))
    sum += Number(number) * (UNITS[unit] ?? 1);
  return sum;
}

/** An ISO date or date and time, local unless it names a zone; null when it is none. */
function instant(text) {
  const parts = /^(\d{4})-(\d\d)-(\d\d)(?:T(\d\d):(\d\d)(?::(\d\d)(?:\.\d{1,9})?)?(Z|[+-](\d\d):(\d\d))?)?$/.exec(text);
  if (!parts) return null;
  const [year, month, day, hour, minute, second, , zoneHour, zoneMinute] = parts.slice(1).map(part => Number(part ?? 0));
  // `Date.parse` takes 31 June as 1 July.
  const days = new Date(Date.UTC(2000 + (year % 400), month, 0)).getUTCDate();
  const isDate = month >= 1 && month <= 12 && day >= 1 && day <= days;
  if (!isDate || hour > 23 || minute > 59 || second > 59 || zoneHour > 23 || zoneMinute > 59) return null;
  const time = Date.parse(text.includes('T') ? text : `${text}T00:00`);
  return Number.isNaN(time) ? null : time;
}
