"""Checks deploy/compose without a container engine: the schema of compose files, a linter for their safety, and the stack itself.

The three services run here with the commands, configurations, secrets and names of the file, on a network of their own (`compose.py inside`, under
unshare), and the commands of deploy/README.md are done. What is not tried are the foreign images; the health check of each is named.
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy/compose"
BIN = pathlib.Path(sys.executable).parent
TOOLS = pathlib.Path(os.environ["COUNTERSIGN_TOOLS"])
BINARY = os.environ["COUNTERSIGN"]
compose = yaml.safe_load((FOLDER / "compose.yaml").read_text())


def run(*command, **more):
    done = subprocess.run(command, capture_output=True, text=True, **more)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def environment(folder, name):
    return dict(line.split("=", 1) for line in (folder / name).read_text().splitlines())


def wait(what, holds):
    for _ in range(300):
        if holds():
            return
        time.sleep(0.1)
    sys.exit(f"did not happen within 30 s: {what}")


def status(url):
    try:
        return urllib.request.urlopen(url, timeout=2).status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


def inside(folder):
    """The stack, in namespaces of its own: loopback alone, and a hosts file in which the services have their names."""
    run("ip", "link", "set", "lo", "up")
    hosts = folder / "hosts"
    hosts.write_text("127.0.0.1 localhost gateway store scanner\n")
    run("mount", "--bind", hosts, "/etc/hosts")
    etc = folder / "etc"
    services = compose["services"]
    made = run(folder / "compose/secrets.sh", env={**os.environ, "COUNTERSIGN": BINARY})
    token = re.fullmatch(r"export TOKEN=(csn_\S+)\n", made)[1]
    started = []

    def start(name, *command, **env):
        log = (folder / f"{name}.log").open("w")
        started.append(subprocess.Popen([str(word) for word in command], env={"PATH": os.environ["PATH"], **env}, stdout=log, stderr=log))

    try:
        data = folder / "data"
        data.mkdir()
        command = [word.replace("/data", str(data)) for word in services["store"]["command"]]
        start("store", TOOLS / "venv/bin/weed", *command, **environment(folder / "compose", "store.env"))
        check = services["store"]["healthcheck"]["test"]
        wait("the store is healthy", lambda: status(check[-1]) == 200)
        wait("the store has the bucket", lambda: status("http://store:8333/corp-team-data") == 403)
        database = folder / "signatures"
        database.mkdir()
        eicar = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
        (database / "local.ndb").write_text(f"Local.Eicar:0:*:{eicar.hex()}\n")
        database.chmod(0o755)
        conf = (folder / "compose/clamd.conf").read_text().replace("/var/lib/clamav", str(database)).replace("/tmp/clamd.sock", str(folder / "clamd.sock"))
        (folder / "clamd.conf").write_text(conf + "User root\n")
        start("scanner", "/usr/sbin/clamd", "-c", folder / "clamd.conf")
        # In place of the image's own folders.
        etc.mkdir()
        config = (folder / "compose/config/countersign.yaml").read_text().replace("/var/log/countersign", str(folder))
        (etc / "countersign.yaml").write_text(config)
        start("gateway", BINARY, "serve", "--config", etc / "countersign.yaml", **environment(folder / "compose", "secrets.env"))
        done = subprocess.run([BINARY, "health", "--wait", "40"], capture_output=True, text=True)
        assert done.returncode == 0, f"{done.stdout}{done.stderr}\n{(folder / 'gateway.log').read_text()}"
        readme = (ROOT / "deploy/README.md").read_text()
        section = readme.split("\n## With compose\n")[1].split("\n## ")[0]
        commands = re.findall(r"^```sh\n(.*?)^```", section, re.MULTILINE | re.DOTALL)[1]
        assert len(commands.strip().splitlines()) >= 5
        out = run("bash", "-euc", commands, cwd=ROOT, env={**os.environ, "TOKEN": token})
        assert "# countersign" in out and "<Code>ContentRejected</Code>" in out and out.count("<Code>AccessDenied</Code>") == 1, out
        # Records are written together: this one within a tenth of a second, as a rule.
        deadline = time.monotonic() + 20
        while "Local.Eicar" not in (record := (folder / "audit.jsonl").read_text()):
            assert time.monotonic() < deadline, record
            time.sleep(0.05)
        print("the stack: stored, read, a virus refused, another prefix refused")
    finally:
        for process in reversed(started):
            process.terminate()
        for process in started:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


if sys.argv[1:2] == ["inside"]:
    inside(pathlib.Path(sys.argv[2]))
    sys.exit()
run(BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", FOLDER / "compose.yaml")
print("compose.yaml: fits the schema of compose files")
done = subprocess.run([BIN / "compose-lint", "--fail-on", "high", FOLDER / "compose.yaml"], capture_output=True, text=True)
print(done.stdout[-2000:])
if done.returncode:
    sys.exit(f"compose-lint: {done.returncode}\n{done.stderr}")
gateway = compose["services"]["gateway"]
assert gateway["read_only"] and gateway["user"] == "65532:65532" and gateway["cap_drop"] == ["ALL"]
assert "ports" not in compose["services"]["store"] and compose["services"]["store"]["networks"] == ["back"] and compose["networks"]["back"] == {"internal": True}
with tempfile.TemporaryDirectory() as folder:
    shutil.copytree(FOLDER, pathlib.Path(folder) / "compose")
    print(run("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", sys.executable, __file__, "inside", folder), end="")
