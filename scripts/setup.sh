# shellcheck shell=bash
# Sourced by quickstart.sh and test.sh: installs what is missing and says so. Does nothing, in well under a second, when
# nothing is missing.

say() { printf '%s\n' "$*" >&2; }

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# need_packages PACKAGE…: Debian packages, by apt-get.
need_packages() {
  missing=
  for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
  done
  [ -n "$missing" ] || return 0
  command -v apt-get >/dev/null || {
    say "Missing here, and there is no apt-get to install it:$missing"
    return 1
  }
  say "Installing Debian packages:$missing"
  as_root apt-get update -qq
  # shellcheck disable=SC2086
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
}

# What Coppice itself runs: runc, the parts of the runtime bundle, the tools that unpack and make images, and those that lead
# connections of programs that know no proxy (nftables, iproute2).
need_runtime_packages() {
  need_packages runc busybox-static tini util-linux tar findutils attr mount debootstrap libstdc++6 libcap-ng0 nftables iproute2
}

# What the tests of the docker and podman drivers start for themselves. An engine that is there already, from wherever, will do.
need_engines() {
  command -v dockerd >/dev/null || need_packages docker.io iptables
  command -v podman >/dev/null || need_packages podman
  need_packages zstd
}

# need_node_modules: npm packages, from the lock file, when it changed since the last time.
need_node_modules() {
  stamp=node_modules/.package-lock.json
  if [ ! -f "$stamp" ] || [ package-lock.json -nt "$stamp" ]; then
    say 'Installing npm packages from the lock file'
    # Not `npm ci`: it refuses a lock file that lacks optional packages of foreign platforms. This takes the locked versions too.
    npm install --no-save --no-fund --no-audit --loglevel=error >&2
    touch "$stamp"
  fi
  node_bin=
  for platform in node_modules/node-linux-*/bin; do [ -x "$platform/node" ] && node_bin=$PWD/$platform; done
  [ -z "$node_bin" ] || PATH=$node_bin:$PATH
  PATH=$PWD/node_modules/.bin:$PATH
  export PATH
}
