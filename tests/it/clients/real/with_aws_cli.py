"""aws-cli: cp, sync, ls, rm, presign."""

from world import *

AWS = [TOOLS / "venv/bin/aws", "--endpoint-url", ENDPOINT]
BASE = f"s3://{BUCKET}/{PREFIX}"
client = Client("aws-cli", version_of("awscli"))

pathlib.Path(".aws").mkdir(exist_ok=True)
# presign in the new way also for us-east-1; parts of 5 MiB.
pathlib.Path(".aws/config").write_text(
    "[default]\ns3 =\n  addressing_style = path\n  signature_version = s3v4\n  multipart_threshold = 5MB\n  multipart_chunksize = 5MB\n"
)


def aws(*arguments, **more):
    return run(*AWS, *arguments, **more)


@client.step("put")
def put():
    aws("s3", "cp", "--quiet", file_with(SMALL), BASE + "put")
    aws("s3", "cp", "-", BASE + "stdin", stdin=SMALL)


@client.step("get")
def get():
    same(aws("s3", "cp", BASE + "put", "-", text=False), SMALL)
    same(aws("s3", "cp", BASE + "stdin", "-", text=False), SMALL)


@client.step("list")
def listed():
    equal([line.split()[2:] for line in aws("s3", "ls", BASE).splitlines()], [["70001", "put"], ["70001", "stdin"]])


@client.step("delete")
def delete():
    aws("s3", "rm", "--recursive", "--quiet", BASE)
    equal(json.loads(aws("s3api", "list-objects-v2", "--bucket", BUCKET, "--prefix", PREFIX) or "{}").get("Contents", []), [])


@client.step("multipart")
def multipart():
    content = large()
    aws("s3", "cp", "--quiet", file_with(content, "large.bin"), BASE + "large")
    aws("s3", "cp", "--quiet", BASE + "large", "large.got")
    same(pathlib.Path("large.got").read_bytes(), content)


@client.step("odd keys")
def odd():
    for key in ODD:
        path = pathlib.Path("odd") / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(key)
    aws("s3", "sync", "--quiet", "odd", BASE + "odd")
    aws("s3", "sync", "--quiet", BASE + "odd", "odd.got")
    for key in ODD:
        same((pathlib.Path("odd.got") / key).read_bytes(), key.encode(), key)
    listed = json.loads(aws("s3api", "list-objects-v2", "--bucket", BUCKET, "--prefix", PREFIX + "odd/"))
    equal(sorted(entry["Key"] for entry in listed["Contents"]), sorted(f"{PREFIX}odd/{key}" for key in ODD))


@client.step("presign")
def presign():
    same(http("GET", aws("s3", "presign", BASE + "odd/with blank").strip()), b"with blank")


if FORBIDDEN:
    client.refused(lambda: aws("s3", "cp", file_with(SMALL), f"s3://{BUCKET}/{FORBIDDEN}"))
client.finish()
