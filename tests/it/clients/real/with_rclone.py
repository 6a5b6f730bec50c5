"""rclone: sync, check, rcat, link."""

from world import *

RCLONE = TOOLS / "venv-data/bin/rclone"
BASE = f"gateway:{BUCKET}/{PREFIX}"
pathlib.Path("rclone.conf").write_text(
    f"[gateway]\ntype = s3\nprovider = Other\nenv_auth = true\nendpoint = {ENDPOINT}\nregion = {REGION}\n"
    "upload_cutoff = 5Mi\nchunk_size = 5Mi\n"
    # Otherwise it makes the bucket before the first upload, which needs a right of its own.
    "no_check_bucket = true\n"
)
OPTIONS = ["--config", "rclone.conf", *(["--ca-cert", CA] if CA else [])]
client = Client("rclone", run(RCLONE, "version").split()[1].removeprefix("v"))


def rclone(*arguments, **more):
    return run(RCLONE, *OPTIONS, *arguments, **more)


@client.step("put")
def put():
    rclone("copyto", file_with(SMALL), BASE + "put")
    rclone("rcat", BASE + "rcat", stdin=SMALL)


@client.step("get")
def get():
    same(rclone("cat", BASE + "put", text=False), SMALL)
    same(rclone("cat", BASE + "rcat", text=False), SMALL)


@client.step("list")
def listed():
    equal(sorted(rclone("lsf", "-R", BASE).split()), ["put", "rcat"])


@client.step("delete")
def delete():
    rclone("deletefile", BASE + "put")
    rclone("delete", BASE)
    equal(rclone("lsf", "-R", BASE), "")


@client.step("multipart")
def multipart():
    content = large()
    rclone("copyto", file_with(content, "large.bin"), BASE + "large")
    rclone("copyto", BASE + "large", "large.got")
    same(pathlib.Path("large.got").read_bytes(), content)


@client.step("odd keys")
def odd():
    for key in ODD:
        path = pathlib.Path("odd") / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(key)
    rclone("sync", "odd", BASE + "odd")
    rclone("check", "--download", "odd", BASE + "odd")
    # What is gone here goes there, and nothing else is sent again.
    (pathlib.Path("odd") / ODD[0]).unlink()
    rclone("sync", "odd", BASE + "odd")
    listed = json.loads(rclone("lsjson", "-R", "--files-only", BASE + "odd"))
    equal(sorted(entry["Path"] for entry in listed), sorted(ODD[1:]))


@client.step("presign")
def presign():
    same(http("GET", rclone("link", "--expire", "5m", BASE + "odd/+plus+").strip()), b"+plus+")


if FORBIDDEN:
    client.refused(lambda: rclone("copyto", file_with(SMALL), f"gateway:{BUCKET}/{FORBIDDEN}"))
client.finish()
