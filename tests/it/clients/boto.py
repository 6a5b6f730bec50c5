"""boto3 with a bearer token instead of a signature, as an application would use it.

usage: boto.py SCENARIO, with a JSON object on standard input: endpoint, token, bucket, prefix, and ca (a PEM file) for https.
Exits with 0 if everything came out as the scenario says; otherwise the traceback tells what did not.
"""

import hashlib
import io
import json
import pathlib
import sys
import tempfile

import boto3
from boto3.exceptions import S3UploadFailedError
from boto3.s3.transfer import TransferConfig
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError

KEYS = ["plain.txt", "with blank", "100%", "+plus+", "~!*'()", "@:$,;=&", "ü/日本", "%2F", "q?x=y", "h#f", "[x]{y}|^`"]


def connect(world, token=None, **settings):
    config = Config(
        signature_version=UNSIGNED,
        s3={"addressing_style": "path"},
        retries={"mode": "standard", "max_attempts": 3},
        connect_timeout=10,
        read_timeout=60,
        **settings,
    )
    client = boto3.client(
        "s3", endpoint_url=world["endpoint"], region_name="us-east-1", config=config, verify=world.get("ca")
    )
    bearer = f"Bearer {world['token'] if token is None else token}"

    def show_token(request, **_):
        request.headers["Authorization"] = bearer

    # The last moment at which a request can be changed; it comes for unsigned requests too.
    client.meta.events.register("before-sign.s3", show_token)
    return client


