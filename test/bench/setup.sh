#!/usr/bin/env bash
# Brings what the benchmark compares with beside nginx: olah, in a Python environment of its own. Where it cannot be
# installed this is said; the benchmark goes on without it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
mkdir -p .ci/cache
# A shell of its own, so that any failure ends it.
if ! bash -euo pipefail -c '. test/support/python-environment.sh; make_environment test/bench/olah.txt'; then
  printf 'not installed, and the benchmark goes without it: olah\n' >&2
fi
