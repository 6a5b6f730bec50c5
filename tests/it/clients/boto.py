"""boto3 with a bearer token instead of a signature, or with an access key of the gateway, as an application would use it.

usage: boto.py SCENARIO, with a JSON object on standard input: endpoint, token (or id and secret), bucket, prefix, and ca (a PEM file)
for https.
Exits with 0 if everything came out as the scenario says; otherwise the traceback tells what did not.
"""

import hashlib
import http.client
import io
import json
import pathlib
import ssl
import sys
import tempfile
import urllib.parse

import boto3
from boto3.exceptions import S3UploadFailedError
from boto3.s3.transfer import TransferConfig
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError

KEYS = ["plain.txt", "with blank", "100%", "+plus+", "~!*'()", "@:$,;=&", "ü/日本", "%2F", "q?x=y", "h#f", "[x]{y}|^`"]


def connect(world, token=None, **settings):
    if "id" in world and token is None:
        config = Config(
            signature_version="s3v4",
            s3={"addressing_style": "path"},
            retries={"mode": "standard", "max_attempts": 3},
            connect_timeout=10,
            read_timeout=60,
            **settings,
        )
        return boto3.client(
            "s3",
            endpoint_url=world["endpoint"],
            region_name=world.get("region", "us-east-1"),
            config=config,
            verify=world.get("ca"),
            aws_access_key_id=world["id"],
            aws_secret_access_key=world["secret"],
        )
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
        refused("AccessDenied", 403, s3.get_bucket_acl, Bucket=bucket),
        refused("AccessDenied", 403, s3.create_multipart_upload, Bucket=bucket, Key="b/x"),
        refused("NoSuchUpload", 404, s3.upload_part, Bucket=bucket, Key=prefix + "x", UploadId="made-up", PartNumber=1, Body=b"x"),
        refused("InvalidToken", 401, connect(world, "csn_nobody").get_object, Bucket=bucket, Key=prefix + "x"),
        refused("InvalidToken", 401, connect(world, "csn_nobody").put_object, Bucket=bucket, Key=prefix + "x", Body=content(2 << 20)),
    ]
    for answer in answers:
        assert answer["ResponseMetadata"]["RetryAttempts"] == 0, f"a refusal was tried again: {answer}"
        assert answer["ResponseMetadata"]["HTTPHeaders"]["x-amz-request-id"], answer
    refused("NoSuchKey", 404, s3.get_object, Bucket=bucket, Key=prefix + "x")


def rejected(world):
    s3, bucket, prefix = connect(world), world["bucket"], world["prefix"]
    body = content(1000) + b"countersign-forbidden-words-7f3a"
    answer = refused("ContentRejected", 403, s3.put_object, Bucket=bucket, Key=prefix + "x", Body=body)
    assert answer["ResponseMetadata"]["RetryAttempts"] == 0, answer


def outage(world):
    """The store is gone: tried again as often as the settings say, and then told."""
    s3 = connect(world)
    for call, arguments in [(s3.get_object, {}), (s3.put_object, {"Body": io.BytesIO(content(9 << 20))})]:
        answer = refused("BadGateway", 502, call, Bucket=world["bucket"], Key=world["prefix"] + "x", **arguments)
        assert answer["ResponseMetadata"]["RetryAttempts"] == 3, answer


