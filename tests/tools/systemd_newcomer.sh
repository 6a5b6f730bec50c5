#!/bin/bash
# systemd_newcomer.sh TREE TOOLS   does what deploy/README.md says under systemd and of sandboxes, word for word but for the build. Run by tests/tools/systemd.sh.
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
section=$(commands 'Under systemd' | grep -v -e '^cargo build' -e '^install -m 755 target/release/countersign ')
# What is denied is told by the status too, and a reader's shell goes on.
section=$(sed 's/^\(countersign explain .*\)# DENIED$/\1 || [ $? = 2 ]/' <<< "$section")
# A reader is slower than the audit, which has 100 ms to write a record.
section=$(sed "s|^grep 'cat.png' .*|for _ in \$(seq 100); do grep -q cat.png /var/log/countersign/audit.jsonl \&\& break; sleep 0.1; done\n&|" <<< "$section")
[[ $section == *"systemctl enable --now countersign"* && $section == *"countersign explain"* ]]
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
[ "$(stat -c %a /var/log/countersign/audit.jsonl)" = 640 ]
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

# A sandbox, as the text has it.
rm -r /etc/systemd/system/countersign.service.d
systemctl reset-failed countersign
section=$(commands 'The way out of a sandbox')
[[ $section == *"systemctl start sandbox"* ]]
eval "$section"

# Everything else that there is to reach: beside the sandbox all of it, in it nothing but the gateway.
ip address add 192.0.2.1/32 dev lo
coproc "$tree/tests/tools/ways_out.py" listen
read -r -t 30 <&"${COPROC[0]}"
"$tree/tests/tools/ways_out.py" | sed 's/^/outside, /'
install -m 755 "$tree/tests/tools/ways_out.py" /usr/local/bin/sandboxed
systemctl start sandbox
while systemctl is-active --quiet sandbox; do sleep 0.1; done
journalctl --sync; journalctl -u sandbox -o cat --no-pager | sed -n 's/^\(open\|closed\):/inside, &/p'

# The gateway may restart, and the sandbox neither notices nor has to.
cat > /usr/local/bin/sandboxed <<'END'
#!/bin/bash
for _ in $(seq 60); do curl -s -o /dev/null -w 'asked: %{http_code}\n' --max-time 10 http://127.0.0.1:8080/results/sandbox/hostname; sleep 0.05; done
END
systemctl start sandbox
for _ in $(seq 100); do journalctl -u sandbox -o cat | grep -q '^asked: ' && break; sleep 0.1; done
systemctl restart countersign
systemctl is-active sandbox
while systemctl is-active --quiet sandbox; do sleep 0.1; done
journalctl --sync; journalctl -u sandbox -o cat --no-pager | grep '^asked: ' | sort | uniq -c
