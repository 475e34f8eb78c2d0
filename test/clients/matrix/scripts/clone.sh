#!/bin/sh
# Reads a repo by git, and prints the SHA-256 of the files that it got.
# usage: clone.sh WAY ADDRESS [FILE]. WAY is "git" (all but large files), "git-lfs" (all), "pull" (only large.bin, and goes on
# with what a run before has left at home), or "push", which uploads FILE as large.bin.
set -eu
export GIT_CONFIG_NOSYSTEM=1 GIT_TERMINAL_PROMPT=0 LC_ALL=C.UTF-8
git config --global user.name user
git config --global user.email user@example.org
case "$1" in
git)
  git clone --quiet "$2" repo
  sha256sum repo/config.json repo/tokenizer.json
  ;;
git-lfs)
  git lfs install --skip-repo >/dev/null
  git clone --quiet "$2" repo
  sha256sum repo/config.json repo/model.safetensors
  ;;
pull)
  git lfs install --skip-repo --skip-smudge >/dev/null
  [ -d repo ] || git clone --quiet "$2" repo
  cd repo
  git lfs pull --include large.bin
  sha256sum large.bin
  ;;
push)
  git lfs install --skip-repo >/dev/null
  git clone --quiet "$2" repo
  cp "$3" repo/large.bin
  cd repo
  git add large.bin
  git commit --quiet --message large
  git push --quiet origin main
  ;;
esac
