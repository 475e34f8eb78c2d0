#!/usr/bin/env bash
# Brings the tools that make disks and system calls fail (strace, and xfs_io for cutting the power of a disk), the load
# balancers before which mirrors are stopped, and the shells whose completion is tried. What cannot be installed is said.
# The tests that need it are skipped with the reason; where CI is true and root runs them, they fail.
set -euo pipefail
absent=()
command -v strace >/dev/null || absent+=(strace)
command -v xfs_io >/dev/null || absent+=(xfsprogs)
command -v mkfs.ext4 >/dev/null || absent+=(e2fsprogs)
for shell in bash zsh fish; do command -v "$shell" >/dev/null || absent+=("$shell"); done
command -v nginx >/dev/null || absent+=(nginx-light)
command -v haproxy >/dev/null || absent+=(haproxy)
[ "${#absent[@]}" = 0 ] && exit
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  printf 'not installed, and tests of it will not run: %s\n' "${absent[*]}" >&2
  exit
fi
apt-get update -q >/dev/null
DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${absent[@]}" >/dev/null
