#!/usr/bin/env bash
# Brings the real clients that test/clients drives: one Python environment per requirement file, the JavaScript
# clients, and the command line tools. Everything is pinned, and nothing is made again that is there already.
# With --all also those that take minutes, and that CI does without: a browser, torch, parts of model servers, and what is
# compiled here, hf-hub. What cannot be installed is said.
set -euo pipefail
all=${1:-}
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
  command -v ip >/dev/null || absent+=(iproute2)
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

install_browser() {
  command -v chromium >/dev/null && return
  [ "$(id -u)" = 0 ] && apt-get update -q >/dev/null &&
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends chromium >/dev/null
}

# Torch as Debian packages it, and what needs it. For Debian's own Python.
make_torch_environment() {
  local requirements=test/clients/requirements/debian/torch.txt target=$cache/venv-torch stamp
  [ "$(id -u)" = 0 ] && apt-get update -q >/dev/null &&
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends python3-torch python3-venv >/dev/null &&
    stamp="$(/usr/bin/python3 --version) $(sha256sum <"$requirements")" || return
  fresh "$target" "$stamp" && return
  printf 'making %s\n' "$target"
  rm -rf "$target"
  /usr/bin/python3 -m venv --system-site-packages "$target" &&
    "$target/bin/pip" install --quiet --disable-pip-version-check --no-deps --requirement "$requirements" &&
    printf '%s' "$stamp" >"$target/.made-from"
}

# The code by which model servers download, without what they need to serve: pip would call the environment incomplete.
make_server_environment() {
  local requirements=test/clients/requirements/partial/servers.txt target=$cache/venv-servers
  fresh "$target" "$(stamp_of "$requirements")" && return
  printf 'making %s\n' "$target"
  rm -rf "$target"
  python3 -m venv "$target" &&
    "$target/bin/pip" install --quiet --disable-pip-version-check --no-compile --no-deps --requirement "$requirements" &&
    stamp_of "$requirements" >"$target/.made-from"
}

# Three generations of hf-hub. Their dependencies are as new as Cargo finds them.
make_rust_clients() {
  local target=$cache/rust-clients stamp
  command -v cargo >/dev/null || return
  stamp="$(cargo --version) $(cat test/clients/rust/Cargo.toml test/clients/rust/src/main.rs | sha256sum)"
  fresh "$target" "$stamp" && return
  printf 'making %s\n' "$target"
  rm -rf "$target"
  mkdir -p "$target"
  cp -r test/clients/rust "$target/source"
  cargo build --quiet --release --manifest-path "$target/source/Cargo.toml" --target-dir "$target/build" &&
    mv "$target/build/release/hubmirror-clients" "$target/" &&
    rm -rf "$target/build" &&
    printf '%s' "$stamp" >"$target/.made-from"
}

install_tools
# npm waits for downloads for the most part.
make_node_clients &
node_clients=$!
status=0
make_environments test/clients/requirements/*.txt || status=1
wait "$node_clients" || status=1
[ "$status" = 0 ]
if [ "$all" = --all ]; then
  install_browser || printf 'not installed, and tests of it will not run: chromium\n' >&2
  make_torch_environment || printf 'not installed, and tests of it will not run: sentence-transformers, diffusers\n' >&2
  make_server_environment || printf 'not installed, and tests of it will not run: vLLM, SGLang, KServe\n' >&2
  make_rust_clients || printf 'not installed, and tests of it will not run: hf-hub, which needs cargo and a C compiler\n' >&2
fi
