#!/usr/bin/env bash
# Coppice in one command: installs what is missing, makes the base image, starts a gateway, runs real commands in a real
# sandbox, and cleans up. Under two minutes the first time, a few seconds after that.
set -euo pipefail
cd "$(dirname "$0")"
. ./scripts/setup.sh

need_runtime_packages
need_node_modules
coppice=$PWD/bin/coppice

was_running=yes
"$coppice" gateway status --json >/dev/null 2>&1 || was_running=
sandbox=
finish() {
  status=$?
  [ -z "$sandbox" ] || "$coppice" rm "$sandbox" >/dev/null || true
  [ -n "$was_running" ] || "$coppice" gateway stop >&2 || true
  exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

[ -n "$was_running" ] || "$coppice" gateway start >&2
"$coppice" image bootstrap >&2

run() {
  printf '\n$ coppice exec %s --' "$sandbox"
  printf ' %s' "$@"
  printf '\n'
  "$coppice" exec "$sandbox" -- "$@"
}

printf '\n$ coppice create --memory 512\n'
sandbox=$("$coppice" create --memory 512)
printf '%s\n' "$sandbox"
run sh -c 'echo "I am $(id -un) on $(hostname), $(. /etc/os-release; echo "$PRETTY_NAME")"'
run python -c 'print(sum(n * n for n in range(1_000_000)))'
run sudo sh -c 'id -un; cat /proc/self/uid_map'
run sh -c 'sudo apt-get -qq update && sudo apt-get -qq install -y --no-install-recommends jq >/dev/null 2>&1 && jq -n "6*7"'
run sh -c 'echo "<h1>Served from $(hostname)</h1>" >index.html'
printf '\n$ coppice exec --detach %s -- python -m http.server 8000\n' "$sandbox"
"$coppice" exec --detach "$sandbox" -- python -m http.server 8000
printf '\n%s\n' "\$ curl \"\$(coppice preview $sandbox 8000)\""
curl -fs --location --cookie '' --retry 20 --retry-delay 1 --retry-all-errors "$("$coppice" preview "$sandbox" 8000)"
printf '\n$ coppice logs %s --egress | tail -3\n' "$sandbox"
"$coppice" logs "$sandbox" --egress | tail -3
run sh -c 'ls /sys/class/net; exit 3' || printf 'exit code: %s\n' "$?"
printf '\n$ coppice ls\n'
"$coppice" ls
printf '\nAll done. The sandbox is removed now; README.md goes on from here.\n'
