/**
 * How long to wait before attempt number `attempt` (from 0), in ms: doubling from 0.5 s to at most 15 s, of which at
 * least a third and at most the whole, at random, so that a thousand dashboards do not come back in one moment.
 * @param {number} attempt
 * @param {() => number} [random] in [0, 1)
 */
export function backoff(attempt, random = Math.random) {
  const whole = Math.min(15_000, 500 * 2 ** Math.min(attempt, 10));
  return Math.round(whole * (1 / 3 + (2 / 3) * random()));
}
