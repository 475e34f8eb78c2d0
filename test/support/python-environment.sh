# shellcheck shell=bash
# For scripts that bring Python programs; run from the root of the checkout. Everything is pinned, and nothing is made
# again that is there already. uv makes the environments: it downloads in parallel, unpacks each package once, and links its
# files into every environment that needs it. Where uv cannot be had, or fails, pip makes them.

UV=.ci/cache/venv-uv/bin/uv

# fresh TARGET STAMP: whether TARGET was made from exactly these inputs.
fresh() {
  [ -e "$1/.made-from" ] && [ "$(cat "$1/.made-from")" = "$2" ]
}

# make_environments REQUIREMENTS...: .ci/cache/venv-NAME from each file NAME.txt, which names every package; two at a time.
# Fails when one of them cannot be made, after the others.
make_environments() {
  local file failed=0 stale=() running=()
  for file in "$@"; do
    fresh "$(target_of "$file")" "$(stamp_of "$file")" || stale+=("$file")
  done
  [ "${#stale[@]}" = 0 ] && return
  bring_uv
  for file in "${stale[@]}"; do
    make_environment "$file" &
    running+=("$!")
    [ "${#running[@]}" -lt 2 ] && continue
    wait "${running[0]}" || failed=1
    running=("${running[@]:1}")
  done
  for file in "${running[@]}"; do wait "$file" || failed=1; done
  return "$failed"
}

target_of() {
  printf '.ci/cache/venv-%s' "$(basename "$1" .txt)"
}

make_environment() {
  local requirements=$1 target
  target=$(target_of "$requirements")
  printf 'making %s\n' "$target"
  if ! { [ -x "$UV" ] && make_by_uv "$requirements" "$target"; }; then
    make_by_pip "$requirements" "$target" || return
  fi
  stamp_of "$requirements" >"$target/.made-from"
}

stamp_of() {
  printf '%s' "$(python3 --version) $(sha256sum <"$1")"
}

make_by_pip() {
  rm -rf "$2"
  python3 -m venv "$2" &&
    "$2/bin/pip" install --quiet --disable-pip-version-check --no-compile --no-deps --requirement "$1" &&
    "$2/bin/pip" check >/dev/null
}

make_by_uv() {
  rm -rf "$2"
  "$UV" venv --quiet --python "$(python3 -c 'import sys; print(sys.executable)')" "$2" &&
    "$UV" pip install --quiet --python "$2/bin/python" --no-deps --requirement "$1" &&
    "$UV" pip check --quiet --python "$2/bin/python"
}

# Installs uv by pip, in an environment of its own, and has it ask where pip would.
bring_uv() {
  local requirements=test/support/uv.txt target=.ci/cache/venv-uv
  if ! fresh "$target" "$(stamp_of "$requirements")"; then
    rm -rf "$target"
    if ! { python3 -m venv "$target" &&
      "$target/bin/pip" install --quiet --disable-pip-version-check --no-compile --requirement "$requirements"; }; then
      printf 'pip makes the Python environments, which takes longer: uv cannot be installed\n' >&2
      rm -rf "$target"
      return
    fi
    stamp_of "$requirements" >"$target/.made-from"
  fi
  eval "$("$target/bin/python" test/support/pip-settings.py)"
  export UV_CACHE_DIR="$PWD/.ci/cache/uv" UV_LINK_MODE=hardlink UV_PYTHON_DOWNLOADS=never
}
