#!/usr/bin/env bash
# Installs what is missing and runs every test that can run on this machine. A test that cannot run says why.
# Usage: ./test.sh [vitest arguments for the system tests, such as a file name]
set -euo pipefail
cd "$(dirname "$0")"
. ./scripts/setup.sh

need_runtime_packages
need_packages docker-registry apache2-utils shellcheck tmux skopeo musl libcap2-bin attr procps python3 openssl git curl
need_engines
need_node_modules

if [ $# -eq 0 ]; then
  say '── format, lint, import walls, types, scripts'
  npm run --silent check
  shellcheck -x quickstart.sh test.sh scripts/*.sh bin/coppice .ci/run packages/runtime/*.sh
  say '── fast tests'
  npm test --silent
  # Nothing else of Coppice is meant to run here meanwhile: whatever is new at the end was left by the tests.
  export COPPICE_TEST_ALONE=1
fi
say '── system tests: real sandboxes, real faults'
if [ "$(id -u)" != 0 ]; then
  exec sudo --preserve-env=PATH,COPPICE_TEST_ALONE npm run --silent test:system -- "$@"
fi
npm run --silent test:system -- "$@"
