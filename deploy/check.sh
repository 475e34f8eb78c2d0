#!/usr/bin/env bash
# Checks everything in deploy/ with the tools that own each format, and builds the image where that is possible.
# A missing tool is installed when root may; else it is a skipped check, or a failed one when CI=true.
# Closes with `N passed, N failed, N skipped`; exit 1 on any failure.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

passed=0 failed=0 skipped=0
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# check NAME COMMAND...: runs it, shows the command, and shows its output only where it failed.
check() {
  local name=$1 status
  shift
  printf '%s\n    $ %s\n' "$name" "$*"
  # A subshell outside of any condition: inside of one, bash ignores errexit.
  set +e
  (
    set -e
    "$@"
  ) >"$scratch/output" 2>&1
  status=$?
  set -e
  if [ "$status" = 0 ]; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    sed 's/^/    /' "$scratch/output"
    printf '    FAILED: %s\n' "$name"
  fi
}

missing() {
  if [ "${CI:-}" = true ]; then
    failed=$((failed + 1))
    printf 'FAILED: %s\n' "$1"
  else
    skipped=$((skipped + 1))
    printf 'SKIPPED: %s\n' "$1"
  fi
}

updated=no
# need TOOL PACKAGE: whether the tool is there in the end.
need() {
  command -v "$1" >/dev/null && return 0
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    if [ "$updated" = no ]; then
      apt-get update -q >/dev/null 2>&1 || true
      updated=yes
    fi
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$2" >/dev/null 2>&1 || true
  fi
  command -v "$1" >/dev/null && return 0
  missing "$1 is not installed (Debian package $2)"
  return 1
}

exposure() {
  # The threshold is on systemd's scale of 0 (safe) to 100.
  systemd-analyze security --offline=yes --threshold=15 --no-pager "$1"
}

lint_dockerfile() {
  npm exec --yes -- dockerfilelint@1.8.0 deploy/Dockerfile
}

parse_dockerfile() {
  # Says nothing and ends well when there is nothing to say.
  local said
  said=$(npm exec --yes -- dockerfile-utils@0.16.3 lint deploy/Dockerfile 2>/dev/null) && [ -z "$said" ] && return 0
  printf '%s\n' "$said"
  return 1
}

# What a scrape would read, but for the names that the metrics library gives to Node's own figures.
metric_names() {
  npx tsx --input-type=module -e "
    import { createMetrics } from './src/telemetry/metrics.ts'
    console.log(await createMetrics({ version: '0.0.0' }).text())" >"$scratch/metrics"
  grep -q '^hubmirror_build_info' "$scratch/metrics"
  grep -v 'nodejs_active_' "$scratch/metrics" | promtool check metrics
}

# The base image is one that this machine may not be able to fetch, so it is stood in for by Debian's own packages
# and the Node that runs here. What is proved is the Dockerfile: stages, copies, owner, entry point, health check.
build_image() {
  local base
  export STORAGE_DRIVER=vfs BUILDAH_ISOLATION=chroot
  if ! buildah inspect --type image docker.io/library/node:22-bookworm-slim >/dev/null 2>&1; then
    local root="$scratch/root" node
    node=$(dirname "$(dirname "$(readlink -f "$(command -v node)")")")
    debootstrap --variant=minbase --include=ca-certificates bookworm "$root"
    cp "$node/bin/node" "$root/usr/local/bin/node"
    mkdir -p "$root/usr/local/lib/node_modules"
    cp -r "$node/lib/node_modules/npm" "$root/usr/local/lib/node_modules/npm"
    ln -s ../lib/node_modules/npm/bin/npm-cli.js "$root/usr/local/bin/npm"
    base=$(buildah from scratch)
    buildah copy -q "$base" "$root" /
    buildah commit -q --rm "$base" docker.io/library/node:22-bookworm-slim
    rm -rf "$root"
  fi
  # The builder reaches the packages as this machine does: same registry, same proxy, same certificates.
  cat /etc/ssl/certs/ca-certificates.crt ${NODE_EXTRA_CA_CERTS:+"$NODE_EXTRA_CA_CERTS"} >"$scratch/ca.pem"
  printf 'registry=%s\ncafile=/root/ca.pem\n' "$(npm config get registry 2>/dev/null)" >"$scratch/npmrc"
  buildah bud --pull=never --format docker -f deploy/Dockerfile -t "$image" \
    -v "$scratch/npmrc:/root/.npmrc:ro" -v "$scratch/ca.pem:/root/ca.pem:ro" .
}

