"""restic of Debian (minio-go): a repository, two backups, a restore, check, forget and prune."""

from world import *

OPTIONS = ["--quiet", *(["--cacert", CA] if CA else [])]
client = Client("restic", run("restic", "version").split()[1])


def restic(*arguments, place=PREFIX + "repository", **more):
    os.environ["RESTIC_PASSWORD"] = "a password"
    os.environ["RESTIC_REPOSITORY"] = f"s3:{ENDPOINT}/{BUCKET}/{place}"
    return run("restic", *OPTIONS, *arguments, **more)


@client.step("put")
def put():
    pathlib.Path("data").mkdir()
    pathlib.Path("data/small").write_bytes(SMALL)
    restic("init")
    restic("backup", "data")


@client.step("multipart")
def multipart():
    # Not in parts: restic writes packs of about 16 MiB.
    pathlib.Path("data/large").write_bytes(large())
    restic("backup", "data")


@client.step("get")
def get():
    restic("restore", "latest", "--target", "restored")
    for name in ["small", "large"]:
        found = next(pathlib.Path("restored").rglob(name))
        same(found.read_bytes(), pathlib.Path("data", name).read_bytes(), name)


@client.step("list")
def listed():
    equal(len(json.loads(restic("snapshots", "--json"))), 2)
    restic("check", "--read-data")


@client.step("delete")
def delete():
    restic("forget", "--keep-last", "1", "--prune")
    equal(len(json.loads(restic("snapshots", "--json"))), 1)
    restic("check")


if FORBIDDEN:
    client.refused(lambda: restic("init", place=FORBIDDEN))
client.finish()
