#!/bin/bash
# radosgw.sh DIR: Ceph RGW on loopback for the tests: one mon, one osd that keeps objects in memory, one radosgw.
#
# Prints `ready {"endpoint":…,"access_key":…,"secret_key":…,"region":…}` and runs until stdin ends.
# It is the strict store: it refuses every wrong signature and content hash, and knows no checksum trailers.
# RGW_MEM_BYTES caps what it keeps (default 4 GiB); tests with big objects must delete them.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
DIR=${1:?usage: radosgw.sh DIR}
need "$TOOLS/venv/bin/python" monmaptool ceph ceph-mon ceph-osd radosgw radosgw-admin curl openssl setpriv

start() {
  local mon rgw fsid osd
  read -r mon rgw <<< "$(free_ports 2)"
  endpoint=http://127.0.0.1:$rgw
  fsid=$(cat /proc/sys/kernel/random/uuid) osd=$(cat /proc/sys/kernel/random/uuid)
  # Messenger v1 only: with v2 and no authentication the mon refuses the osd (get_initial_auth_request -13).
  # The osd binds the first four free ports of its range itself, so nothing can come between.
  # osd crush update: the osd's own placement races with its first monmap ("wrong fsid"), so we place it by hand.
  # paxos propose interval: each new pool waits for it; with the default of 1 s a start takes 15 s instead of 1 s.
  cat > ceph.conf <<CONF
[global]
fsid = $fsid
mon host = v1:127.0.0.1:$mon
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv4 = true
ms bind ipv6 = false
ms bind msgr2 = false
ms bind port min = 11000
ms bind port max = 14999
auth cluster required = none
auth service required = none
auth client required = none
run dir = .
admin socket = \$name.asok
log file = \$name.log
log to stderr = false
mon cluster log file = cluster.log
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pgp num = 4
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon max pg per osd = 500
mon pg warn min per osd = 0
[mon]
mon data = mon
paxos propose interval = 0.02
paxos min wait = 0.01
mon data avail warn = 2
mon data avail crit = 1
[osd]
osd data = osd
osd objectstore = memstore
osd crush update on start = false
osd class update on start = false
memstore device bytes = ${RGW_MEM_BYTES:-4294967296}
osd class load list = *
osd class default list = *
[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:$rgw
rgw data = .
rgw dns name = ${S3_DOMAIN:-localhost}
rgw thread pool size = 64
rgw crypt require ssl = false
rgw enable usage log = false
rgw enable gc threads = false
rgw enable lc threads = false
CONF
  export CEPH_CONF=ceph.conf
  mkdir mon osd
  {
    monmaptool --create --fsid "$fsid" --addv a "[v1:127.0.0.1:$mon]" monmap &&
      ceph-mon --mkfs -i a --monmap monmap
  } >> log 2>&1 || return 1
  spawn ceph-mon -i a -f
  {
    timeout 30 ceph osd new "$osd" 0 &&
      timeout 30 ceph osd crush add osd.0 1.0 root=default host=here &&
      ceph-osd --mkfs -i 0 --osd-uuid "$osd"
  } >> log 2>&1 || return 1
  spawn ceph-osd -i 0 -f
  timeout 60 radosgw-admin -n client.rgw user create --uid=tests --display-name=tests \
    --access-key="$ACCESS_KEY" --secret-key="$SECRET_KEY" >> log 2>&1 || return 1
  # Two that own nothing, for tests of policies.
  local user
  for user in gateway other; do
    timeout 60 radosgw-admin -n client.rgw user create --uid="$user" --display-name="$user" \
      --access-key="$user$ACCESS_KEY" --secret-key="$SECRET_KEY" >> log 2>&1 || return 1
  done
  spawn radosgw -n client.rgw -f
}
serve "$DIR"
