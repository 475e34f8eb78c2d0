#!/usr/bin/env bash
# Brings the real clients that test/clients drives: one Python environment per requirement file, the JavaScript
# clients, and the command line tools. Everything is pinned, and nothing is made again that is there already.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
cache=.ci/cache
mkdir -p "$cache"

. test/support/python-environment.sh

install_tools() {
  local absent=()
  command -v curl >/dev/null || absent+=(curl)
  command -v wget >/dev/null || absent+=(wget)
  command -v aria2c >/dev/null || absent+=(aria2)
  command -v git >/dev/null || absent+=(git)
  command -v git-lfs >/dev/null || absent+=(git-lfs)
  command -v python3 >/dev/null || absent+=(python3)
  python3 -c 'import ensurepip' 2>/dev/null || absent+=(python3-venv)
  [ "${#absent[@]}" = 0 ] && return
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    printf 'not installed, and tests of it will not run: %s\n' "${absent[*]}" >&2
    return
  fi
  apt-get update -q >/dev/null
  DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${absent[@]}" >/dev/null
}

make_node_clients() {
  local target=$cache/node-clients stamp
  stamp="$(node --version) $(cat test/clients/node/package.json test/clients/node/package-lock.json | sha256sum)"
  fresh "$target" "$stamp" && return
  printf 'making %s\n' "$target"
  rm -rf "$target"
  mkdir -p "$target"
  cp test/clients/node/package.json test/clients/node/package-lock.json test/clients/node/.npmrc "$target/"
  npm ci --prefix "$target" --silent
  printf '%s' "$stamp" >"$target/.made-from"
}

install_tools
for file in test/clients/requirements/*.txt; do
  make_environment "$file"
done
make_node_clients
