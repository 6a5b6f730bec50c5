#!/bin/bash
# systemd_newcomer.sh TREE TOOLS   does what deploy/README.md says under systemd, word for word but for the build. Run by tests/tools/systemd.sh.
#
# Prints every command and its output. A store, SeaweedFS, is there before, as the text supposes.
set -eEuo pipefail
tree=$1 tools=$2
cd "$tree"
# The commands of a section: everything in its ```sh blocks.
commands() { awk -v section="## $1" '/^## / { here = $0 == section } /^```/ { code = here && /^```sh/; next } code' deploy/README.md; }

export COUNTERSIGN_STORE_ACCESS_KEY_ID=gateway COUNTERSIGN_STORE_SECRET_ACCESS_KEY=$(openssl rand -hex 20)
mkdir /tmp/store
AWS_ACCESS_KEY_ID=$COUNTERSIGN_STORE_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY=$COUNTERSIGN_STORE_SECRET_ACCESS_KEY \
  "$tools/venv/bin/weed" mini -dir=/tmp/store -ip=127.0.0.1 -ip.bind=127.0.0.1 -bucket=corp-team-data > /tmp/store.log 2>&1 &
for _ in $(seq 300); do
  [ "$(curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:8333/corp-team-data)" = 403 ] && break
  sleep 0.1
done

# The program is not built here: it is the one that the test was given, put where the first commands put it.
section=$({ commands 'Under systemd'; commands 'Why was this upload refused'; } | grep -v -e '^cargo build' -e '^install -m 755 target/release/countersign ')
[[ $section == *"systemctl enable --now countersign"* && $section == *"countersign explain"* ]]
# What ends the service stands before the questions about it, which need only its files.
trap 'journalctl -u countersign --no-pager | tail -n 30' ERR
set -x
eval "$section"
