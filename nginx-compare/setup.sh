#!/usr/bin/env bash
# Brings nginx as Debian packages it. Nothing of the system's own configuration is used, and no service is needed: the
# suites start it themselves on loopback. Where it cannot be installed this is said; what needs it skips loudly.
set -euo pipefail
command -v nginx >/dev/null && exit
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  printf 'not installed, and tests of it will not run: nginx\n' >&2
  exit
fi
apt-get update -q >/dev/null
DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends nginx-light >/dev/null
