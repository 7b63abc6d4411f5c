#!/usr/bin/env bash
# Puts a version of axe-core (MPL-2.0) here, unchanged, from the npm registry: tests/axe/update.sh [version]
set -euo pipefail
cd "$(dirname "$0")"
packed=$(mktemp -d)
trap 'rm -r "$packed"' EXIT
npm pack --silent --pack-destination "$packed" "axe-core@${1:-4.14.1}" >/dev/null
tar -xzf "$packed"/axe-core-*.tgz -C "$packed"
cp "$packed"/package/{axe.min.js,LICENSE,LICENSE-3RD-PARTY.txt} .
