# Sourced by the server scripts of the tests. Not a program.
# shellcheck shell=bash
#
# No server may outlive the test run that started it, however that run ends: the test holds our stdin open, and a test
# process that is killed closes it too. EOF on stdin or SIGTERM ends us and our servers; if we are killed ourselves, the
# kernel kills them (pdeathsig). The data is disposable, so everything is stopped with SIGKILL.
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
TOOLS=$(realpath -m "${COUNTERSIGN_TOOLS:-$HERE/../../.tools}")
REGION=us-east-1
# New for every run: whoever accepts these is our server, not another one that got the port first.
ACCESS_KEY=$(openssl rand -hex 10 | tr a-f A-F)
SECRET_KEY=$(openssl rand -base64 30)

servers=()
litter=()    # files a server leaves outside its directory
endpoint=    # set by start: the store's URL
more_fields= # set by start: more of the ready line, `,"name":"value"`

# spawn COMMAND...: starts one server process. Its output goes to the log: a test reads our stdout.
spawn() {
  setpriv --pdeathsig KILL "$@" >> log 2>&1 < /dev/null &
  servers+=($!)
}
stop() {
  [ ${#servers[@]} -gt 0 ] || return 0 # a bare wait would wait for the watcher of stdin
  kill -KILL "${servers[@]}" 2> /dev/null || true
  wait "${servers[@]}" 2> /dev/null || true
  rm -f "${litter[@]}"
  servers=() litter=()
}
all_alive() {
  local server
  for server in "${servers[@]}"; do kill -0 "$server" 2> /dev/null || return 1; done
}
give_up_on() {
  echo "$(basename "$0"): $1; ends of the logs in $PWD:" >&2
  tail -n 10 -- *log >&2
}

# free_ports N: ports below the range the kernel hands out by itself (32768 and up by default), because the tests open
# thousands of sockets with port 0 between our look and the server's bind.
free_ports() {
  "$TOOLS/venv/bin/python" - "$1" <<'PY'
import random, socket, sys
held = []
while len(held) < int(sys.argv[1]):
    s = socket.socket()
    try:
        s.bind(("127.0.0.1", random.randrange(15000, 32000)))
    except OSError:
        continue
    held.append(s)
print(*[s.getsockname()[1] for s in held])
PY
}

# s3 METHOD URL [curl options]: one signed request, fails on any error status.
s3() {
  curl -sSf -o /dev/null --noproxy '*' --max-time 10 -X "$1" --user "$ACCESS_KEY:$SECRET_KEY" \
    --aws-sigv4 "aws:amz:$REGION:s3" -H 'x-amz-content-sha256: UNSIGNED-PAYLOAD' "${@:3}" "$2" 2> probe.log
}
# wait_for_s3: until a real write works. A store lists buckets long before it can store its first object.
wait_for_s3() {
  local probe=$endpoint/countersign-ready deadline=$((SECONDS + 60))
  until s3 PUT "$probe" && s3 PUT "$probe/object" --data-binary ready; do
    all_alive && [ $SECONDS -lt $deadline ] || return 1
    sleep 0.1
  done
  s3 DELETE "$probe/object" && s3 DELETE "$probe"
}

# need PROGRAM...: all of them are there, or tests/tools/install.sh has not been run.
need() {
  [ "$(command -v "$@" | wc -l)" -eq $# ] && return
  echo "$(basename "$0"): needs $*; run tests/tools/install.sh" >&2
  exit 1
}

# remove_data DIR: a run of all tests leaves gigabytes; the logs stay, for whoever asks why a test failed.
remove_data() { find "$1" -mindepth 2 -maxdepth 2 ! -name '*log' -exec rm -rf {} + 2> /dev/null || true; }

# serve DIR: runs start, which the sourcing script defines, in a new directory below DIR; prints the ready line when the
# store works; waits for the end. start prints nothing, sets $endpoint, and fails if it cannot start its servers.
serve() {
  local dir attempt
  mkdir -p "$1"
  dir=$(realpath "$1")
  trap stop EXIT
  trap 'stop; remove_data "$dir"; exit 0' TERM INT HUP
  # Its own process, so that EOF is noticed during a slow start as well. Nobody else may read our stdin.
  exec 3<&0 < /dev/null
  setpriv --pdeathsig KILL bash -c 'while read -r _; do :; done; kill $0' $$ <&3 > /dev/null 2>&1 &
  exec 3<&-

  # Three attempts: a port can be taken between our look and the bind.
  for attempt in 1 2 3; do
    cd "$(mktemp -d "$dir/run.XXXXXX")"
    if start && wait_for_s3; then
      printf 'ready {"endpoint":"%s"%s,"access_key":"%s","secret_key":"%s","region":"%s"}\n' \
        "$endpoint" "$more_fields" "$ACCESS_KEY" "$SECRET_KEY" "$REGION"
      wait -n "${servers[@]}" 2> /dev/null || true
      give_up_on "a server process ended by itself"
      exit 1
    fi
    stop
    give_up_on "start $attempt of 3 failed"
  done
  exit 1
}
