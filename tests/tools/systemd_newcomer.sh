#!/bin/bash
# systemd_newcomer.sh TREE TOOLS   does what deploy/README.md says under systemd, word for word but for the build. Run by tests/tools/systemd.sh.
#
# Prints every command and its output. A store, SeaweedFS, is there before, as the text supposes.
set -eEu # as the reader has it: without pipefail, `curl | head` may end early
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

# What the unit and its drop-ins promise besides: a reload that fails changes nothing; a crash is followed by a start; few rights.
systemctl start countersign
before=$(systemctl show -P MainPID countersign)
echo 'nonsense: true' >> /etc/countersign/countersign.yaml
if systemctl reload countersign; then exit 9; fi
[ "$(systemctl show -P MainPID countersign)" = "$before" ]
countersign health --wait 10
sed -i '/^nonsense/d; s/1GiB/2GiB/' /etc/countersign/countersign.yaml
systemctl reload countersign
for _ in $(seq 100); do curl -sS http://127.0.0.1:9090/metrics | grep -q '^countersign_config_generation 2$' && break; sleep 0.1; done
curl -sS http://127.0.0.1:9090/metrics | grep '^countersign_config_generation 2$'
grep -q '^CapEff:[[:space:]]*0000000000000000$' "/proc/$before/status"
grep -q '^NoNewPrivs:[[:space:]]*1$' "/proc/$before/status"
kill -KILL "$before"
for _ in $(seq 100); do [ "$(systemctl show -P MainPID countersign)" -gt "$before" ] && break; sleep 0.1; done
countersign health --wait 10
[ "$(systemctl show -P NRestarts countersign)" = 1 ]
if setpriv --reuid nobody --regid nogroup --clear-groups cat /etc/countersign/secrets/store-secret-access-key 2> /dev/null; then exit 9; fi

# Secrets as credentials of systemd, which nobody else can read either; and what YARA needs.
mkdir -p /etc/systemd/system/countersign.service.d
cp deploy/systemd/credentials.conf deploy/systemd/yara.conf /etc/systemd/system/countersign.service.d/
sed -i 's|/etc/countersign/secrets/|/run/credentials/countersign.service/|' /etc/countersign/countersign.yaml
chmod 0600 /etc/countersign/secrets/*
systemctl daemon-reload
systemctl restart countersign
countersign health --wait 10
systemctl reload countersign
countersign health --wait 10
echo "the unit keeps its promises"
systemctl stop countersign
