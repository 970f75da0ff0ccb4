#!/usr/bin/env bash
# Builds the documentation as a site into OUT/site, and checks every link: `docs.sh OUT`.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=$(realpath "$1")
command -v mdbook > /dev/null || cargo install --locked mdbook --no-default-features --features search
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 tests/package/site.py gather "$work"
mdbook build "$work"
python3 tests/package/site.py check "$work"
rm -rf "$out/site"
cp -r "$work/book" "$out/site"