image=localhost/hubmirror-check:latest

image_runs() {
  local said
  # Not local: the trap runs when the function has returned.
  container=$(buildah from --pull=never "$image")
  trap 'buildah rm "$container" >/dev/null' EXIT
  said=$(buildah run "$container" -- node --enable-source-maps dist/cli.js --version)
  buildah run "$container" -- node -e "
    if (process.getuid() !== 10001) throw new Error('runs as ' + process.getuid())
    require('node:fs').writeFileSync('/data/written', '')"
  grep -qxF "$(node -p 'require("./package.json").version')" <<<"$said"
}

# The questions an orchestrator asks of the image's own description.
image_describes() {
  buildah inspect --type image "$image" | node -e "
    const { Docker } = JSON.parse(require('node:fs').readFileSync(0, 'utf8'))
    const { User, Entrypoint, Cmd, Volumes, Healthcheck } = Docker.config
    const told = JSON.stringify({ User, Entrypoint, Cmd, Volumes })
    const right = JSON.stringify({
      User: '10001:10001',
      Entrypoint: ['node', '--enable-source-maps', 'dist/cli.js'],
      Cmd: ['serve'],
      Volumes: { '/data': {} },
    })
    if (told !== right || Healthcheck === undefined) throw new Error(told)"
}

# Bash looks at the first file it is given only.
syntax() {
  local script
  for script in "$@"; do bash -n "$script" || return; done
}

mapfile -t scripts < <(find deploy nginx-compare test -name '*.sh' -not -path '*/node_modules/*' | sort)
check 'shell: syntax' syntax "${scripts[@]}" .ci/run
need shellcheck shellcheck && check 'shell: shellcheck' shellcheck "${scripts[@]}" .ci/run
need yamllint yamllint && check 'yaml: yamllint' yamllint --strict -c deploy/yamllint.yaml deploy

check 'Dockerfile: lint' lint_dockerfile
check 'Dockerfile: syntax' parse_dockerfile

need docker-compose docker-compose &&
  check 'compose: valid' docker-compose -f deploy/compose.yaml config -q

if need promtool prometheus; then
  check 'prometheus: configuration' promtool check config deploy/prometheus/prometheus.yml
  check 'prometheus: alerts' promtool check rules deploy/prometheus/rules.yml
  check 'prometheus: alerts fire when they should' promtool test rules deploy/prometheus/rules.test.yml
  check 'prometheus: metric names' metric_names
fi

if need systemd-analyze systemd; then
  # verify wants the working directory to be there.
  mkdir -p "$scratch/unit"
  sed -e "s|^WorkingDirectory=.*|WorkingDirectory=/|" \
    -e '/^Documentation=/d' deploy/systemd/hubmirror.service >"$scratch/unit/hubmirror.service"
  check 'systemd: unit' systemd-analyze verify --man=no "$scratch/unit/hubmirror.service"
  check 'systemd: exposure' exposure deploy/systemd/hubmirror.service
fi

if [ "$(id -u)" != 0 ]; then
  skipped=$((skipped + 1))
  printf 'SKIPPED: building the image needs root here\n'
elif need buildah buildah && need debootstrap debootstrap; then
  export -f build_image
  export scratch image
  check 'image: builds' timeout 900 bash -euo pipefail -c build_image
  if STORAGE_DRIVER=vfs buildah inspect --type image "$image" >/dev/null 2>&1; then
    export STORAGE_DRIVER=vfs BUILDAH_ISOLATION=chroot
    check 'image: runs without root and says its version' image_runs
    check 'image: describes itself' image_describes
    buildah rmi "$image" >/dev/null 2>&1 || true
  fi
fi

printf '\n%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
[ "$failed" = 0 ]