def content(length):
    block = hashlib.sha512(b"content").digest() * 1024
    return (block * (length // len(block) + 1))[:length]


def refused(code, status, call, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        answer = error.response
        assert answer["Error"]["Code"] == code, answer
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == status, answer
        return answer
    raise AssertionError(f"{call} {arguments} was not refused")


def objects(world):
    s3, bucket, prefix = connect(world), world["bucket"], world["prefix"]
    for name in KEYS:
        key, body = prefix + name, content(1000 + len(name))
        put = s3.put_object(Bucket=bucket, Key=key, Body=body, ContentType="text/x-test", Metadata={"note": "n 1"})
        head = s3.head_object(Bucket=bucket, Key=key)
        assert (head["ContentLength"], head["ContentType"], head["Metadata"]) == (len(body), "text/x-test", {"note": "n 1"}), head
        assert head["ETag"] == put["ETag"], (head, put)
        assert "ContentEncoding" not in head, head
        got = s3.get_object(Bucket=bucket, Key=key)
        assert got["Body"].read() == body, key
    part = s3.get_object(Bucket=bucket, Key=prefix + "plain.txt", Range="bytes=10-19")
    assert (part["ResponseMetadata"]["HTTPStatusCode"], part["Body"].read()) == (206, content(20)[10:])

    pages = list(s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix, PaginationConfig={"PageSize": 3}))
    listed = [entry["Key"] for page in pages for entry in page["Contents"]]
    assert sorted(listed) == sorted(prefix + name for name in KEYS), listed
    assert len(pages) >= 4, len(pages)

    assert s3.head_bucket(Bucket=bucket)["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert s3.get_bucket_location(Bucket=bucket)["LocationConstraint"] is None, "us-east-1 has no name here"
    assert [entry["Name"] for entry in s3.list_buckets()["Buckets"]] == [bucket]

    for name in KEYS:
        s3.delete_object(Bucket=bucket, Key=prefix + name)
    refused("404", 404, s3.head_object, Bucket=bucket, Key=prefix + "plain.txt")
    refused("NoSuchKey", 404, s3.get_object, Bucket=bucket, Key=prefix + "plain.txt")
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket, Prefix=prefix)


def uploads(world):
    s3, bucket, prefix = connect(world), world["bucket"], world["prefix"]
    large = content(20 << 20)

    def arrives(name, client, body, **more):
        client.put_object(Bucket=bucket, Key=prefix + name, Body=body, **more)
        got = s3.get_object(Bucket=bucket, Key=prefix + name)["Body"].read()
        assert hashlib.sha256(got).digest() == hashlib.sha256(large).digest(), name

    arrives("file", s3, io.BytesIO(large))
    arrives("gzip", s3, io.BytesIO(large), ContentEncoding="gzip")
    assert s3.head_object(Bucket=bucket, Key=prefix + "gzip")["ContentEncoding"] == "gzip"
    for algorithm in ["CRC32", "SHA1", "SHA256"]:
        arrives(algorithm, s3, io.BytesIO(large), ChecksumAlgorithm=algorithm)
    arrives("plain", connect(world, request_checksum_calculation="when_required"), io.BytesIO(large))
    s3.put_object(Bucket=bucket, Key=prefix + "empty", Body=b"")
    assert s3.get_object(Bucket=bucket, Key=prefix + "empty")["Body"].read() == b""


def transfers(world):
    """What `aws s3 cp` and most programs do with a large file: parts side by side, in threads."""
    s3, bucket, key = connect(world), world["bucket"], world["prefix"] + "large"
    large = content((30 << 20) + 7)
    settings = TransferConfig(multipart_threshold=8 << 20, multipart_chunksize=8 << 20, max_concurrency=4)
    extra = {"ContentType": "text/x-test", "Metadata": {"note": "n 1"}}
    with tempfile.TemporaryDirectory() as folder:
        source, copy = pathlib.Path(folder, "source"), pathlib.Path(folder, "copy")
        source.write_bytes(large)
        s3.upload_file(str(source), bucket, key, ExtraArgs=extra, Config=settings)
        head = s3.head_object(Bucket=bucket, Key=key)
        assert head["ETag"].endswith('-4"'), f"four parts: {head}"
        assert (head["ContentType"], head["Metadata"]) == ("text/x-test", {"note": "n 1"}), head
        s3.download_file(bucket, key, str(copy), Config=settings)
        assert copy.read_bytes() == large
    # Larger than the rule allows, which is known only in the middle of it.
    try:
        s3.upload_fileobj(io.BytesIO(content(41 << 20)), bucket, key, Config=settings)
    except S3UploadFailedError as error:
        assert "EntityTooLarge" in str(error), error
    except ClientError as error:
        assert error.response["Error"]["Code"] == "EntityTooLarge", error
    else:
        raise AssertionError("41 MiB in parts were not refused")
    assert s3.head_object(Bucket=bucket, Key=key)["ContentLength"] == len(large), "the first object was touched"


def batches(world):
    s3, bucket, prefix = connect(world), world["bucket"], world["prefix"]
    keys = [prefix + name for name in KEYS] + [f"{prefix}{n}" for n in range(20)]
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    objects = [{"Key": key} for key in keys]
    done = s3.delete_objects(Bucket=bucket, Delete={"Objects": objects[:5]})
    assert [entry["Key"] for entry in done["Deleted"]] == keys[:5], done
    assert "Errors" not in done, done
    done = s3.delete_objects(Bucket=bucket, Delete={"Objects": objects[5:10], "Quiet": True}, ChecksumAlgorithm="SHA256")
    assert "Deleted" not in done and "Errors" not in done, done
    done = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "b/x"}, objects[10]]})
    assert [(entry["Key"], entry["Code"]) for entry in done["Errors"]] == [("b/x", "AccessDenied")], done
    assert [entry["Key"] for entry in done["Deleted"]] == [keys[10]], done
    # What programs use to empty a folder: a listing and batches of its keys.
    listed = s3.list_objects_v2(Bucket=bucket, Prefix=prefix)["Contents"]
    assert len(listed) == len(keys) - 11, listed
    s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": entry["Key"]} for entry in listed]})
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket, Prefix=prefix)
    refused("MalformedXML", 400, s3.delete_objects, Bucket=bucket, Delete={"Objects": [{"Key": prefix + "../x"}]})
    refused("MalformedXML", 400, s3.delete_objects, Bucket=bucket, Delete={"Objects": objects * 40})


