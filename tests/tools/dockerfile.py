"""Checks deploy/docker/Dockerfile without a container engine. Prints what it did.

Linted by hadolint. Then its steps are done here, in a folder in place of `/`: COPY with .dockerignore, and every RUN but the one that compiles.
Of that one the context is shown to be complete (cargo resolves the package with its features and finds every source), and the program
that stands for its result is the one given. The image that comes out is entered with chroot, as its user, read-only, and serves.
"""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "deploy/docker/Dockerfile"
BINARY = pathlib.Path(os.environ.get("COUNTERSIGN", ROOT / "target/debug/countersign"))
COMPILES = 'cargo build --release --locked --bin countersign --features "${FEATURES}"'


def instructions():
    text = re.sub(r"^\s*#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE).replace("\\\n", "")
    return [line.split(None, 1) for line in text.splitlines() if line.strip()]


def run(*command, **more):
    done = subprocess.run(command, capture_output=True, text=True, **more)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def build(folder):
    """Does the steps of the first stage; gives the root of the image and what the last stage says."""
    context, last = folder / "src", {}
    context.mkdir()
    copied = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for word, rest in instructions():
        if word == "FROM" and rest == "scratch":
            last["FROM"] = rest
        elif last:
            last.setdefault(word, []).append(rest)
        elif word == "COPY":
            *sources, target = rest.split()
            for source in sources:
                assert source in copied, f".dockerignore keeps {source} out"
                place = context / target / source if target == "./" else context / target
                (shutil.copytree if (ROOT / source).is_dir() else shutil.copy)(ROOT / source, place)
        elif word == "RUN" and rest.strip() == COMPILES:
            features = next(rest.split("=")[1] for word, rest in instructions() if word == "ARG" and rest.startswith("FEATURES"))
            found = run("cargo", "metadata", "--locked", "--offline", "--no-deps", "--format-version", "1", cwd=context)
            package = json.loads(found)["packages"][0]
            assert set(features.split(",")) <= set(package["features"]), features
            wanted = [target["src_path"] for target in package["targets"] if set(target["kind"]) & {"bin", "lib"}]
            assert all(pathlib.Path(path).exists() for path in wanted), wanted
            for path in context.glob("src/**/*.rs"):
                for name in re.findall(r'include_(?:str|bytes)!\("([^"]+)"\)', path.read_text()) if not path.stem.endswith("tests") else []:
                    assert (path.parent / name).exists(), f"{path} needs {name}, which is not copied"
            target = context / "target/release"
            target.mkdir(parents=True)
            shutil.copy(BINARY, target / "countersign")
            print(f"not compiled: {COMPILES}")
        elif word == "RUN":
            run("/bin/bash", "-euo", "pipefail", "-c", rest.replace("/out", f"{folder}/out"), cwd=context)
            print(f"run: {rest.split('&&')[0].strip()} …")
    return folder / "out", last


def look_at(image, last):
    files = sorted(str(path.relative_to(image)) for path in image.rglob("*") if path.is_file())
    allowed = re.compile(r"usr/local/bin/countersign|lib(64)?/.*(ld-linux-.*|lib(c|m|gcc_s))\.so.*|etc/ssl/certs/ca-certificates\.crt|etc/(passwd|group)")
    surplus = [name for name in files if not allowed.fullmatch(name)]
    assert not surplus, f"in the image, and not needed: {surplus}"
    print(f"image: {len(files)} files: {', '.join(files)}")
    assert last["USER"] == ["65532:65532"] and "HEALTHCHECK" in last and len(last["LABEL"]) == 1
    labels = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="([^"]*)"', last["LABEL"][0]))
    assert set(labels) == {"title", "description", "licenses", "version", "revision"}, labels
    version = re.search(r'^version = "(.+)"', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)[1]
    assert f"VERSION={version}" in last["ARG"], "the version of the image is not that of the program"


def serve(image, last):
    """Starts what the image starts, and asks it what its health check asks."""
    config = "listen: [{ address: 127.0.0.1:0 }]\nadmin: { address: 127.0.0.1:0 }\nupstreams: { store: { endpoint: 'http://127.0.0.1:1', region: r, credentials: { access_key_id: env:ID, secret_access_key: env:SECRET } } }\nbuckets: { bkt: {} }\nclients: { tokens: [{ name: ci, hash: env:HASH }] }\nrules: [{ name: all, who: anyone, where: bkt, what: read }]\naudit: { file: /var/log/countersign/audit.jsonl }\n"
    (image / "etc/countersign/countersign.yaml").write_text(config)
    entry, arguments, check = (json.loads(re.search(r"\[.*\]", last[word][0])[0]) for word in ("ENTRYPOINT", "CMD", "HEALTHCHECK"))
    environment = {"ID": "GATEWAYSKEYID", "SECRET": "kQ7zP2vW9xLmN4tR8sYbC1dF6gHjK3aE", "HASH": "sha256:" + "7" * 64}
    # Its own mounts: everything read-only but the folder for audit records.
    inside = (
        'mount --bind "$0" "$0" && mount --bind "$0/var/log/countersign" "$0/var/log/countersign" && mount -o remount,bind,ro "$0"'
        ' && exec chroot --userspec=65532:65532 --groups= "$0" "$@"'
    )
    process = subprocess.Popen(["unshare", "--mount", "/bin/bash", "-c", inside, image, *entry, *arguments], env={**os.environ, **environment}, stderr=subprocess.PIPE, text=True)
    try:
        log = []
        while '"admin listener"' not in (log or [""])[-1]:
            log.append(process.stderr.readline())
            assert log[-1], "".join(log)
        admin = json.loads(log[-1])["address"]
        asked = lambda *more: subprocess.run(["chroot", "--userspec=65532:65532", "--groups=", image, *check, *more, "--admin", f"http://{admin}"], capture_output=True, text=True)
        done = asked("--wait", "10")
        assert (done.returncode, done.stdout) == (0, "ready\n"), done
        status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
        assert re.search(r"^Uid:\t65532\t65532\t65532\t65532$", status, re.MULTILINE), status
        process.terminate()
        assert process.wait(30) == 0
        assert asked().returncode == 1
    finally:
        process.kill()
    shell = subprocess.run(["chroot", image, "/bin/sh", "-c", "true"], capture_output=True)
    assert shell.returncode == 127, "the image has a shell"
    print(f"served as 65532, read-only, without a shell; {' '.join(check)} said ready")


run(pathlib.Path(sys.executable).parent / "hadolint", "-c", ROOT / "deploy/docker/hadolint.yaml", DOCKERFILE)
print("hadolint: nothing to say")
with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)
    folder.chmod(0o755)
    image, last = build(folder)
    look_at(image, last)
    serve(image, last)
