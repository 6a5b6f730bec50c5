"""deltalake (delta-rs): commits by conditional writes."""

import deltalake
import pyarrow

from world import *

BASE = f"s3://{BUCKET}/{PREFIX}"
OPTIONS = {"AWS_ENDPOINT_URL": ENDPOINT, "AWS_ALLOW_HTTP": str(not TLS).lower(), "aws_conditional_put": "etag"}
client = Client("deltalake", deltalake.__version__)


def rows(table):
    return sorted(table.to_pyarrow_table()["n"].to_pylist())


@client.step("put")
def put():
    for n in range(3):
        deltalake.write_deltalake(BASE + "table", pyarrow.table({"n": [n]}), mode="append", storage_options=OPTIONS)


@client.step("get")
def get():
    table = deltalake.DeltaTable(BASE + "table", storage_options=OPTIONS)
    equal((table.version(), rows(table)), (2, [0, 1, 2]))
    equal(rows(deltalake.DeltaTable(BASE + "table", version=1, storage_options=OPTIONS)), [0, 1])


@client.step("list")
def listed():
    equal(len(deltalake.DeltaTable(BASE + "table", storage_options=OPTIONS).history()), 3)


@client.step("delete")
def delete():
    table = deltalake.DeltaTable(BASE + "table", storage_options=OPTIONS)
    table.delete("n = 1")
    table.optimize.compact()
    assert table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    equal(rows(table), [0, 2])


@client.step("multipart")
def multipart():
    content = [os.urandom(1 << 16) for _ in range(LARGE_BYTES >> 16)]
    table = pyarrow.table({"n": range(len(content)), "bytes": content})
    deltalake.write_deltalake(BASE + "large", table, storage_options=OPTIONS)
    back = deltalake.DeltaTable(BASE + "large", storage_options=OPTIONS).to_pyarrow_table().sort_by("n")
    assert back["bytes"].to_pylist() == content


@client.step("odd keys")
def odd():
    table = pyarrow.table({"n": [1, 2], "p": ["with blank", "ü+%~()"]})
    deltalake.write_deltalake(BASE + "odd table", table, partition_by=["p"], storage_options=OPTIONS)
    equal(rows(deltalake.DeltaTable(BASE + "odd table", storage_options=OPTIONS)), [1, 2])


if FORBIDDEN:
    place = f"s3://{BUCKET}/{FORBIDDEN.rstrip('/')}"
    client.refused(lambda: deltalake.write_deltalake(place, pyarrow.table({"n": [1]}), storage_options=OPTIONS))
client.finish()
