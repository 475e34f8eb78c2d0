#!/usr/bin/env bash
# Brings the tools that make disks and system calls fail (strace, and xfs_io for cutting the power of a disk), and the
# load balancers before which mirrors are stopped. What
# cannot be installed is said; the tests that need it skip loudly, and fail where CI is true.
set -euo pipefail
absent=()
command -v strace >/dev/null || absent+=(strace)
command -v xfs_io >/dev/null || absent+=(xfsprogs)
command -v mkfs.ext4 >/dev/null || absent+=(e2fsprogs)
command -v nginx >/dev/null || absent+=(nginx-light)
command -v haproxy >/dev/null || absent+=(haproxy)
[ "${#absent[@]}" = 0 ] && exit
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  printf 'not installed, and tests of it will not run: %s\n' "${absent[*]}" >&2
  exit
fi
apt-get update -q >/dev/null
DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${absent[@]}" >/dev/null
