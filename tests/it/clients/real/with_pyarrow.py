"""pyarrow (the AWS SDK for C++): a partitioned dataset as Spark writes it, and files."""

import pyarrow
import pyarrow.dataset
import pyarrow.fs
import pyarrow.parquet

from world import *

BASE = f"{BUCKET}/{PREFIX}"
fs = pyarrow.fs.S3FileSystem(
    endpoint_override=HOST,
    scheme="https" if TLS else "http",
    access_key=KEY_ID,
    secret_key=SECRET,
    region=REGION,
    **({"tls_ca_file_path": CA} if CA else {}),
)
client = Client("pyarrow", pyarrow.__version__)


def write(key, content):
    with fs.open_output_stream(BASE + key) as file:
        file.write(content)


def read(key):
    with fs.open_input_file(BASE + key) as file:
        return file.read()


def names(folder):
    return sorted(entry.path for entry in fs.get_file_info(pyarrow.fs.FileSelector(BASE + folder, recursive=True)) if entry.is_file)


@client.step("put")
def put():
    write("put", SMALL)
    write("empty", b"")


@client.step("get")
def get():
    same(read("put"), SMALL)
    same(read("empty"), b"")
    with fs.open_input_file(BASE + "put") as file:
        file.seek(100)
        same(file.read(100), SMALL[100:200])


@client.step("list")
def listed():
    equal(names(""), [BASE + "empty", BASE + "put"])


@client.step("delete")
def delete():
    fs.delete_file(BASE + "put")
    gone(lambda: read("put"))


@client.step("multipart")
def multipart():
    content = large()
    write("large", content)
    same(read("large"), content)


@client.step("odd keys")
def odd():
    for key in ODD:
        write(f"odd/{key}", key.encode())
        same(read(f"odd/{key}"), key.encode(), key)
    equal(names("odd"), sorted(f"{BASE}odd/{key}" for key in ODD))


@client.step("dataset")
def dataset():
    rows = 200_000
    table = pyarrow.table({"day": [f"2026-11-{n % 5 + 1:02}" for n in range(rows)], "n": range(rows), "x": [n * 0.5 for n in range(rows)]})
    day = pyarrow.dataset.partitioning(pyarrow.schema([("day", pyarrow.string())]), flavor="hive")
    pyarrow.dataset.write_dataset(
        table, BASE + "set", filesystem=fs, format="parquet", partitioning=day, existing_data_behavior="delete_matching"
    )
    back = pyarrow.dataset.dataset(BASE + "set", filesystem=fs, format="parquet", partitioning=day)
    equal(back.to_table(filter=pyarrow.dataset.field("day") == "2026-11-03").num_rows, rows // 5)
    equal(sorted(back.to_table(columns=["n"])["n"].to_pylist()), list(range(rows)))
    # A second write replaces the first one: list and batch delete.
    pyarrow.dataset.write_dataset(
        table.slice(0, 10), BASE + "set", filesystem=fs, format="parquet", partitioning=day, existing_data_behavior="delete_matching"
    )
    fs.delete_dir(BASE + "set")
    # Not whether the folder is still there: SeaweedFS shows one for a while.
    equal([name for name in names("") if "/set/" in name], [])


if FORBIDDEN:

    def forbidden():
        with fs.open_output_stream(f"{BUCKET}/{FORBIDDEN}") as file:
            file.write(SMALL)

    client.refused(forbidden)
client.finish()
