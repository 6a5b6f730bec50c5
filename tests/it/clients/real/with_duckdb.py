"""DuckDB with httpfs: COPY TO, globs, partitions."""

import glob

import duckdb
import duckdb_extension_httpfs

from world import *

BASE = f"s3://{BUCKET}/{PREFIX}"
db = duckdb.connect()
db.execute(f"LOAD '{glob.glob(list(duckdb_extension_httpfs.__path__)[0] + '/extensions/*/httpfs.duckdb_extension')[0]}'")
if CA:
    db.execute(f"SET ca_cert_file = '{CA}'")
    db.execute("SET enable_curl_server_cert_verification = true")
db.execute(
    f"CREATE SECRET (TYPE s3, KEY_ID '{KEY_ID}', SECRET '{SECRET}', REGION '{REGION}', ENDPOINT '{HOST}', URL_STYLE 'path', USE_SSL {str(TLS).lower()})"
)
client = Client("DuckDB httpfs", duckdb.__version__)


def one(query):
    return db.execute(query).fetchone()[0]


@client.step("put")
def put():
    db.execute(f"COPY (SELECT range AS n FROM range(100000)) TO '{BASE}put.parquet'")
    db.execute(f"COPY (SELECT range AS n FROM range(1000)) TO '{BASE}put.csv'")


@client.step("get")
def get():
    equal(one(f"SELECT sum(n) FROM '{BASE}put.parquet'"), sum(range(100000)))
    equal(one(f"SELECT sum(n) FROM '{BASE}put.csv'"), sum(range(1000)))


@client.step("list")
def listed():
    equal(one(f"SELECT count(*) FROM glob('{BASE}*')"), 2)
    db.execute(f"COPY (SELECT range AS n, range % 4 AS p FROM range(1000)) TO '{BASE}parts' (FORMAT parquet, PARTITION_BY p)")
    equal(one(f"SELECT count(*) FROM '{BASE}parts/*/*.parquet' WHERE p = 3"), 250)


@client.step("multipart")
def multipart():
    pathlib.Path("large.bin").write_bytes(large())
    db.execute("SET s3_uploader_max_filesize = '50GB'")
    db.execute(
        f"COPY (SELECT range AS n, md5(range::VARCHAR) AS a, md5((range + 1)::VARCHAR) AS b FROM range(350000)) TO '{BASE}large.parquet' (COMPRESSION uncompressed)"
    )
    equal(one(f"SELECT sum(n) FROM '{BASE}large.parquet' WHERE a = md5(n::VARCHAR) AND b = md5((n + 1)::VARCHAR)"), sum(range(350000)))


@client.step("odd keys")
def odd():
    # Without those that DuckDB takes for patterns or for a query of the URL; quotes are doubled for SQL.
    for key in [key for key in ODD if not set("[{#") & set(key)]:
        name = f"{BASE}odd/{key}.parquet".replace("'", "''")
        db.execute(f"COPY (SELECT 7 AS n) TO '{name}'")
        equal(one(f"SELECT n FROM '{name}'"), 7)


if FORBIDDEN:
    client.refused(lambda: db.execute(f"COPY (SELECT 1 AS n) TO 's3://{BUCKET}/{FORBIDDEN}.parquet'"))
client.finish()
