#!/usr/bin/env bash
# Installs a Debian package in a throwaway root, uses what it has installed, and removes and purges it: `deb.sh PACKAGE`.
set -euo pipefail
package=$(realpath "$1")
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root/var/lib/dpkg/info" "$root/var/lib/dpkg/updates"
: > "$root/var/lib/dpkg/status"

fail() { echo "$*" >&2; exit 1; }
# The root has no libc6 and no shell: the scripts of the package run outside it, with DPKG_ROOT.
in_root() { dpkg --root="$root" --force-depends --force-script-chrootless --force-not-root "$@" 2> "$root/stderr" || { cat "$root/stderr" >&2; fail "dpkg $*"; }; }

in_root --install "$package" > /dev/null
for file in usr/bin/sessionwatch usr/lib/systemd/system/sessionwatch.service etc/sessionwatch/sessionwatch.toml \
  usr/share/man/man1/sessionwatch.1.gz usr/share/man/man1/sessionwatch-kill.1.gz \
  usr/share/bash-completion/completions/sessionwatch usr/share/zsh/vendor-completions/_sessionwatch \
  usr/share/fish/vendor_completions.d/sessionwatch.fish usr/share/doc/sessionwatch/copyright; do
  [ -s "$root/$file" ] || fail "the package has no $file"
done
command=$root/usr/bin/sessionwatch
config=$root/etc/sessionwatch/sessionwatch.toml
"$command" --version
"$command" config check "$config" | grep -q '^  db = /var/lib/sessionwatch/sessionwatch.db' || fail "the installed config file is not what it should be"
bash -n "$root/usr/share/bash-completion/completions/sessionwatch"
! command -v zsh > /dev/null || zsh -n "$root/usr/share/zsh/vendor-completions/_sessionwatch"
! command -v fish > /dev/null || fish -n "$root/usr/share/fish/vendor_completions.d/sessionwatch.fish"
zcat "$root/usr/share/man/man1/sessionwatch.1.gz" | grep -q '^.SH NAME' || fail "the manual page is none"
if command -v systemd-analyze > /dev/null; then
  # With the command's present place, since there must be one.
  unit=$root/sessionwatch.service
  sed "s|/usr/bin/sessionwatch|$command|" "$root/usr/lib/systemd/system/sessionwatch.service" > "$unit"
  systemd-analyze verify --man=no "$unit" 2>&1 | { ! grep 'sessionwatch\.service'; } || fail "the unit is not right"
  systemd-analyze security --offline=true --threshold=20 "$unit" | tail -1
  rm "$unit"
fi

# What the administrator has written stays.
echo 'stale-after = "5m"' >> "$config"
in_root --install "$package" > /dev/null
grep -q '^stale-after' "$config" || fail "an upgrade has overwritten the config file"
in_root --remove sessionwatch > /dev/null
[ ! -e "$command" ] && [ -e "$config" ] || fail "removing leaves the config file and nothing else"
in_root --purge sessionwatch > /dev/null
[ ! -e "$config" ] || fail "purging leaves nothing"
left=$(find "$root" -type f ! -path "$root/var/lib/dpkg/*" ! -path "$root/stderr")
[ -z "$left" ] || fail "purging leaves $left"
echo "$(basename "$package"): $(du -h "$package" | cut -f1); it installs, works, keeps its config file, and goes"
