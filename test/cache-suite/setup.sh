#!/usr/bin/env bash
# Brings the public suite of HTTP caches, pinned, into a folder of its own. Made again only when the pin has changed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
from=test/cache-suite/package target=.ci/cache/http-cache-tests
stamp="$(node --version) $(cat $from/package.json $from/package-lock.json | sha256sum)"
[ -e $target/.made-from ] && [ "$(cat $target/.made-from)" = "$stamp" ] && exit
printf 'making %s\n' "$target"
rm -rf $target
mkdir -p $target
cp $from/package.json $from/package-lock.json $from/.npmrc $target/
npm ci --prefix $target --ignore-scripts --silent
printf '%s' "$stamp" >$target/.made-from
