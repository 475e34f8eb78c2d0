# shellcheck shell=bash
# For scripts that bring Python programs; run from the root of the checkout. Everything is pinned, and nothing is made
# again that is there already.

# fresh TARGET STAMP: whether TARGET was made from exactly these inputs.
fresh() {
  [ -e "$1/.made-from" ] && [ "$(cat "$1/.made-from")" = "$2" ]
}

# make_environment REQUIREMENTS: .ci/cache/venv-NAME from REQUIREMENTS, a file NAME.txt that names every package.
make_environment() {
  local requirements=$1 target stamp
  target=.ci/cache/venv-$(basename "$requirements" .txt)
  stamp="$(python3 --version) $(sha256sum <"$requirements")"
  fresh "$target" "$stamp" && return
  printf 'making %s\n' "$target"
  rm -rf "$target"
  python3 -m venv "$target"
  "$target/bin/pip" install --quiet --disable-pip-version-check --no-deps --requirement "$requirements"
  "$target/bin/pip" check >/dev/null
  printf '%s' "$stamp" >"$target/.made-from"
}
