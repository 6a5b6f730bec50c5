#!/usr/bin/env python3
"""Measures countersign beside nginx as a plain pass-through proxy, in one run. See docs/PERFORMANCE.md.

Proxy on core 0, load and upstream on core 1, one worker each. CPU is the kernel's clock of the proxy's processes. Rounds
take all proxies in random order; a ratio is made within a round, and the median of the rounds is reported with the extremes.

Usage: bench.py COUNTERSIGN BENCH_TOOL OUTPUT.md      (environment: BENCH_ROUNDS, BENCH_SECONDS, BENCH_ONLY, BENCH_PEERS)
"""

import contextlib
import datetime
import hashlib
import hmac
import itertools
import json
import os
import pathlib
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
SECONDS = float(os.environ.get("BENCH_SECONDS", "2"))
# Parts of row names, separated by commas; empty for everything.
ONLY = [word for word in os.environ.get("BENCH_ONLY", "").split(",") if word]
MIB, GIB = 1 << 20, 1 << 30
BULK = int(os.environ.get("BENCH_BULK_MIB", "256")) * MIB
STALLED = int(os.environ.get("BENCH_STALLED", "1000"))
# Where `make bench-peers` has put other proxies that sign; the rows about them are left out if it is empty.
PEERS = pathlib.Path(os.environ.get("BENCH_PEERS") or os.devnull)
# Uploads that are looked at, all at the same time.
UPLOADS, INSPECTED = 200, int(os.environ.get("BENCH_INSPECTED_MIB", "64")) * MIB
PROXY_CORE, LOAD_CORE = "0", "1"
TOKEN = "csn_bench-token-that-is-no-secret-at-all-00000000"
KEY_ID, KEY_SECRET = "CSAKBENCHBENCHBENCH0", "bench-secret-of-a-client-0000000000000000"
UNSIGNED = "UNSIGNED-PAYLOAD"
# As clients and stores are reached: h is http, s is https; client side first.
PATHS = ["hh", "sh", "hs", "ss"]


def bearer(*_):
    """The header lines of the token."""
    return f"Authorization: Bearer {TOKEN}\r\n"


def signed(payload, key_id=KEY_ID, secret=KEY_SECRET):
    """Signs with an access key; `payload` is the value of x-amz-content-sha256. One signature is good for 15 minutes of the same request."""

    def lines(method, host, path):
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        scope = f"{now[:8]}/us-east-1/s3/aws4_request"
        headers = {"host": host, "x-amz-content-sha256": payload, "x-amz-date": now}
        names = ";".join(headers)
        canonical = "\n".join([method, path, "", *(f"{name}:{value}" for name, value in headers.items()), "", names, payload])
        text = "\n".join(["AWS4-HMAC-SHA256", now, scope, hashlib.sha256(canonical.encode()).hexdigest()])
        key = b"AWS4" + secret.encode()
        for word in [*scope.split("/"), text]:
            key = hmac.digest(key, word.encode(), "sha256")
        authorization = f"AWS4-HMAC-SHA256 Credential={key_id}/{scope}, SignedHeaders={names}, Signature={key.hex()}"
        return f"Authorization: {authorization}\r\nX-Amz-Content-Sha256: {payload}\r\nX-Amz-Date: {now}\r\n"

    return lines


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Proxy:
    """A proxy that runs; `targets` gives (address, TLS, path prefix) for each of PATHS."""

    def __init__(self, name, command, targets, env=None, log=None):
        self.name, self.targets, self.log, self.credential = name, targets, log, bearer
        clean = {"PATH": os.environ["PATH"], **(env or {})}
        with open(log, "wb") as out:
            self.process = subprocess.Popen(
                ["taskset", "-c", PROXY_CORE, *command], stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=clean
            )
        for address, *_ in targets.values():
            wait_for_port(address, self)

    def pids(self):
        found, new = [], [self.process.pid]
        while new:
            pid = new.pop()
            found.append(pid)
            with contextlib.suppress(FileNotFoundError):
                for task in os.listdir(f"/proc/{pid}/task"):
                    new += map(int, pathlib.Path(f"/proc/{pid}/task/{task}/children").read_text().split())
        return found

    def cpu_seconds(self):
        """What the kernel counted for every thread, in nanoseconds; steal is not in it."""
        total = 0
        for pid in self.pids():
            for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
                with contextlib.suppress(FileNotFoundError):
                    total += int((task / "schedstat").read_text().split()[0])
        return total / 1e9

    def kib(self, file, field):
        total = 0
        for pid in self.pids():
            for line in pathlib.Path(f"/proc/{pid}/{file}").read_text().splitlines():
                if line.startswith(field + ":"):
                    total += int(line.split()[1])
        return total

    def pss_kib(self):
        return self.kib("smaps_rollup", "Pss")

    def peak_kib(self):
        return self.kib("status", "VmHWM")

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def wait_for_port(address, proxy):
    host, port = address.split(":")
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if proxy.process.poll() is not None:
            break
        with contextlib.suppress(OSError), socket.create_connection((host, int(port)), 1):
            return
        time.sleep(0.02)
    sys.exit(f"{proxy.name} does not serve {address}:\n{pathlib.Path(proxy.log).read_text(errors='replace')[-2000:]}")


