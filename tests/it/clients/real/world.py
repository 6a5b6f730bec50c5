"""What the programs of real clients share: where the gateway is, what to send, and how to report what came out.

Everything comes from the environment, which tests/it/real_clients fills: S3_ENDPOINT, S3_BUCKET, S3_PREFIX (ends with a slash),
S3_FORBIDDEN (a key that no rule allows), S3_CA (a PEM file, or empty in clear text), TOOLS (what tests/tools/install.sh made), and
AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION as every client reads them. The working directory is empty and belongs to
the program. The last line of the output is a JSON object: client, version, and for each step `ok` or what went wrong.
"""

import json
import os
import pathlib
import subprocess
import sys
import time
import traceback
import urllib.error
import urllib.parse
import urllib.request
import ssl

ENDPOINT = os.environ["S3_ENDPOINT"]
HOST = urllib.parse.urlsplit(ENDPOINT).netloc
TLS = ENDPOINT.startswith("https:")
BUCKET = os.environ["S3_BUCKET"]
PREFIX = os.environ["S3_PREFIX"]
FORBIDDEN = os.environ["S3_FORBIDDEN"]
CA = os.environ.get("S3_CA") or None
KEY_ID = os.environ["AWS_ACCESS_KEY_ID"]
SECRET = os.environ["AWS_SECRET_ACCESS_KEY"]
REGION = os.environ["AWS_REGION"]
TOOLS = pathlib.Path(os.environ["TOOLS"])

# Each is written differently in paths, queries and signatures by some client. No `*` and `?`: patterns to most programs.
ODD = ["with blank", "+plus+", "100%", "%2F", "~!'()", "@:$,;=&", "ü/日本", "deep/a/b/c/d/e/f", "h#f", "[x]{y}"]
# Parts of 5 MiB, the smallest that S3 takes, and one byte more: five of them.
LARGE_BYTES = (20 << 20) + 1
# No client may leave its user waiting longer for a refusal.
PATIENCE_SECS = 20

SMALL = os.urandom(70_001)


def large():
    """Bytes for an upload in parts."""
    return os.urandom(LARGE_BYTES)


def file_with(content, name="content.bin"):
    path = pathlib.Path(name)
    path.write_bytes(content)
    return str(path)


class Client:
    """The report about one client. A step is a function that raises if something came out wrong."""

    def __init__(self, name, version):
        self.report = {"client": name, "version": version, "steps": {}}

    def step(self, name):
        def run(work):
            begun = time.monotonic()
            try:
                work()
                self.report["steps"][name] = "ok"
            except BaseException as error:
                traceback.print_exc()
                self.report["steps"][name] = f"{type(error).__name__}: {error}"[:1000]
            print(f"{self.report['client']} {name} {time.monotonic() - begun:.1f} s", file=sys.stderr)
            return work

        return run

    def refused(self, work):
        """The step `refusal`: work must fail soon, and with words that tell why."""

        def run():
            begun = time.monotonic()
            try:
                work()
            except Exception as error:
                told = f"{error} {getattr(error, '__cause__', '')}"
            else:
                raise AssertionError("nothing was refused")
            took = time.monotonic() - begun
            self.report["told"] = told[:1000]
            # The answer to a HEAD has no body, and no code in it: all that a client knows is the status.
            words = told.lower().replace(" ", "")
            assert "accessdenied" in words or "forbidden" in words, f"the user is told: {told}"
            assert took < PATIENCE_SECS, f"the user waits {took:.0f} s for: {told}"

        self.step("refusal")(run)

    def finish(self):
        print(json.dumps(self.report))


def same(got, wanted, what=""):
    """Byte for byte; the message shows lengths, not megabytes."""
    got = bytes(got)
    if got != wanted:
        where = next((i for i, (a, b) in enumerate(zip(got, wanted)) if a != b), min(len(got), len(wanted)))
        raise AssertionError(f"{what}: {len(got)} bytes instead of {len(wanted)}, different from {where}")


def equal(got, wanted):
    if got != wanted:
        raise AssertionError(f"{got!r} instead of {wanted!r}")


def gone(work):
    """After a delete, reading must fail."""
    try:
        work()
    except Exception:
        return
    raise AssertionError("what was deleted can still be read")


def http(method, url, body=None, headers=None):
    """A plain request, for presigned URLs; gives the body, or raises with status and body."""
    context = ssl.create_default_context(cafile=CA) if TLS else None
    request = urllib.request.Request(url, data=body, method=method, headers=headers or {})
    # urllib adds a Content-Type to requests with a body, which a presigned URL may not cover.
    if body is not None and not request.has_header("Content-type"):
        request.add_header("Content-Type", "application/octet-stream")
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), *([urllib.request.HTTPSHandler(context=context)] if TLS else [])
    )
    try:
        return opener.open(request, timeout=60).read()
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{method} {url}: {error.code} {error.read().decode(errors='replace')}") from None


def run(*command, stdin=None, text=True):
    """Runs a program to its end; gives its output, raises with what it told if it failed."""
    done = subprocess.run([str(part) for part in command], input=stdin, capture_output=True, timeout=150)
    if done.returncode != 0:
        told = (done.stdout + done.stderr).decode(errors="replace")
        raise AssertionError(f"{pathlib.Path(str(command[0])).name} exits with {done.returncode}: {told[-1500:]}")
    return done.stdout.decode() if text else done.stdout


def version_of(package):
    import importlib.metadata

    return importlib.metadata.version(package)
