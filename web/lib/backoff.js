/**
 * How long to wait before attempt number `attempt` (from 0), in ms. The longest wait doubles from 0.5 s to 15 s; of it
 * a random part between a third and the whole is taken, so that a thousand dashboards do not come back at the same
 * moment.
 * @param {number} attempt
 * @param {() => number} [random] in [0, 1)
 */
export function backoff(attempt, random = Math.random) {
  const whole = Math.min(15_000, 500 * 2 ** Math.min(attempt, 10));
  return Math.round(whole * (1 / 3 + (2 / 3) * random()));
}
