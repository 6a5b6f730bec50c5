#!/bin/bash
# child.sh COMMAND...: runs a server that the test has configured, prints `pid N`, and ends it when stdin ends.
#
# No server may outlive the test that started it, however the test ends: see common.sh.
set -euo pipefail
exec 3<&0 < /dev/null
set -m # a process group of its own: some servers are several processes
setpriv --pdeathsig KILL "$@" > log 2>&1 &
server=$!
disown # no word about its end
trap 'kill -KILL -- -$server 2> /dev/null || true' EXIT
trap 'exit 0' TERM INT HUP
echo "pid $server"
while read -r _ <&3; do :; done
