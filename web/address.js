// The state of the view in the address of the page, so that a link shows the same view. Defaults are left out; a value
// that cannot be read is replaced by its default.

import { COLUMNS, DEFAULT_COLUMNS, DEFAULT_SORT } from './columns.js';
import { GROUPINGS } from './grouping.js';

const PAGES = ['live', 'ended', 'log'];

export function defaults() {
  return {
    page: 'live',
    query: '',
    sort: DEFAULT_SORT,
    group: null,
    columns: DEFAULT_COLUMNS,
    session: null,
    wall: false,
    /** The moment of the past that is shown: a time, or the number of an event; null for now. */
    at: null,
    /** The moment that it is compared with. */
    versus: null,
  };
}

/**
 * @param {string} search `location.search`
 */
export function read(search) {
  const params = new URLSearchParams(search);
  const state = defaults();
  if (PAGES.includes(params.get('page'))) state.page = params.get('page');
  state.query = params.get('q') ?? '';
  const sort = (params.get('sort') ?? '')
    .split(',')
    .map(part => ({ key: part.replace(/^-/, ''), down: part.startsWith('-') }))
    .filter(({ key }, i, all) => Object.hasOwn(COLUMNS, key) && all.findIndex(other => other.key === key) === i);
  if (sort.length > 0) state.sort = sort;
  if (Object.hasOwn(GROUPINGS, params.get('group') ?? '')) state.group = params.get('group');
  const columns = (params.get('columns') ?? '')
    .split(',')
    .filter((key, i, all) => Object.hasOwn(COLUMNS, key) && all.indexOf(key) === i);
  if (columns.length > 0) state.columns = columns;
  state.session = params.get('session');
  state.wall = params.get('wall') === '1';
  state.at = moment(params.get('at'));
  state.versus = state.at === null ? null : moment(params.get('versus'));
  return state;
}

/** @returns {string} the query of an address, `?…`; `?` alone when everything has its default */
export function write(state) {
  const params = new URLSearchParams();
  if (state.page !== 'live') params.set('page', state.page);
  if (state.query.trim() !== '') params.set('q', state.query.trim());
  const sort = sortText(state.sort);
  if (sort !== sortText(DEFAULT_SORT)) params.set('sort', sort);
  if (state.group) params.set('group', state.group);
  if (state.columns.join() !== DEFAULT_COLUMNS.join()) params.set('columns', state.columns.join());
  if (state.session) params.set('session', state.session);
  if (state.wall) params.set('wall', '1');
  if (state.at) params.set('at', state.at);
  if (state.at && state.versus) params.set('versus', state.versus);
  // These characters need no escape in a query, and people read links.
  return `?${params.toString().replaceAll('%3A', ':').replaceAll('%2C', ',').replaceAll('%22', '"')}`;
}

/** A time as ISO 8601, or the number of an event; null for anything else. */
function moment(text) {
  if (text === null) return null;
  if (/^\d{1,15}$/.test(text)) return text;
  const time = Date.parse(text);
  return Number.isNaN(time) ? null : new Date(time).toISOString();
}

const sortText = sort => sort.map(({ key, down }) => (down ? '-' : '') + key).join();
