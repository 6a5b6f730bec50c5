"""polars: parquet and CSV with its own object store."""

import polars

from world import *

BASE = f"s3://{BUCKET}/{PREFIX}"
# Polars does not read AWS_ENDPOINT_URL_S3.
OPTIONS = {"aws_endpoint_url": ENDPOINT, "aws_region": REGION, "aws_allow_http": str(not TLS).lower()}
client = Client("polars", polars.__version__)
frame = polars.DataFrame({"n": range(50_000), "text": [f"row {n}" for n in range(50_000)]})


@client.step("put")
def put():
    frame.write_parquet(BASE + "put.parquet", storage_options=OPTIONS)
    frame.lazy().sink_csv(BASE + "put.csv", storage_options=OPTIONS)


@client.step("get")
def get():
    assert polars.read_parquet(BASE + "put.parquet", storage_options=OPTIONS).equals(frame)
    assert polars.scan_csv(BASE + "put.csv", storage_options=OPTIONS).collect().equals(frame)


@client.step("list")
def listed():
    both = polars.scan_parquet(BASE + "*.parquet", storage_options=OPTIONS).select(polars.len()).collect().item()
    equal(both, frame.height)


@client.step("multipart")
def multipart():
    # Bytes that do not compress.
    big = polars.DataFrame({"bytes": [os.urandom(1 << 16) for _ in range(LARGE_BYTES >> 16)]})
    big.write_parquet(BASE + "large.parquet", storage_options=OPTIONS, compression="uncompressed")
    assert polars.read_parquet(BASE + "large.parquet", storage_options=OPTIONS).equals(big)


@client.step("odd keys")
def odd():
    # Without those that polars takes for patterns.
    for key in [key for key in ODD if not set("[{") & set(key)]:
        frame.head(3).write_parquet(f"{BASE}odd/{key}", storage_options=OPTIONS)
        back = polars.read_parquet(f"{BASE}odd/{key}", storage_options=OPTIONS, glob=False)
        assert back.equals(frame.head(3)), key


if FORBIDDEN:
    client.refused(lambda: frame.write_parquet(f"s3://{BUCKET}/{FORBIDDEN}", storage_options=OPTIONS))
client.finish()
