#!/bin/sh
# A job on the dashboard, with curl only: it is shown while it works, reports how it
# ended, and stops when an administrator kills it.
#
#   examples/shell/nightly.sh            # SESSIONWATCH_URL names another monitor
set -u
job=${SESSIONWATCH_URL:-http://127.0.0.1:8000}/ping/backup/$(hostname)-nightly-$$

# The job goes on when the monitor is not reachable, so every ping may fail.
ping() { curl -fsS --max-time 5 "$job$1" 2>/dev/null || true; }

trap 'code=$?; ping "/$code" >/dev/null; exit $code' EXIT
ping "/start?task=nightly" >/dev/null

for step in $(seq 1 "${STEPS:-30}"); do
  # … the work of one step …
  sleep 1
  if [ "$(ping "?task=step%20$step")" = KILL ]; then
    echo "ended by an administrator" >&2
    exit 143
  fi
done
