#!/usr/bin/env bash
# Builds the last stage of the Containerfile without an engine, and runs the image's command as its user in a root that it cannot
# write: `container.sh COMMAND OUT`. The first stage, which compiles the command in an image of Rust, is not tried.
set -euo pipefail
cd "$(dirname "$0")/../.."
command=$(realpath "$1") out=$(realpath "$2")
command -v buildah > /dev/null || { echo "install buildah" >&2; exit 1; }
[ "$(id -u)" -eq 0 ] || { echo "this needs root: files of the image belong to another user" >&2; exit 1; }
fail() { echo "$*" >&2; exit 1; }

chroot=$(PATH=$PATH:/usr/sbin type -P chroot)
work=$(mktemp -d)
export STORAGE_DRIVER=vfs BUILDAH_ISOLATION=chroot
store=(--root "$work/store" --runroot "$work/run")
server=
finish() {
  [ -z "$server" ] || kill "$server" 2> /dev/null || true
  [ -z "${container:-}" ] || buildah "${store[@]}" umount "$container" > /dev/null 2>&1 || true
  rm -rf "$work"
}
trap finish EXIT

strip -o "$work/sessionwatch" "$command"
packaging/container/rootfs.sh "$work/sessionwatch" "$work/image"
# What the first stage leaves in /image is here in image/.
awk '/^FROM scratch/ { last = 1 } last' Containerfile | sed -E 's|^COPY --from=build (.*)/image/|COPY \1image/|' > "$work/Containerfile"
buildah "${store[@]}" build --quiet --format docker --file "$work/Containerfile" --tag sessionwatch "$work" > /dev/null
buildah "${store[@]}" push --quiet sessionwatch "docker-archive:$work/sessionwatch.tar:sessionwatch:latest"
mv "$work/sessionwatch.tar" "$out/sessionwatch-image.tar"

# What is written in the image.
told=$(buildah "${store[@]}" inspect --type image sessionwatch)
grep -q '"User": "65532:65532"' <<< "$told" || fail "the image's user is root"
grep -q '"/usr/bin/sessionwatch",' <<< "$told" && grep -q Healthcheck <<< "$told" || fail "the image has no health check"

# Its root, mounted: run as its user, which can write to the volume alone.
container=$(buildah "${store[@]}" from sessionwatch)
root=$(buildah "${store[@]}" mount "$container")
inside() { env -i "${settings[@]}" "$chroot" --userspec=65532:65532 "$root" /usr/bin/sessionwatch "$@"; }
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
settings=("SESSIONWATCH_LISTEN=0.0.0.0:$port" SESSIONWATCH_DB=/var/lib/sessionwatch/sessionwatch.db)
! inside serve 2> "$work/refused" || fail "it starts on the network without TLS or a proxy"
grep -q -- --trust-proxy "$work/refused" || fail "it does not say what to add: $(cat "$work/refused")"
! inside health 2> /dev/null || fail "it is well before it runs"
# `exec`, so that the signal goes to the server.
(exec env -i "${settings[@]}" "$chroot" --userspec=65532:65532 "$root" /usr/bin/sessionwatch serve --trust-proxy 192.0.2.1) > "$work/out" 2> "$work/log" &
server=$!
for _ in $(seq 100); do
  if inside health > /dev/null 2>&1; then well=yes; break; fi
  sleep 0.2
done
[ -n "${well:-}" ] || fail "it does not become well: $(cat "$work/log")"
inside token link 2> /dev/null | grep -q '/#t=' || fail "no link to log in"
written=$(find "$root" -xdev -newer "$work/refused" -type f ! -path "$root/var/lib/sessionwatch/*")
[ -z "$written" ] || fail "it writes outside of its volume: $written"
kill "$server"; wait "$server" || fail "it does not end well"
server=
echo "sessionwatch-image.tar: $(du -h "$out/sessionwatch-image.tar" | cut -f1); it runs as its user, writes to its volume alone, and its health check tells"
