"""minio: the Python client of MinIO."""

import datetime
import io

import minio
import minio.deleteobjects
import urllib3

from world import *

pool = urllib3.PoolManager(ca_certs=CA, timeout=60, retries=urllib3.Retry(total=3, backoff_factor=0.2, status_forcelist=[500, 502, 503, 504]))
s3 = minio.Minio(HOST, KEY_ID, SECRET, secure=TLS, region=REGION, http_client=pool)
client = Client("minio (Python)", minio.__version__)


def read(key):
    answer = s3.get_object(BUCKET, PREFIX + key)
    try:
        return answer.read()
    finally:
        answer.close()
        answer.release_conn()


def names(prefix=""):
    return sorted(entry.object_name.removeprefix(PREFIX) for entry in s3.list_objects(BUCKET, PREFIX + prefix, recursive=True))


@client.step("put")
def put():
    s3.put_object(BUCKET, PREFIX + "put", io.BytesIO(SMALL), len(SMALL), metadata={"note": "n 1"})
    s3.fput_object(BUCKET, PREFIX + "file", file_with(SMALL))


@client.step("get")
def get():
    same(read("put"), SMALL)
    s3.fget_object(BUCKET, PREFIX + "file", "got.bin")
    same(pathlib.Path("got.bin").read_bytes(), SMALL)
    equal(s3.stat_object(BUCKET, PREFIX + "put").metadata["x-amz-meta-note"], "n 1")


@client.step("list")
def listed():
    equal(names(), ["file", "put"])


@client.step("delete")
def delete():
    s3.remove_object(BUCKET, PREFIX + "put")
    equal(list(s3.remove_objects(BUCKET, [minio.deleteobjects.DeleteObject(PREFIX + "file")])), [])
    equal(names(), [])


@client.step("multipart")
def multipart():
    content = large()
    # A length that is not known: parts, the last of them shorter.
    s3.put_object(BUCKET, PREFIX + "large", io.BytesIO(content), -1, part_size=5 << 20)
    same(read("large"), content)


@client.step("odd keys")
def odd():
    for key in ODD:
        s3.put_object(BUCKET, f"{PREFIX}odd/{key}", io.BytesIO(key.encode()), len(key.encode()))
        same(read(f"odd/{key}"), key.encode(), key)
    equal(names("odd/"), sorted(f"odd/{key}" for key in ODD))


@client.step("presign")
def presign():
    for_a_while = datetime.timedelta(minutes=5)
    http("PUT", s3.presigned_put_object(BUCKET, PREFIX + "presigned a+ü", for_a_while), SMALL)
    same(http("GET", s3.presigned_get_object(BUCKET, PREFIX + "presigned a+ü", for_a_while)), SMALL)


if FORBIDDEN:
    client.refused(lambda: s3.put_object(BUCKET, FORBIDDEN, io.BytesIO(SMALL), len(SMALL)))
client.finish()
