"""s3fs, the file system of fsspec: what pandas, dask and zarr use."""

import s3fs

from world import *

# A folder inside of what the rule allows: s3fs also asks for the folder itself, without its slash.
BASE = f"{BUCKET}/{PREFIX}data/"
fs = s3fs.S3FileSystem(
    endpoint_url=ENDPOINT,
    client_kwargs={"verify": CA},
    config_kwargs={"s3": {"addressing_style": "path"}, "signature_version": "s3v4"},
    default_block_size=5 << 20,
    use_listings_cache=False,
)
client = Client("s3fs (fsspec)", s3fs.__version__)


@client.step("put")
def put():
    fs.pipe(BASE + "pipe", SMALL)
    fs.put(file_with(SMALL), BASE + "put")


@client.step("get")
def get():
    same(fs.cat(BASE + "pipe"), SMALL)
    fs.get(BASE + "put", "got.bin")
    same(pathlib.Path("got.bin").read_bytes(), SMALL)
    same(fs.cat_file(BASE + "put", start=100, end=200), SMALL[100:200])


@client.step("list")
def listed():
    equal(sorted(fs.find(BASE)), [BASE + "pipe", BASE + "put"])
    equal(fs.info(BASE + "put")["size"], len(SMALL))


@client.step("delete")
def delete():
    fs.rm(BASE + "pipe")
    fs.rm([BASE + "put"])
    # SeaweedFS shows the empty folder itself for a while.
    equal([name for name in fs.find(BASE) if name.startswith(BASE)], [])
    fs.pipe(BASE + "folder/one", b"1")
    fs.rm(BASE + "folder", recursive=True)
    equal([name for name in fs.find(BASE) if name.startswith(BASE + "folder/")], [])


@client.step("multipart")
def multipart():
    content = large()
    with fs.open(BASE + "large", "wb") as file:
        file.write(content)
    with fs.open(BASE + "large", "rb") as file:
        same(file.read(), content)


@client.step("odd keys")
def odd():
    # Patterns are expanded by rm and cat, not by these.
    for key in ODD:
        fs.pipe_file(f"{BASE}odd/{key}", key.encode())
        same(fs.cat_file(f"{BASE}odd/{key}"), key.encode(), key)
    equal(sorted(fs.find(BASE + "odd")), sorted(f"{BASE}odd/{key}" for key in ODD))


@client.step("presign")
def presign():
    same(http("GET", fs.sign(BASE + "odd/with blank")), b"with blank")


if FORBIDDEN:

    def write():
        try:
            fs.pipe(f"{BUCKET}/{FORBIDDEN}", SMALL)
        except PermissionError as error:
            raise AssertionError(f"AccessDenied becomes PermissionError: {error}") from error

    client.refused(write)
client.finish()
