"""s5cmd (the AWS SDK for Go, version 1)."""

from world import *

S5CMD = [TOOLS / "venv-data/bin/s5cmd", "--endpoint-url", ENDPOINT]
BASE = f"s3://{BUCKET}/{PREFIX}"
client = Client("s5cmd", run(*S5CMD, "version").strip().split("-")[0].removeprefix("v"))


def s5cmd(*arguments, **more):
    return run(*S5CMD, *arguments, **more)


def names(prefix=""):
    listed = s5cmd("--json", "ls", f"{BASE}{prefix}*")
    return sorted(json.loads(line)["key"].removeprefix(BASE) for line in listed.splitlines())


@client.step("put")
def put():
    s5cmd("cp", file_with(SMALL), BASE + "put")
    s5cmd("pipe", BASE + "pipe", stdin=SMALL)


@client.step("get")
def get():
    same(s5cmd("cat", BASE + "put", text=False), SMALL)
    s5cmd("cp", BASE + "pipe", "got.bin")
    same(pathlib.Path("got.bin").read_bytes(), SMALL)


@client.step("list")
def listed():
    equal(names(), ["pipe", "put"])


@client.step("delete")
def delete():
    s5cmd("rm", BASE + "*")
    gone(lambda: s5cmd("cat", BASE + "put"))


@client.step("multipart")
def multipart():
    content = large()
    s5cmd("cp", "-p", "5", file_with(content, "large.bin"), BASE + "large")
    s5cmd("cp", "-p", "5", BASE + "large", "large.got")
    same(pathlib.Path("large.got").read_bytes(), content)


@client.step("odd keys")
def odd():
    for key in ODD:
        s5cmd("cp", "--raw", file_with(key.encode()), f"{BASE}odd/{key}")
        same(s5cmd("cat", "--raw", f"{BASE}odd/{key}", text=False), key.encode(), key)
    equal(names("odd/"), sorted(f"odd/{key}" for key in ODD))


@client.step("presign")
def presign():
    same(http("GET", s5cmd("presign", BASE + "odd/+plus+").strip()), b"+plus+")


if FORBIDDEN:
    client.refused(lambda: s5cmd("cp", file_with(SMALL), f"s3://{BUCKET}/{FORBIDDEN}"))
client.finish()
