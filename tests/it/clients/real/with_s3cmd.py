"""s3cmd of Debian."""

from world import *

BASE = f"s3://{BUCKET}/{PREFIX}"
OPTIONS = ["--config", "/dev/null", "--host", HOST, "--host-bucket", HOST, "--access_key", KEY_ID, "--secret_key", SECRET]
OPTIONS += ["--region", REGION, "--no-progress", "--multipart-chunk-size-mb", "5"]
OPTIONS += ["--ssl", "--ca-certs", CA] if CA else ["--no-ssl"]
client = Client("s3cmd", run("s3cmd", "--version").split()[-1])


def s3cmd(*arguments, **more):
    return run("s3cmd", *OPTIONS, *arguments, **more)


@client.step("put")
def put():
    s3cmd("put", file_with(SMALL), BASE + "put")
    s3cmd("sync", "content.bin", BASE + "synced")


@client.step("get")
def get():
    s3cmd("get", "--force", BASE + "put", "got.bin")
    same(pathlib.Path("got.bin").read_bytes(), SMALL)


def names(prefix=""):
    return sorted(line.split(None, 3)[3].removeprefix(BASE) for line in s3cmd("ls", "-r", BASE + prefix).splitlines())


@client.step("list")
def listed():
    equal(names(), ["put", "synced"])


@client.step("delete")
def delete():
    s3cmd("del", BASE + "put")
    s3cmd("del", "-r", "--force", BASE)
    equal(names(), [])


@client.step("multipart")
def multipart():
    content = large()
    s3cmd("put", file_with(content, "large.bin"), BASE + "large")
    s3cmd("get", "--force", BASE + "large", "large.got")
    same(pathlib.Path("large.got").read_bytes(), content)


@client.step("odd keys")
def odd():
    for key in ODD:
        s3cmd("put", file_with(key.encode()), f"{BASE}odd/{key}")
        s3cmd("get", "--force", f"{BASE}odd/{key}", "got.bin")
        same(pathlib.Path("got.bin").read_bytes(), key.encode(), key)
    equal(names("odd/"), sorted(f"odd/{key}" for key in ODD))


if FORBIDDEN:
    client.refused(lambda: s3cmd("put", file_with(SMALL), f"s3://{BUCKET}/{FORBIDDEN}"))
client.finish()