class Bench:
    def __init__(self, countersign, tool, folder):
        self.countersign, self.tool, self.folder = countersign, tool, pathlib.Path(folder)
        subprocess.run([tool, "certificates", folder], check=True, timeout=60)
        self.peers = Peers(["taskset", "-c", LOAD_CORE, tool, "peers", folder])
        self.upstream = self.peers.answer()
        self.scanner = start_clamd(self.folder) if wanted("I2 ") else None
        self.clamd = self.scanner.targets["tcp"][0] if self.scanner else None
        self.started = itertools.count()

    # proxies

    def start(self, kind):
        number = next(self.started)
        folder = self.folder / f"{number}-{kind}"
        folder.mkdir()
        return getattr(self, "start_" + kind.replace("-", "_"))(folder)

    def start_nginx(self, folder, name="nginx", more=""):
        ports = {path: free_port() for path in PATHS}
        servers = ""
        for path, port in ports.items():
            tls = f"ssl_certificate {self.folder}/server.pem; ssl_certificate_key {self.folder}/server.key; ssl_session_cache shared:{path}:4m;"
            upstream = f"proxy_pass {'https://sealed' if path[1] == 's' else 'http://plain'};"
            servers += f"""server {{
    listen 127.0.0.1:{port}{' ssl' if path[0] == 's' else ''};
    {tls if path[0] == 's' else ''}
    location / {{ {upstream} }}
}}
"""
        config = folder / "nginx.conf"
        config.write_text(f"""daemon off; pid {folder}/pid; worker_processes 1; error_log stderr crit; user root;
worker_rlimit_nofile 65536;
events {{ worker_connections 16384; }}
http {{
access_log off; client_max_body_size 0; keepalive_requests 1000000000; keepalive_timeout 600;
ssl_protocols TLSv1.2 TLSv1.3; proxy_ssl_protocols TLSv1.2 TLSv1.3;
client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
proxy_http_version 1.1; proxy_set_header Connection ""; proxy_request_buffering off; proxy_max_temp_file_size 0;
proxy_read_timeout 600; proxy_send_timeout 600; client_body_timeout 600; send_timeout 600;
{more}
upstream plain {{ server 127.0.0.1:{self.upstream['plain']}; keepalive 1024; keepalive_requests 1000000000; }}
upstream sealed {{ server 127.0.0.1:{self.upstream['sealed']}; keepalive 1024; keepalive_requests 1000000000; }}
{servers}}}
""")
        targets = {path: (f"127.0.0.1:{port}", path[0] == "s", "/bench") for path, port in ports.items()}
        return Proxy(name, ["nginx", "-c", str(config), "-p", str(folder)], targets, log=folder / "log")

    def start_nginx_big(self, folder):
        more = """client_body_buffer_size 256k; proxy_buffer_size 64k; proxy_buffers 8 256k; proxy_busy_buffers_size 512k;"""
        return self.start_nginx(folder, "nginx-big", more)

    def start_hyper(self, folder):
        port = free_port()
        upstream = f"127.0.0.1:{self.upstream['plain']}"
        targets = {"hh": (f"127.0.0.1:{port}", False, "/bench")}
        return Proxy("hyper", [self.tool, "floor", f"127.0.0.1:{port}", upstream], targets, log=folder / "log")

    # other proxies that sign

    def start_envoy(self, folder):
        """Envoy with its filter for signing and unsigned payloads, one worker, without access log, statistics and limits of its own."""
        ports = {path: free_port() for path in PATHS}
        kind = "type.googleapis.com/envoy.extensions"
        certificate = {"certificate_chain": {"filename": f"{self.folder}/server.pem"}, "private_key": {"filename": f"{self.folder}/server.key"}}
        common = {
            "h": None,
            "s": {
                "name": "tls",
                "typed_config": {
                    "@type": f"{kind}.transport_sockets.tls.v3.DownstreamTlsContext",
                    "common_tls_context": {"tls_certificates": [certificate], "alpn_protocols": ["http/1.1"]},
                },
            },
        }
        signing = {
            "@type": f"{kind}.filters.http.aws_request_signing.v3.AwsRequestSigning",
            "service_name": "s3",
            "region": "us-east-1",
            "use_unsigned_payload": True,
            "match_excluded_headers": [{"prefix": "x-envoy"}, {"prefix": "x-forwarded"}, {"exact": "x-request-id"}],
            "credential_provider": {"inline_credential": {"access_key_id": "BENCH-ACCESS-KEY", "secret_access_key": "bench-secret-access-key"}},
        }
        router = {"@type": f"{kind}.filters.http.router.v3.Router", "dynamic_stats": False, "suppress_envoy_headers": True}

        def listener(path, port):
            cluster = "sealed" if path[1] == "s" else "plain"
            route = {"match": {"prefix": "/"}, "route": {"cluster": cluster, "timeout": "0s"}}
            manager = {
                "@type": f"{kind}.filters.network.http_connection_manager.v3.HttpConnectionManager",
                "stat_prefix": path,
                "generate_request_id": False,
                "stream_idle_timeout": "0s",
                "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
                "http_filters": [
                    {"name": "envoy.filters.http.aws_request_signing", "typed_config": signing},
                    {"name": "envoy.filters.http.router", "typed_config": router},
                ],
            }
            chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
            if common[path[0]]:
                chain["transport_socket"] = common[path[0]]
            address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
            return {"name": path, "address": address, "filter_chains": [chain]}

        def cluster(name, more):
            endpoint = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": self.upstream[name]}}}
            endpoints = {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}]}
            most = {"max_connections": 10**9, "max_pending_requests": 10**9, "max_requests": 10**9}
            return {"name": name, "type": "STATIC", "load_assignment": endpoints, "circuit_breakers": {"thresholds": [most]}} | more

        trust = {"trusted_ca": {"filename": f"{self.folder}/ca.pem"}}
        sealed = {
            "name": "tls",
            "typed_config": {
                "@type": f"{kind}.transport_sockets.tls.v3.UpstreamTlsContext",
                "common_tls_context": {"validation_context": trust, "tls_params": {"tls_maximum_protocol_version": "TLSv1_3"}},
            },
        }
        listeners = [listener(path, port) for path, port in ports.items()]
        clusters = [cluster("plain", {}), cluster("sealed", {"transport_socket": sealed})]
        config = folder / "envoy.json"
        config.write_text(json.dumps({"static_resources": {"listeners": listeners, "clusters": clusters}}))
        targets = {path: (f"127.0.0.1:{port}", path[0] == "s", "/bench") for path, port in ports.items()}
        command = [PEERS / "envoy", "--config-path", config, "--concurrency", "1", "--disable-hot-restart", "--log-level", "warn"]
        return Proxy("envoy", list(map(str, command)), targets, log=folder / "log")

    def start_njs(self, folder):
        """nginx that signs in JavaScript, as nginx-s3-gateway does: a variable holds the signature. Downloads only, as it is meant for."""
        port = free_port()
        config = folder / "nginx.conf"
        config.write_text(f"""load_module {PEERS}/ngx_http_js_module.so;
daemon off; pid {folder}/pid; worker_processes 1; error_log stderr crit; user root;
events {{ worker_connections 16384; }}
http {{
access_log off; keepalive_requests 1000000000; keepalive_timeout 600;
client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
proxy_http_version 1.1; proxy_set_header Connection ""; proxy_max_temp_file_size 0; proxy_pass_request_headers off;
js_path {pathlib.Path(__file__).resolve().parent}; js_import sign from sign.js;
js_set $authorization sign.authorization; js_set $date sign.date;
upstream plain {{ server 127.0.0.1:{self.upstream['plain']}; keepalive 1024; keepalive_requests 1000000000; }}
server {{
    listen 127.0.0.1:{port};
    location / {{
        proxy_pass http://plain;
        proxy_set_header Host plain; proxy_set_header X-Amz-Date $date; proxy_set_header X-Amz-Content-Sha256 UNSIGNED-PAYLOAD;
        proxy_set_header Authorization $authorization;
    }}
}}
}}
""")
        targets = {"hh": (f"127.0.0.1:{port}", False, "/bench")}
        return Proxy("njs", ["nginx", "-c", str(config), "-p", str(folder)], targets, log=folder / "log")

    def start_s3s(self, folder):
        """s3s-proxy, whose clients sign with the key that it signs with."""
        port = free_port()
        endpoint = f"http://127.0.0.1:{self.upstream['plain']}"
        env = {
            "AWS_ACCESS_KEY_ID": "BENCH-ACCESS-KEY",
            "AWS_SECRET_ACCESS_KEY": "bench-secret-access-key",
            "AWS_REGION": "us-east-1",
            "TOKIO_WORKER_THREADS": "1",
            "RUST_LOG": "error",
        }
        command = [str(PEERS / "s3s-proxy"), "--host", "127.0.0.1", "--port", str(port), "--endpoint-url", endpoint]
        proxy = Proxy("s3s", command, {"hh": (f"127.0.0.1:{port}", False, "/bench")}, env, folder / "log")
        proxy.credential = signed(UNSIGNED, env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"])
        return proxy

    def start_countersign(self, folder):
        plain, sealed = free_port(), free_port()
        upstreams = buckets = rules = ""
        # The last two are for G6: a checksum, and a SHA-256 of every byte, of uploads that go to http.
        variants = {"h": "payload: unsigned", "s": "checksum: header", "crc": "payload: unsigned, checksum: trailer", "sha": "payload: signed"}
        for name, setting in variants.items():
            scheme, port = ("https", self.upstream["sealed"]) if name == "s" else ("http", self.upstream["plain"])
            ca = f", ca_file: {self.folder}/ca.pem" if name == "s" else ""
            upstreams += f"""  {name}:
    {{ endpoint: "{scheme}://127.0.0.1:{port}", region: us-east-1, max_connections: 4096, {setting}{ca},
      credentials: {{ access_key_id: env:ACCESS, secret_access_key: env:SECRET }} }}
"""
            buckets += f"  {name}-bucket: {{ upstream: {name}, bucket: bench-{name} }}\n"
            rules += f"  - {{ name: read-{name}, who: {{ tokens: [bench], keys: [bench] }}, where: {name}-bucket/team/, what: read }}\n"
            rules += f"  - {{ name: write-{name}, who: {{ tokens: [bench], keys: [bench] }}, where: {name}-bucket/team/, what: [write, delete], limits: {{ max_size: 50GiB }} }}\n"
        config = folder / "countersign.yaml"
        config.write_text(f"""listen:
  - address: 127.0.0.1:{plain}
  - {{ address: "127.0.0.1:{sealed}", tls: {{ certificate: {self.folder}/server.pem, key: {self.folder}/server.key }} }}
admin: {{ address: 127.0.0.1:0 }}
audit: {{ file: {folder}/audit.jsonl }}
limits: {{ timeouts: {{ body_idle: 600s }} }}
upstreams:
{upstreams}buckets:
{buckets}clients:
  tokens:
    - {{ name: other, hash: "sha256:{'ab' * 32}" }}
    - {{ name: bench, hash: env:HASH, attributes: {{ team: [red] }} }}
  access_keys:
    - {{ name: bench, id: {KEY_ID}, secret: env:KEY_SECRET, attributes: {{ team: [red] }} }}
rules:
  - {{ name: no-archive, effect: deny, who: anyone, where: h-bucket/archive/, what: "s3:*" }}
  - {{ name: others, who: {{ tokens: [other] }}, where: h-bucket/, what: [read, write, delete] }}
{rules}""")
        env = {
            "ACCESS": "BENCH-ACCESS-KEY",
            "SECRET": "bench-secret-access-key",
            "HASH": "sha256:" + hashlib.sha256(TOKEN.encode()).hexdigest(),
            "KEY_SECRET": KEY_SECRET,
            "TOKIO_WORKER_THREADS": "1",
        }
        targets = {path: (f"127.0.0.1:{plain if path[0] == 'h' else sealed}", path[0] == "s", f"/{path[1]}-bucket/team") for path in PATHS}
        for name in ("crc", "sha"):
            targets[name] = (f"127.0.0.1:{plain}", False, f"/{name}-bucket/team")
        command = [self.countersign, "serve", "--config", str(config)]
        return Proxy("countersign", command, targets, env, folder / "log")

    def start_inspecting(self, folder):
        """A gateway before the plain upstream, with a bucket for each way to be looked at."""
        port = free_port()
        stand_in = f"tcp://127.0.0.1:{self.upstream['scanner']}"
        # Many looks at a time, for the row about memory.
        load = "max_scans: 1000, principal_share: 100, timeout: 600s"
        inspectors = {
            "patterns": "patterns: { sets: [eicar] }",
            "all-patterns": "patterns: { sets: [eicar, private-keys, access-keys, card-numbers] }",
            "stand-in": f'clamd: {{ addresses: "{stand_in}", probe: none, max_size: 4GiB }}',
        }
        if self.clamd:
            inspectors["clamd"] = f'clamd: {{ addresses: "tcp://{self.clamd}", probe: none }}'
        listed = "".join(f"  {name}: {{ {what}, {load} }}\n" for name, what in inspectors.items())
        both = "patterns-and-stand-in"
        names = {"plain": "", **{name: f"inspect: {{ with: {name} }}" for name in inspectors}, both: "inspect: { with: [patterns, stand-in] }"}
        rules = "".join(
            f"  - {{ name: {name}, who: {{ tokens: [bench] }}, where: bkt/{name}/, what: write, limits: {{ max_size: 50GiB }}{', ' if more else ''}{more} }}\n"
            for name, more in names.items()
        )
        config = folder / "countersign.yaml"
        config.write_text(f"""listen: [{{ address: "127.0.0.1:{port}" }}]
admin: {{ address: 127.0.0.1:0 }}
audit: {{ file: {folder}/audit.jsonl }}
limits: {{ timeouts: {{ body_idle: 600s }} }}
inspectors:
{listed}upstreams:
  h:
    {{ endpoint: "http://127.0.0.1:{self.upstream['plain']}", region: us-east-1, max_connections: 4096, principal_share: 100, payload: unsigned,
      credentials: {{ access_key_id: env:ACCESS, secret_access_key: env:SECRET }} }}
buckets: {{ bkt: {{ upstream: h, bucket: bench-h }} }}
clients: {{ tokens: [{{ name: bench, hash: env:HASH }}] }}
rules:
{rules}""")
        env = {
            "ACCESS": "BENCH-ACCESS-KEY",
            "SECRET": "bench-secret-access-key",
            "HASH": "sha256:" + hashlib.sha256(TOKEN.encode()).hexdigest(),
            "TOKIO_WORKER_THREADS": "1",
        }
        targets = {name: (f"127.0.0.1:{port}", False, f"/bkt/{name}") for name in names}
        return Proxy("inspecting", [self.countersign, "serve", "--config", str(config)], targets, env, folder / "log")

    def direct(self):
        """The upstream itself, for latencies."""
        address = {"h": f"127.0.0.1:{self.upstream['plain']}", "s": f"127.0.0.1:{self.upstream['sealed']}"}
        return {path: (address[path[1]], path[1] == "s", "/bench") for path in PATHS}

    # loads

    def tell(self, target, kind, method, size, last=None, connections=1, credential=bearer, **options):
        """Tells the peers what to do, and waits until they are ready to do it."""
        address, tls, prefix = target
        path = f"{prefix}/{last or size}"
        options |= {
            "kind": kind,
            "address": address,
            "tls": {False: "no", True: "resumed"}.get(tls, tls),
            "method": method,
            "path": path,
            "size": size,
            "credential": credential(method, address, path).encode().hex(),
            "connections": connections,
        }
        self.peers.tell(" ".join(f"{name}={value}" for name, value in options.items()))
        self.peers.wait_until_ready()

    def run(self, target, *arguments, proxy=None, **options):
        """Runs one load. Gives what it came to, and the CPU seconds of the proxy during it."""
        if proxy:
            options.setdefault("credential", proxy.credential)
        self.tell(target, *arguments, **options)
        before = proxy.cpu_seconds() if proxy else 0
        self.peers.tell("go")
        outcome = self.peers.answer()
        return outcome, (proxy.cpu_seconds() if proxy else 0) - before

    def counts(self):
        """Requests, signed ones, checked signatures, wrong ones, that the upstream has seen."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.upstream['plain']}/-/counts", timeout=10) as answer:
            return json.loads(answer.headers["x-counts"])

    def close(self):
        self.peers.close()
        if self.scanner:
            self.scanner.stop()


def start_clamd(folder):
    """A real clamd that knows one signature, on the core of the proxies: what a scan takes is measured there, with and without a gateway."""
    folder = folder / "clamd"
    (folder / "db").mkdir(parents=True)
    (folder / "db/local.ndb").write_text("Local.Marker:0:*:" + b"COUNTERSIGN-BENCH-MARKER".hex() + "\n")
    port = free_port()
    config = folder / "clamd.conf"
    config.write_text(f"""DatabaseDirectory {folder}/db
TCPSocket {port}
TCPAddr 127.0.0.1
TemporaryDirectory {folder}
Foreground yes
SelfCheck 0
AlertExceedsMax yes
""")
    address = f"127.0.0.1:{port}"
    return Proxy("clamd", ["clamd", f"--config-file={config}"], {"tcp": (address,)}, log=folder / "log")


class Peers:
    """The process that is both the clients and the store."""

    def __init__(self, command):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def tell(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def line(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit("the load broke off")
        return line

    def answer(self):
        return json.loads(self.line())

    def wait_until_ready(self):
        line = self.line()
        if line != "ready\n":
            sys.exit(f"the load is not ready, but says {line}")

    def close(self):
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


# What is measured. Each row: name, unit, proxies, function of (bench, proxy) → number.


def cpu_small(path, method, size):
    def measure(bench, proxy):
        outcome, cpu = bench.run(proxy.targets[path], "many", method, size, proxy=proxy, connections=32, seconds=SECONDS)
        RATES.setdefault((proxy.name, f"{method} {path}"), []).append(outcome["requests"] / outcome["seconds"])
        return cpu / outcome["requests"] * 1e6

    return measure


def cpu_bulk(path, method):
    def measure(bench, proxy):
        _, cpu = bench.run(proxy.targets[path], "counted", method, BULK, proxy=proxy, requests=1)
        return cpu / BULK * GIB

    return measure


def cpu_handshake(tls, beginning):
    def measure(bench, proxy):
        address, _, prefix = proxy.targets["sh"]
        load = (address, tls, prefix), "connections", "GET", 1024
        outcome, cpu = bench.run(*load, proxy=proxy, connections=4, seconds=SECONDS / 2)
        if outcome["beginning"] != beginning:
            sys.exit(f"{proxy.name}: a connection began with {outcome['beginning']}, not {beginning}")
        return cpu / outcome["requests"] * 1e6

    return measure


def latency(path, method, size):
    def measure(bench, proxy):
        direct, _ = bench.run(bench.direct()[path], "lone", method, size, seconds=SECONDS / 2)
        through, _ = bench.run(proxy.targets[path], "lone", method, size, seconds=SECONDS / 2)
        P99.setdefault((proxy.name, f"{method} {path}"), []).append(through["p99"] - direct["p99"])
        return through["p50"] - direct["p50"]

    return measure


def verification_small(path, method, size):
    """What a signed request costs more than one with a token."""

    def measure(bench, proxy):
        costs = []
        for credential in (bearer, signed(UNSIGNED)):
            load = proxy.targets[path], "many", method, size
            outcome, cpu = bench.run(*load, proxy=proxy, credential=credential, connections=32, seconds=SECONDS)
            costs.append(cpu / outcome["requests"] * 1e6)
        return costs[1] - costs[0]

    return measure


def verification_bulk(path):
    """What an upload costs more if its SHA-256 is signed, instead of that it is not."""
    digest = hashlib.sha256(b"\x5a" * BULK).hexdigest()

    def measure(bench, proxy):
        costs = []
        for payload in (UNSIGNED, digest):
            load = proxy.targets[path], "counted", "PUT", BULK
            _, cpu = bench.run(*load, proxy=proxy, credential=signed(payload), requests=1)
            costs.append(cpu / BULK * GIB)
        return costs[1] - costs[0]

    return measure


def inspected_bulk(what):
    """What an upload that is looked at costs more than one that is not."""

    def measure(bench, proxy):
        costs = []
        for name in ("plain", what):
            _, cpu = bench.run(proxy.targets[name], "counted", "PUT", BULK, proxy=proxy, requests=1)
            costs.append(cpu / BULK * GIB)
        return costs[1] - costs[0]

    return measure


def inspected_latency(what, scanner):
    """What a small upload that is looked at takes longer than one that is not; without what the scanner takes, if there is one."""

    def measure(bench, proxy):
        through = {}
        for name in ("plain", what):
            outcome, _ = bench.run(proxy.targets[name], "lone", "PUT", 4096, seconds=SECONDS / 2)
            through[name] = outcome["p50"]
        scan = 0
        if scanner:
            outcome, _ = bench.run((scanner(bench), False, "/"), "scans", "PUT", 4096, seconds=SECONDS / 2)
            scan = outcome["p50"]
            SCANS.append(scan)
        return through[what] - through["plain"] - scan

    return measure


RATES, P99, SCANS = {}, {}, []
BOTH = ["nginx", "countersign"]
INSPECTING = ["inspecting"]
BIG, FLOOR, ALL = ["nginx-big", *BOTH], ["hyper", *BOTH], ["nginx-big", "hyper", *BOTH]
# Those that are there, of all that sign.
SIGNING = [kind for kind, file in (("envoy", "envoy"), ("njs", "ngx_http_js_module.so"), ("s3s", "s3s-proxy")) if (PEERS / file).exists()]
ENVOY = [kind for kind in SIGNING if kind == "envoy"]
SMALL = [("GET", 1024), ("PUT", 4096)]
NAMES = {"hh": "http → http", "sh": "https → http", "hs": "http → https", "ss": "https → https"}


def rows():
    for path in ("hh", "ss"):
        for method, size in SMALL:
            goal = "G1" if path == "hh" else "G2"
            yield f"{goal} CPU of a small {method}, {NAMES[path]}", "µs", FLOOR if path == "hh" else BOTH, cpu_small(path, method, size)
    for method, size in SMALL if SIGNING else []:
        others = [kind for kind in SIGNING if kind != "njs" or method == "GET"]
        yield f"G3 CPU of a small {method}, http → http, beside others that sign", "µs", [*others, *BOTH], cpu_small("hh", method, size)
    for path in PATHS:
        for method in ("GET", "PUT"):
            goal = {"hh": "G4", "ss": "G5"}.get(path, "–")
            proxies = ENVOY + {"hh": ALL, "ss": BIG}.get(path, BOTH)
            yield f"{goal} CPU per GiB, {method}, {NAMES[path]}", "s", proxies, cpu_bulk(path, method)
    for name, what in (("crc", "CRC-64/NVME trailer"), ("sha", "signed chunks (SHA-256)")):
        yield f"G6 CPU per GiB, PUT, http → http, {what}", "s", ["countersign"], cpu_bulk(name, "PUT")
    for path in ("hh", "ss"):
        for method, size in SMALL:
            what = f"V1 CPU of a small {method} that the client signs, over that with a token, {NAMES[path]}"
            yield what, "µs", ["countersign"], verification_small(path, method, size)
    yield "V2 CPU per GiB, PUT, http → http, SHA-256 signed by the client, over unsigned", "s", ["countersign"], verification_bulk("hh")
    for path in ("hh", "ss"):
        for method, size in SMALL:
            yield f"G9 added p50 of a lone {method}, {NAMES[path]}", "µs", FLOOR if path == "hh" else BOTH, latency(path, method, size)
    # Each with the same version and kind of handshake, or it is not the same work: TLS 1.2 resumes without a key exchange.
    for what, tls, beginning in (
        ("TLS 1.3, resumed", "resumed", "TLSv1_3 Resumed"),
        ("TLS 1.3, whole handshake", "fresh", "TLSv1_3 Full"),
        ("TLS 1.2, resumed", "1.2", "TLSv1_2 Resumed"),
    ):
        yield f"G10 CPU of a new connection and a GET, {what}", "µs", BOTH, cpu_handshake(tls, beginning)


    for what, told in (("patterns", "patterns, `eicar`"), ("all-patterns", "patterns, all sets"), ("stand-in", "sent to a scanner that does nothing")):
        yield f"I1 CPU per GiB, PUT, http → http, {told}, over one that nobody looks at", "s", INSPECTING, inspected_bulk(what)
    yield "I2 added p50 of a lone PUT of 4 KiB, patterns, `eicar`", "µs", INSPECTING, inspected_latency("patterns", None)
    clamd = lambda bench: bench.clamd
    yield "I2 added p50 of a lone PUT of 4 KiB, clamd, without what clamd takes", "µs", INSPECTING, inspected_latency("clamd", clamd)


def wanted(name):
    return not ONLY or any(word in name for word in ONLY)


def measure_rounds(bench):
    chosen = [row for row in rows() if wanted(row[0])]
    proxies = {kind: bench.start(kind) for kind in dict.fromkeys(kind for row in chosen for kind in row[2])}
    found = {name: {kind: [] for kind in kinds} for name, _, kinds, _ in chosen}
    try:
        for number in range(ROUNDS):
            for name, _, kinds, measure in random.sample(chosen, len(chosen)):
                for kind in random.sample(kinds, len(kinds)):
                    before = bench.counts()
                    found[name][kind].append(measure(bench, proxies[kind]))
                    check_signed(bench, kind, before, name)
            print(f"round {number + 1} of {ROUNDS} done", file=sys.stderr)
    finally:
        for proxy in proxies.values():
            proxy.stop()
    return [(name, unit, found[name]) for name, unit, _, _ in chosen]


def check_signed(bench, kind, before, name):
    requests, signed, _, wrong = (after - earlier for after, earlier in zip(bench.counts(), before))
    direct = "added" in name
    signs = kind in ("countersign", "inspecting", *SIGNING)
    if wrong or (signs and not direct and signed < requests) or (not signs and signed):
        sys.exit(f"{kind}, {name}: {requests} requests, {signed} signed, {wrong} wrongly")


STALLS = [
    ("upload, store takes nothing", "upstream", "PUT", "stall"),
    ("upload, client stops after 64 KiB", "sender", "PUT", None),
    ("download, client reads only the head", "reader", "GET", None),
]


def measure_memory(bench):
    for path in ("hh", "ss"):
        for what, stall, method, last in STALLS:
            name = f"G7 memory of a stalled {what}, {NAMES[path]}"
            if wanted(name):
                yield name, "KiB", {kind: [stalled_kib(bench, kind, path, stall, method, last)] for kind in BOTH}
    if wanted("G8 memory"):
        yield "G8 memory idle", "MiB", {kind: [idle_mib(bench, kind)] for kind in BOTH}
        yield "G8 growth of the peak over a 5 GiB upload, http → http", "MiB", {kind: [growth_mib(bench, kind, "hh")] for kind in BOTH}
        yield "G8 growth of the peak over a 5 GiB upload, https → https", "MiB", {kind: [growth_mib(bench, kind, "ss")] for kind in BOTH}


    if wanted("I4 memory"):
        name = f"I4 peak of memory, {UPLOADS} uploads of {INSPECTED // MIB} MiB at a time, patterns and a scanner, http → http"
        yield name, "MiB", {"inspecting": [inspected_peak_mib(bench)]}


def inspected_peak_mib(bench):
    proxy = bench.start("inspecting")
    try:
        bench.run(proxy.targets["patterns-and-stand-in"], "counted", "PUT", INSPECTED, connections=UPLOADS, requests=1)
        return proxy.peak_kib() / 1024
    finally:
        proxy.stop()


def stalled_kib(bench, kind, path, stall, method, last):
    """KiB for each transfer, between a fifth of them and all."""
    proxy = bench.start(kind)
    try:
        bench.tell(proxy.targets[path], "stalled", method, GIB, last, connections=STALLED, stall=stall)
        few = settled_kib(proxy)
        bench.peers.tell("go")
        bench.peers.wait_until_ready()
        all_of_them = settled_kib(proxy)
        bench.peers.tell("go")
        bench.peers.answer()
        return (all_of_them - few) / (STALLED - STALLED // 5)
    finally:
        proxy.stop()


def settled_kib(proxy):
    """What the proxy holds when it no longer takes more."""
    last, now = -1, proxy.pss_kib()
    while now > last * 1.01:
        time.sleep(0.7)
        last, now = now, proxy.pss_kib()
    return now


def idle_mib(bench, kind):
    proxy = bench.start(kind)
    try:
        bench.run(proxy.targets["hh"], "counted", "GET", 1024, requests=1)
        return proxy.pss_kib() / 1024
    finally:
        proxy.stop()


def growth_mib(bench, kind, path):
    proxy = bench.start(kind)
    try:
        bench.run(proxy.targets[path], "counted", "PUT", 1024, requests=10)
        before = proxy.peak_kib()
        bench.run(proxy.targets[path], "counted", "PUT", 5 * GIB, requests=1)
        return (proxy.peak_kib() - before) / 1024
    finally:
        proxy.stop()


# The report.


def number(value):
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def ratio(ours, theirs):
    ratios = [a / b for a, b in zip(ours, theirs) if b > 0]
    if not ratios:
        return "–"
    middle = f"{statistics.median(ratios):.2f}×"
    return middle if len(ratios) == 1 else f"{middle} ({min(ratios):.2f}–{max(ratios):.2f})"


def report(measured):
    lines = ["| what | nginx | nginx-big | hyper | countersign | of nginx (min–max) | of nginx-big | of hyper |", "|---|---|---|---|---|---|---|---|"]
    for name, unit, of in measured:
        cell = lambda kind: f"{number(statistics.median(of[kind]))} {unit}" if kind in of else ""
        against = lambda kind: ratio(of["countersign"], of[kind]) if kind in of else ""
        cells = [cell(kind) for kind in ("nginx", "nginx-big", "hyper")] + [cell("countersign") or cell("inspecting")]
        cells += [against(kind) for kind in ("nginx", "nginx-big", "hyper")]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    if any(kind in of for _, _, of in measured for kind in SIGNING):
        lines += ["", "| what | proxy | it | countersign | of it (min–max) | it of nginx |", "|---|---|---|---|---|---|"]
        for name, unit, of in measured:
            for kind in (kind for kind in SIGNING if kind in of):
                cells = [f"{number(statistics.median(of[kind]))} {unit}", f"{number(statistics.median(of['countersign']))} {unit}"]
                cells += [ratio(of["countersign"], of[kind]), ratio(of[kind], of["nginx"])]
                lines.append(f"| {name} | {kind} | {' | '.join(cells)} |")
    for title, table, unit in (("requests per second, 32 connections", RATES, ""), ("added p99 of a lone", P99, " µs")):
        for what in dict.fromkeys(what for _, what in table):
            ours, theirs = table[("countersign", what)], table[("nginx", what)]
            method, path = what.split()
            cells = [f"{number(statistics.median(values))}{unit}" for values in (theirs, ours)]
            lines.append(f"| {title} {method}, {NAMES[path]} | {cells[0]} | | | {cells[1]} | {ratio(ours, theirs)} | | |")
    text = "\n".join(lines) + "\n"
    if SCANS:
        text += f"\nA scan of 4 KiB by clamd takes {number(statistics.median(SCANS))} µs by itself (p50).\n"
    return text


def beside_libraries(tool):
    """The inspectors of the gateway's own process beside the libraries they are made of, in GiB per second of CPU."""
    command = ["taskset", "-c", PROXY_CORE, tool, "inspect", str(ROUNDS), str(min(BULK // MIB, 64))]
    run = {"check": True, "capture_output": True, "text": True, "timeout": 1200}
    measured = "".join(subprocess.run([*command, kib], **run).stdout for kib in ("64", "256"))
    lines = ["", "| GiB per CPU-second | the library alone | countersign | of the library (min–max) |", "|---|---|---|---|"]
    for row in map(json.loads, measured.splitlines()):
        ours, library = (number(statistics.median(row[whose])) for whose in ("ours", "library"))
        lines.append(f"| I3 {row['name']} | {library} | {ours} | {ratio(row['ours'], row['library'])} |")
    return "\n".join(lines) + "\n"


def machine():
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "unknown CPU")
    nginx = subprocess.run(["nginx", "-v"], capture_output=True, text=True).stderr.split("/")[-1].strip()
    return (
        f"{time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime())}; {cpu}, {os.cpu_count()} cores, Linux {os.uname().release}, nginx {nginx}; "
        f"{ROUNDS} rounds, {SECONDS:g} s, {BULK // MIB} MiB, {STALLED} stalled; load average {os.getloadavg()[0]:.1f} at the start\n\n"
    )


def main():
    countersign, tool, output = sys.argv[1:]
    head = machine()
    with tempfile.TemporaryDirectory(prefix="countersign-bench-") as folder:
        bench = Bench(os.path.abspath(countersign), os.path.abspath(tool), folder)
        try:
            measured = [*measure_rounds(bench), *measure_memory(bench)]
        finally:
            bench.close()
    text = head + report(measured)
    if wanted("I3 "):
        text += beside_libraries(tool)
    pathlib.Path(output).write_text(text)
    print(text)


if __name__ == "__main__":
    main()
