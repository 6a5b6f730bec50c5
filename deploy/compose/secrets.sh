#!/bin/sh
# Makes the secrets of compose.yaml, once: the credential between gateway and store, and a token for the first client, which is printed.
set -eu
cd "$(dirname "$0")"
[ ! -e secrets.env ] || { echo "secrets.env is there already" >&2; exit 1; }
umask 077
countersign() { docker run --rm --network none countersign "$@"; }
[ -z "${COUNTERSIGN:-}" ] || countersign() { "$COUNTERSIGN" "$@"; }
made=$(countersign token)
secret=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
{
  echo COUNTERSIGN_STORE_ACCESS_KEY_ID=gateway
  echo "COUNTERSIGN_STORE_SECRET_ACCESS_KEY=$secret"
  echo "COUNTERSIGN_CI_TOKEN_HASH=$(echo "$made" | awk '/^hash:/ { print $2 }')"
} > secrets.env
printf 'AWS_ACCESS_KEY_ID=gateway\nAWS_SECRET_ACCESS_KEY=%s\n' "$secret" > store.env
echo "$made" | awk '/^secret:/ { print "export TOKEN=" $2 }'
