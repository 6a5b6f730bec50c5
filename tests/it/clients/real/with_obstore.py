"""obstore: the object_store crate of Rust, in Python."""

import datetime

import obstore
from obstore.store import S3Store

from world import *

options = {} if TLS else {"allow_http": True}
store = S3Store(
    BUCKET, prefix=PREFIX, endpoint=ENDPOINT, region=REGION, client_options=options, virtual_hosted_style_request=False
)
client = Client("obstore (object_store)", obstore.__version__)


def read(key):
    return bytes(store.get(key).bytes())


def names(prefix=None):
    return sorted(entry["path"] for page in store.list(prefix) for entry in page)


@client.step("put")
def put():
    store.put("put", SMALL)
    store.put("empty", b"")


@client.step("get")
def get():
    same(read("put"), SMALL)
    same(read("empty"), b"")
    same(store.get_range("put", start=100, end=200), SMALL[100:200])


@client.step("list")
def listed():
    equal(names(), ["empty", "put"])


@client.step("delete")
def delete():
    store.delete(["put", "empty"])
    equal(names(), [])


@client.step("multipart")
def multipart():
    content = large()
    store.put("large", content, use_multipart=True, chunk_size=5 << 20)
    same(read("large"), content)


@client.step("odd keys")
def odd():
    # Paths of object_store are percent-encoded by itself where it wants; what it wrote it must find.
    for key in ODD:
        store.put(f"odd/{key}", key.encode())
        same(read(f"odd/{key}"), key.encode(), key)
    equal(len(names("odd")), len(ODD))


@client.step("presign")
def presign():
    for_a_while = datetime.timedelta(minutes=5)
    http("PUT", obstore.sign(store, "PUT", "presigned a+ü", for_a_while), SMALL)
    same(http("GET", obstore.sign(store, "GET", "presigned a+ü", for_a_while)), SMALL)


if FORBIDDEN:
    whole = S3Store(BUCKET, endpoint=ENDPOINT, region=REGION, client_options=options, virtual_hosted_style_request=False)
    client.refused(lambda: whole.put(FORBIDDEN, SMALL))
client.finish()