def fetch(world, method, url, body=None, headers=None):
    """Uses a presigned URL as it is: status, headers, body."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme == "https":
        context = ssl.create_default_context(cafile=world["ca"])
        connection = http.client.HTTPSConnection(parts.netloc, context=context, timeout=60)
    else:
        connection = http.client.HTTPConnection(parts.netloc, timeout=60)
    connection.request(method, f"{parts.path}?{parts.query}", body=body, headers=headers or {})
    answer = connection.getresponse()
    found = answer.status, dict(answer.getheaders()), answer.read()
    connection.close()
    return found


def presigned(world):
    """URLs that boto3 makes and somebody else uses: every method, parts, odd keys."""
    s3, bucket, prefix = connect(world), world["bucket"], world["prefix"]

    def url(operation, **parameters):
        return s3.generate_presigned_url(operation, Params={"Bucket": bucket, **parameters}, ExpiresIn=300)

    for name in KEYS:
        key, body = prefix + name, content(2000 + len(name))
        status, headers, text = fetch(world, "PUT", url("put_object", Key=key), body)
        assert status == 200, (key, status, text)
        assert fetch(world, "GET", url("get_object", Key=key))[::2] == (200, body), key
        status, headers, _ = fetch(world, "HEAD", url("head_object", Key=key))
        assert (status, headers["content-length"]) == (200, str(len(body))), (key, status, headers)
        ranged = fetch(world, "GET", url("get_object", Key=key), headers={"Range": "bytes=0-9"})
        assert ranged[::2] == (206, body[:10]), ranged
        assert fetch(world, "DELETE", url("delete_object", Key=key))[0] == 204, key
        assert fetch(world, "GET", url("get_object", Key=key))[0] == 404, key

    key = prefix + "parts"
    upload = s3.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
    parts, bodies = [], [content(5 << 20), content(1000)]
    for number, body in enumerate(bodies, 1):
        status, headers, text = fetch(world, "PUT", url("upload_part", Key=key, UploadId=upload, PartNumber=number), body)
        assert status == 200, (status, text)
        parts.append({"PartNumber": number, "ETag": {name.lower(): value for name, value in headers.items()}["etag"]})
    s3.complete_multipart_upload(Bucket=bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": parts})
    assert fetch(world, "GET", url("get_object", Key=key))[2] == b"".join(bodies)

    # With metadata, which has to be sent as it was signed.
    meta = url("put_object", Key=key, Metadata={"note": "n 1"}, ContentType="text/x-test")
    assert fetch(world, "PUT", meta, b"x", {"x-amz-meta-note": "n 1", "Content-Type": "text/x-test"})[0] == 200
    assert s3.head_object(Bucket=bucket, Key=key)["Metadata"] == {"note": "n 1"}
    assert fetch(world, "PUT", meta, b"x", {"x-amz-meta-note": "n 2", "Content-Type": "text/x-test"})[0] == 403

    status, _, text = fetch(world, "GET", url("get_object", Key=key).replace("/parts?", "/party?"))
    assert (status, b"<Code>SignatureDoesNotMatch<" in text) == (403, True), text
    status, _, text = fetch(world, "GET", url("get_object", Key="b/x"))
    assert (status, b"<Code>AccessDenied<" in text) == (403, True), text
    s3.delete_object(Bucket=bucket, Key=key)


def late(world):
    """A refusal that comes after the answer has begun: botocore makes a 500 of it and asks again."""
    s3, bucket, key = connect(world), world["bucket"], world["prefix"] + "late"
    upload = s3.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
    part = s3.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=1, Body=b"looked at for long")
    parts = [{"PartNumber": 1, "ETag": part["ETag"]}]
    answer = refused(
        "InspectionFailed", 403, s3.complete_multipart_upload,
        Bucket=bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": parts},
    )
    assert answer["ResponseMetadata"]["RetryAttempts"] > 0, answer


def keys(world):
    """What becomes of keys that are not good: told at once, and not tried again."""
    bucket, key = world["bucket"], world["prefix"] + "x"
    unknown, wrong = connect({**world, "id": "CSAKNOBODY"}), connect({**world, "secret": "x" * 40})
    answers = [
        refused("InvalidAccessKeyId", 403, unknown.get_object, Bucket=bucket, Key=key),
        refused("SignatureDoesNotMatch", 403, wrong.get_object, Bucket=bucket, Key=key),
        refused("SignatureDoesNotMatch", 403, wrong.put_object, Bucket=bucket, Key=key, Body=content(2 << 20)),
        refused("SignatureDoesNotMatch", 403, wrong.put_object, Bucket=bucket, Key=key, Body=io.BytesIO(content(20 << 20))),
        refused("403", 403, wrong.head_object, Bucket=bucket, Key=key),
        refused("SignatureDoesNotMatch", 403, wrong.list_objects_v2, Bucket=bucket, Prefix=world["prefix"]),
        refused("SignatureDoesNotMatch", 403, wrong.delete_objects, Bucket=bucket, Delete={"Objects": [{"Key": key}]}),
    ]
    for answer in answers:
        assert answer["ResponseMetadata"]["RetryAttempts"] == 0, f"a refusal was tried again: {answer}"
        assert answer["ResponseMetadata"]["HTTPHeaders"]["x-amz-request-id"], answer


def regions(world):
    """A region that the gateway does not accept: boto3 is told the right one, and signs again."""
    s3, bucket, key = connect({**world, "region": "mars-1"}), world["bucket"], world["prefix"] + "regions"
    s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    assert connect({**world, "region": "mars-1"}).head_object(Bucket=bucket, Key=key)["ContentLength"] == 1
    assert connect({**world, "region": "mars-1"}).list_objects_v2(Bucket=bucket, Prefix=key)["KeyCount"] == 1
    s3.delete_object(Bucket=bucket, Key=key)


def administration(world):
    """The settings of a bucket: through the gateway as directly, whatever the store makes of them."""
    direct = boto3.client(
        "s3",
        endpoint_url=world["store"],
        region_name="us-east-1",
        aws_access_key_id=world["access_key"],
        aws_secret_access_key=world["secret_key"],
        config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 0}),
    )
    s3 = connect(world)
    seen, wanted = life_of_a_bucket(world, s3, world["name"] + "-g"), life_of_a_bucket(world, direct, world["name"] + "-d")
    elsewhere = {"LocationConstraint": "mars-1"}
    refused("IllegalLocationConstraintException", 400, s3.create_bucket, Bucket=world["name"], CreateBucketConfiguration=elsewhere)
    # A store that does not know a setting answers with a listing or does the plain request; the gateway says so instead.
    differing = {
        step: (wanted[step], seen[step]) for step in wanted if seen[step] != wanted[step] and seen[step] != ("NotImplemented", 501)
    }
    assert not differing, json.dumps(differing, indent=1, default=str)
    unknown = [step for step in wanted if seen[step] == ("NotImplemented", 501) and wanted[step] != seen[step]]
    assert sorted(unknown) == sorted(world["unknown"]), unknown
    done = [step for step in seen if isinstance(seen[step], dict)]
    failed = {step: seen[step] for step in world["known"] if step not in done}
    assert not failed, failed


def life_of_a_bucket(world, s3, bucket):
    rule = {"ID": "r", "Status": "Enabled", "Filter": {"Prefix": "tmp/"}, "Expiration": {"Days": 3}}
    cors = {"AllowedMethods": ["GET"], "AllowedOrigins": ["https://example.com"], "MaxAgeSeconds": 60}
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{bucket}/public/*"}
        ],
    }
    sse = {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]}
    block = {"BlockPublicAcls": True, "IgnorePublicAcls": False, "BlockPublicPolicy": False, "RestrictPublicBuckets": False}
    tags = {"TagSet": [{"Key": "team", "Value": "a + b@c"}]}
    b = {"Bucket": bucket}
    k = {"Bucket": bucket, "Key": "a/x"}
    steps = [
        ("get before it is there", s3.get_bucket_versioning, b),
        ("create", s3.create_bucket, b),
        ("head", s3.head_bucket, b),
        ("location", s3.get_bucket_location, b),
        ("put object", s3.put_object, {**k, "Body": b"x"}),
        ("delete full", s3.delete_bucket if world["keeps_full_buckets"] else s3.head_bucket, b),
        ("get object acl", s3.get_object_acl, k),
        ("put object acl", s3.put_object_acl, {**k, "ACL": "public-read"}),
        ("get object acl again", s3.get_object_acl, k),
        ("get retention", s3.get_object_retention, k),
        ("get legal hold", s3.get_object_legal_hold, k),
        ("delete object", s3.delete_object, k),
        ("get versioning", s3.get_bucket_versioning, b),
        ("put versioning", s3.put_bucket_versioning, {**b, "VersioningConfiguration": {"Status": "Enabled"}}),
        ("get versioning again", s3.get_bucket_versioning, b),
        ("put tagging", s3.put_bucket_tagging, {**b, "Tagging": tags}),
        ("get tagging", s3.get_bucket_tagging, b),
        ("delete tagging", s3.delete_bucket_tagging, b),
        ("get no tagging", s3.get_bucket_tagging, b),
        ("get no cors", s3.get_bucket_cors, b),
        ("put cors", s3.put_bucket_cors, {**b, "CORSConfiguration": {"CORSRules": [cors]}}),
        ("get cors", s3.get_bucket_cors, b),
        ("delete cors", s3.delete_bucket_cors, b),
        ("get no lifecycle", s3.get_bucket_lifecycle_configuration, b),
        ("put lifecycle", s3.put_bucket_lifecycle_configuration, {**b, "LifecycleConfiguration": {"Rules": [rule]}}),
        ("get lifecycle", s3.get_bucket_lifecycle_configuration, b),
        ("delete lifecycle", s3.delete_bucket_lifecycle, b),
        ("get no policy", s3.get_bucket_policy, b),
        ("put policy", s3.put_bucket_policy, {**b, "Policy": json.dumps(policy)}),
        ("get policy", s3.get_bucket_policy, b),
        ("get policy status", s3.get_bucket_policy_status, b),
        ("delete policy", s3.delete_bucket_policy, b),
        ("get acl", s3.get_bucket_acl, b),
        ("put acl", s3.put_bucket_acl, {**b, "ACL": "public-read"}),
        ("get acl again", s3.get_bucket_acl, b),
        ("get no encryption", s3.get_bucket_encryption, b),
        ("put encryption", s3.put_bucket_encryption, {**b, "ServerSideEncryptionConfiguration": sse}),
        ("get encryption", s3.get_bucket_encryption, b),
        ("delete encryption", s3.delete_bucket_encryption, b),
        ("get no block", s3.get_public_access_block, b),
        ("put block", s3.put_public_access_block, {**b, "PublicAccessBlockConfiguration": block}),
        ("get block", s3.get_public_access_block, b),
        ("delete block", s3.delete_public_access_block, b),
        ("get lock", s3.get_object_lock_configuration, b),
        ("get ownership", s3.get_bucket_ownership_controls, b),
        ("get payment", s3.get_bucket_request_payment, b),
        ("get logging", s3.get_bucket_logging, b),
        ("get notification", s3.get_bucket_notification_configuration, b),
        ("get website", s3.get_bucket_website, b),
        ("get replication", s3.get_bucket_replication, b),
        ("get accelerate", s3.get_bucket_accelerate_configuration, b),
        ("list analytics", s3.list_bucket_analytics_configurations, b),
        ("list inventory", s3.list_bucket_inventory_configurations, b),
        ("listed", lambda **_: {"names": [entry["Name"] for entry in s3.list_buckets()["Buckets"] if entry["Name"] == bucket]}, {}),
        ("delete", s3.delete_bucket, b),
        ("delete again", s3.delete_bucket, b),
        ("head at the end", s3.head_bucket, b),
    ]
    return {name: outcome(call, arguments, bucket) for name, call, arguments in steps if name not in world["skip"]}


def outcome(call, arguments, bucket):
    try:
        answer = call(**arguments)
    except ClientError as error:
        code, status = error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]
        # A fault of the store is one of the gateway's upstream: 502.
        return ("fault", 5) if status in (500, 502) else (code, status)
    status = answer.pop("ResponseMetadata", {}).get("HTTPStatusCode")
    owner = answer.pop("Owner", {}).get("ID")
    for grant in answer.get("Grants", []):
        if grant["Grantee"].get("ID") == owner:
            grant["Grantee"] = {"Type": grant["Grantee"]["Type"], "ID": "owner"}
    # What describes the object of this run, the name of the bucket, or the region, which is that of the configuration.
    for name in ["ETag", "VersionId", "ChecksumCRC32", "ChecksumType", "DeleteMarker", "BucketRegion", "Location", "LocationConstraint", "AccessPointAlias"]:
        answer.pop(name, None)
    return json.loads(json.dumps({"status": status, **answer}, default=str).replace(bucket, "B"))


if __name__ == "__main__":
    scenarios = [
        objects, uploads, transfers, batches, tags, one, refusals, rejected, outage, presigned, keys, regions, administration,
        late,
    ]
    {scenario.__name__: scenario for scenario in scenarios}[sys.argv[1]](json.load(sys.stdin))
