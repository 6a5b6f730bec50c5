#!/bin/bash
# seaweedfs.sh DIR: a SeaweedFS S3 store on loopback for the tests, data below DIR, ports of its own choice.
#
# Prints `ready {"endpoint":…,"access_key":…,"secret_key":…,"region":…}` and runs until stdin ends. With S3_CERT and
# S3_TLS_KEY (PEM files) it also serves TLS, and the line has "https_endpoint".
# It takes every modern payload mode but is lax: it stores a body whose x-amz-content-sha256 is wrong. See radosgw.sh.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
DIR=${1:?usage: seaweedfs.sh DIR}
need "$TOOLS/venv/bin/python" "$TOOLS/venv/bin/weed" curl openssl setpriv
# The paths may be relative to where we were called; start runs elsewhere.
cert=${S3_CERT:+$(realpath "$S3_CERT")} tls_key=${S3_TLS_KEY:+$(realpath "$S3_TLS_KEY")}

start() {
  local p tls=()
  # Every gRPC port is named: the default is the HTTP port + 10000, which nobody looked at.
  read -r -a p <<< "$(free_ports 9)"
  endpoint=http://127.0.0.1:${p[6]}
  if [ -n "$cert" ]; then
    tls=(-s3.port.https="${p[8]}" -s3.cert.file="$cert" -s3.key.file="$tls_key")
    more_fields=",\"https_endpoint\":\"https://127.0.0.1:${p[8]}\""
  fi
  cat > s3.json <<JSON
{"identities":[{"name":"tests","credentials":[{"accessKey":"$ACCESS_KEY","secretKey":"$SECRET_KEY"}],
 "actions":["Admin","Read","Write","List","Tagging"]}]}
JSON
  mkdir data
  # It listens on these too, whatever its options say.
  litter=("/tmp/seaweedfs-master-grpc-${p[1]}.sock" "/tmp/seaweedfs-volume-grpc-${p[3]}.sock"
    "/tmp/seaweedfs-filer-grpc-${p[5]}.sock" "/tmp/seaweedfs-s3-grpc-${p[7]}.sock")
  # Volumes take disk only as they fill. Each bucket has its own, one at a time instead of seven, so that many buckets
  # and a 5 GiB object fit. Socket names are relative: an absolute one may exceed the 107 bytes the kernel allows.
  # TMPDIR: it keeps a second log there. peers=none: without, it waits for other masters to vote.
  TMPDIR=. WEED_MASTER_VOLUME_GROWTH_COPY_1=1 spawn "$TOOLS/venv/bin/weed" server \
    -dir=data -ip=127.0.0.1 -ip.bind=127.0.0.1 \
    -master.port="${p[0]}" -master.port.grpc="${p[1]}" -master.peers=none -master.telemetry=false \
    -master.volumeSizeLimitMB=1024 \
    -volume.port="${p[2]}" -volume.port.grpc="${p[3]}" -volume.max=500 -volume.preStopSeconds=0 \
    -filer -filer.port="${p[4]}" -filer.port.grpc="${p[5]}" -filer.localSocket=filer.sock \
    -s3 -s3.port="${p[6]}" -s3.port.grpc="${p[7]}" -s3.localSocket=s3.sock -s3.config=s3.json \
    -s3.domainName="${S3_DOMAIN:-localhost}" -s3.port.iceberg=0 -s3.port.lance=0 "${tls[@]}"
}
serve "$DIR"
