#!/usr/bin/env bash
# Brings what the benchmark needs beside nginx: olah, in a Python environment of its own, and wrk as Debian packages it.
# Where one cannot be installed this is said; the benchmark goes on without it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
mkdir -p .ci/cache
# A shell of its own, so that any failure ends it.
if ! bash -euo pipefail -c '. test/support/python-environment.sh; make_environments test/bench/olah.txt'; then
  printf 'not installed, and the benchmark goes without it: olah\n' >&2
fi
install_wrk() {
  [ "$(id -u)" = 0 ] && apt-get update -q >/dev/null &&
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends wrk >/dev/null
}
if ! command -v wrk >/dev/null && ! install_wrk; then
  printf 'not installed, and the growth by processes is not measured: wrk\n' >&2
fi
