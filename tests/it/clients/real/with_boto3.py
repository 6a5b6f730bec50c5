"""boto3: put_object, managed transfers, presigned URLs. Runs with the newest boto3 and with the one from before checksums."""

import io

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config

from world import *

# Without s3v4, boto3 signs URLs of us-east-1 in the old way.
config = Config(s3={"addressing_style": "path"}, signature_version="s3v4")
s3 = boto3.client("s3", endpoint_url=ENDPOINT, verify=CA, config=config)
client = Client("boto3", boto3.__version__)


def read(key):
    return s3.get_object(Bucket=BUCKET, Key=PREFIX + key)["Body"].read()


def names(prefix):
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=PREFIX + prefix)
    return sorted(entry["Key"].removeprefix(PREFIX) for page in pages for entry in page.get("Contents", []))


@client.step("put")
def put():
    s3.put_object(Bucket=BUCKET, Key=PREFIX + "put", Body=SMALL, Metadata={"note": "n 1"})
    # A body that cannot be rewound cheaply goes as a stream.
    with open(file_with(SMALL), "rb") as file:
        s3.put_object(Bucket=BUCKET, Key=PREFIX + "stream", Body=file)
    s3.put_object(Bucket=BUCKET, Key=PREFIX + "empty", Body=b"")


@client.step("get")
def get():
    same(read("put"), SMALL)
    same(read("stream"), SMALL)
    same(read("empty"), b"")
    part = s3.get_object(Bucket=BUCKET, Key=PREFIX + "put", Range="bytes=100-199")
    same(part["Body"].read(), SMALL[100:200])
    equal(s3.head_object(Bucket=BUCKET, Key=PREFIX + "put")["Metadata"], {"note": "n 1"})


@client.step("list")
def listed():
    equal(names(""), ["empty", "put", "stream"])


@client.step("delete")
def delete():
    s3.delete_object(Bucket=BUCKET, Key=PREFIX + "put")
    batch = {"Objects": [{"Key": PREFIX + "stream"}, {"Key": PREFIX + "empty"}]}
    equal(s3.delete_objects(Bucket=BUCKET, Delete=batch).get("Errors", []), [])
    equal(names(""), [])


@client.step("multipart")
def multipart():
    content = large()
    parts = TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20, max_concurrency=4)
    s3.upload_fileobj(io.BytesIO(content), BUCKET, PREFIX + "large", Config=parts)
    assert s3.head_object(Bucket=BUCKET, Key=PREFIX + "large")["ETag"].endswith('-5"')
    got = io.BytesIO()
    s3.download_fileobj(BUCKET, PREFIX + "large", got, Config=parts)
    same(got.getvalue(), content)


@client.step("odd keys")
def odd():
    for key in ODD:
        s3.put_object(Bucket=BUCKET, Key=f"{PREFIX}odd/{key}", Body=key.encode())
        same(read(f"odd/{key}"), key.encode(), key)
    equal(names("odd/"), sorted(f"odd/{key}" for key in ODD))
    for key in ODD:
        s3.delete_object(Bucket=BUCKET, Key=f"{PREFIX}odd/{key}")
    equal(names("odd/"), [])


@client.step("presign")
def presign():
    def url(method, key, **more):
        return s3.generate_presigned_url(method, Params={"Bucket": BUCKET, "Key": PREFIX + key, **more}, ExpiresIn=300)

    for key in ["presigned", "presigned ü+%"]:
        http("PUT", url("put_object", key), SMALL)
        same(http("GET", url("get_object", key)), SMALL)
        http("DELETE", url("delete_object", key))
    # Parts, as browsers upload them.
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key=PREFIX + "parts")["UploadId"]
    http("PUT", url("upload_part", "parts", UploadId=upload, PartNumber=1), SMALL)
    listed = s3.list_parts(Bucket=BUCKET, Key=PREFIX + "parts", UploadId=upload)["Parts"]
    parts = [{"ETag": part["ETag"], "PartNumber": part["PartNumber"]} for part in listed]
    s3.complete_multipart_upload(Bucket=BUCKET, Key=PREFIX + "parts", UploadId=upload, MultipartUpload={"Parts": parts})
    same(read("parts"), SMALL)


if FORBIDDEN:
    client.refused(lambda: s3.put_object(Bucket=BUCKET, Key=FORBIDDEN, Body=SMALL))
client.finish()