def tags(world):
    s3, bucket, key = connect(world), world["bucket"], world["prefix"] + "tagged"
    wanted = [{"Key": "stage", "Value": "new"}, {"Key": "team", "Value": "red + blue"}]
    s3.put_object(Bucket=bucket, Key=key, Body=b"x", Tagging="stage=old")
    assert s3.get_object_tagging(Bucket=bucket, Key=key)["TagSet"] == [{"Key": "stage", "Value": "old"}]
    s3.put_object_tagging(Bucket=bucket, Key=key, Tagging={"TagSet": wanted})
    found = s3.get_object_tagging(Bucket=bucket, Key=key)["TagSet"]
    assert sorted(found, key=lambda tag: tag["Key"]) == wanted, found
    s3.delete_object_tagging(Bucket=bucket, Key=key)
    assert s3.get_object_tagging(Bucket=bucket, Key=key)["TagSet"] == []
    refused("InvalidTag", 400, s3.put_object_tagging, Bucket=bucket, Key=key, Tagging={"TagSet": wanted * 2})
    refused("AccessDenied", 403, s3.put_object_tagging, Bucket=bucket, Key="b/x", Tagging={"TagSet": wanted})
    refused("AccessDenied", 403, s3.get_object_tagging, Bucket=bucket, Key=key, VersionId="v1")


def one(world):
    connect(world).put_object(Bucket=world["bucket"], Key=world["key"], Body=io.BytesIO(b"hello"))


def refusals(world):
    s3, bucket, prefix = connect(world), world["bucket"], world["prefix"]
    answers = [
        refused("AccessDenied", 403, s3.put_object, Bucket=bucket, Key="b/x", Body=content(100)),
        refused("AccessDenied", 403, s3.put_object, Bucket=bucket, Key="b/x", Body=io.BytesIO(content(20 << 20))),
        refused("AccessDenied", 403, s3.get_object, Bucket=bucket, Key="b/x"),
        refused("AccessDenied", 403, s3.delete_object, Bucket=bucket, Key="b/x"),
        refused("AccessDenied", 403, s3.list_objects_v2, Bucket=bucket, Prefix="b/"),
        refused("AccessDenied", 403, s3.get_object, Bucket="other", Key="x"),
        refused("403", 403, s3.head_object, Bucket=bucket, Key="b/x"),
        refused("AccessDenied", 403, s3.put_object, Bucket=bucket, Key=prefix + "x", Body=b"x", StorageClass="GLACIER"),
        refused("EntityTooLarge", 400, s3.put_object, Bucket=bucket, Key=prefix + "x", Body=io.BytesIO(content(33 << 20))),
        refused("BadDigest", 400, s3.put_object, Bucket=bucket, Key=prefix + "x", Body=content(9 << 20), ChecksumCRC32="AAAAAA=="),
        refused("NotImplemented", 501, s3.get_bucket_acl, Bucket=bucket),
        refused("AccessDenied", 403, s3.create_multipart_upload, Bucket=bucket, Key="b/x"),
        refused("NoSuchUpload", 404, s3.upload_part, Bucket=bucket, Key=prefix + "x", UploadId="made-up", PartNumber=1, Body=b"x"),
        refused("InvalidToken", 401, connect(world, "csn_nobody").get_object, Bucket=bucket, Key=prefix + "x"),
        refused("InvalidToken", 401, connect(world, "csn_nobody").put_object, Bucket=bucket, Key=prefix + "x", Body=content(2 << 20)),
    ]
    for answer in answers:
        assert answer["ResponseMetadata"]["RetryAttempts"] == 0, f"a refusal was tried again: {answer}"
        assert answer["ResponseMetadata"]["HTTPHeaders"]["x-amz-request-id"], answer
    refused("NoSuchKey", 404, s3.get_object, Bucket=bucket, Key=prefix + "x")


def outage(world):
    """The store is gone: tried again as often as the settings say, and then told."""
    s3 = connect(world)
    for call, arguments in [(s3.get_object, {}), (s3.put_object, {"Body": io.BytesIO(content(9 << 20))})]:
        answer = refused("BadGateway", 502, call, Bucket=world["bucket"], Key=world["prefix"] + "x", **arguments)
        assert answer["ResponseMetadata"]["RetryAttempts"] == 3, answer


if __name__ == "__main__":
    scenarios = [objects, uploads, transfers, batches, tags, one, refusals, outage]
    {scenario.__name__: scenario for scenario in scenarios}[sys.argv[1]](json.load(sys.stdin))
