"""A whole application's life with boto3, once straight at the store and once through the gateway: both see the same.

usage: life.py application, with a JSON object on standard input: endpoint, token as for boto.py; store (endpoint, access_key,
secret_key) as for lists.py; kind (seaweedfs or rgw), name (the beginning of the names of the two buckets).

Each side makes a bucket, lives in it and removes it, and writes down what it was told: statuses, error codes, names, sizes, digests of
bodies, metadata, tags, versions. The ids of a key are numbered in the order in which they appear, and dates are a word. What still differs must be
explained in EXPLAINED, and what is explained there must differ.
"""

import concurrent.futures
import datetime
import fnmatch
import hashlib
import io
import itertools
import json
import pathlib
import random
import re
import sys
import tempfile
import time

from boto3.exceptions import S3UploadFailedError
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import BotoCoreError, ClientError

from boto import KEYS, connect
from lists import direct

LARGE = (200 << 20) + 7
MANY = 3100
LONG_AGO = datetime.datetime(2001, 1, 1, tzinfo=datetime.timezone.utc)
PARTS = TransferConfig(multipart_threshold=16 << 20, multipart_chunksize=16 << 20, max_concurrency=4)
IDS = {"VersionId": "version", "CopySourceVersionId": "version", "DeleteMarkerVersionId": "version", "UploadId": "upload"}
# Where the next page of a list begins is in the words of whoever made the page; that the pages have the same content is compared.
CURSORS = ["NextContinuationToken", "ContinuationToken", "Marker", "NextMarker", "KeyMarker", "NextKeyMarker", "VersionIdMarker"]
CURSORS += ["NextVersionIdMarker", "UploadIdMarker", "NextUploadIdMarker"]

# (step, place in the answer, why it differs), with * for any text.
EXPLAINED = {
    "both": [
        ("*", "CacheControl", "the gateway says private where the object says nothing"),
        ("head", "BucketRegion", "the gateway says the configured region"),
        ("*", "*Owner.*", "who owns things at the store is not told"),
        ("copy from no bucket", "error", "the gateway asks for the source with HEAD, whose answer has no code"),
        ("too many at once", "error", "the gateway has the code of S3"),
        ("complete", "Location", "where the store has the object is not told"),
        ("put a tag twice", "*", "the gateway holds tags to the limits of S3"),
    ],
    "seaweedfs": [
        ("*", "*EncodingType", "SeaweedFS ignores it for versions, and says an empty one for uploads"),
        ("*upload*", "*Delimiter", "SeaweedFS says an empty one"),
        ("empty *", "Deleted.*.VersionId", "SeaweedFS leaves it out for a removed marker"),
        ("list parts", "MaxParts", "the page of the gateway is that of S3"),
        ("*uploads*", "*MaxUploads", "the page of the gateway is that of S3"),
    ],
    "rgw": [
        ("put with a wrong *", "*", "RGW does not know checksums, the gateway does"),
        ("head what was wrong", "*", "so it was stored"),
        ("create", "Location", "RGW says none, S3 and the gateway do"),
        ("attributes", "*", "RGW does not know it: 500; the gateway says NotImplemented"),
        ("copy if another", "*", "RGW ignores this condition, the gateway looks itself"),
        ("copy if not this", "*", "RGW ignores this condition, the gateway looks itself"),
        ("complete backward", "*", "RGW takes the parts in any order, the gateway only in theirs"),
        ("behind a key", "Versions.*", "RGW begins with the key, S3 and the gateway behind it"),
        ("list uploads of the emptied bucket", "Prefix", "RGW says none, S3 and the gateway an empty one"),
        ("uploads", "*.Initiator.*", "who began it is not told"),
    ],
}


class Life:
    """One side: its client, its bucket, and what it has been told so far."""

    def __init__(self, client, bucket, kind, folder):
        self.client, self.bucket, self.kind, self.folder = client, bucket, kind, folder
        self.told, self.ids, self.seconds, self.key = [], {}, {}, None

    def step(self, name, call, **arguments):
        """Calls an operation of boto3 on the bucket, writes down the outcome, and gives the answer (an empty one after an error)."""
        self.key = arguments.get("Key")
        answer = self.attempt(name, getattr(self.client, call), Bucket=self.bucket, **arguments)
        return answer or {}

    def forget(self, prefix):
        """Removes, without a word, what one side may have been allowed to store and the other not."""
        page = self.client.list_object_versions(Bucket=self.bucket, Prefix=prefix)
        for entry in page.get("Versions", []) + page.get("DeleteMarkers", []):
            self.client.delete_object(Bucket=self.bucket, Key=entry["Key"], VersionId=entry["VersionId"])

    def attempt(self, name, call, *positional, **arguments):
        begun = time.monotonic()
        answer = None
        try:
            answer = call(*positional, **arguments)
            self.note(name, answer)
        except ClientError as error:
            self.note(name, {"error": error.response["Error"]["Code"], "status": status(error.response)})
        except (BotoCoreError, S3UploadFailedError) as error:
            self.note(name, {"error": type(error).__name__})
        self.seconds[name] = time.monotonic() - begun
        return answer

    def note(self, name, answer):
        assert all(name != other for other, _ in self.told), f"two steps are called {name}"
        self.told.append((name, self.normal(answer)))

    def normal(self, value, name="", key=None):
        if name == "ResponseMetadata":
            retries = value.get("RetryAttempts")
            return f"{value.get('HTTPStatusCode')} after {retries} retries" if retries else value.get("HTTPStatusCode")
        if name == "Body":
            body = value.read()
            return {"length": len(body), "sha256": hashlib.sha256(body).hexdigest()}
        if name in IDS and value != "null":
            known = self.ids.setdefault((IDS[name], key or self.key), {})
            return known.setdefault(value, f"{IDS[name]} {len(known) + 1}")
        if isinstance(value, dict):
            key = value.get("Key", key)
            return {name: self.normal(inner, name, key) for name, inner in value.items() if name not in CURSORS}
        if isinstance(value, (list, tuple)):
            return [self.normal(inner, "", key) for inner in value]
        if isinstance(value, datetime.datetime):
            return "a date"
        if isinstance(value, str):
            return value.replace(self.bucket, "BUCKET").replace(self.client.meta.endpoint_url, "ENDPOINT")
        return value

    def pages(self, name, operation, size, **arguments):
        """All pages of a list. SeaweedFS orders uploads by their ids, so these are compared by their keys."""
        found = []
        for page in self.client.get_paginator(operation).paginate(
            Bucket=self.bucket, PaginationConfig={"PageSize": size}, **arguments
        ):
            found.append(page)
            assert len(found) < 2000, "the pages never end"
            page.get("Uploads", []).sort(key=lambda upload: upload["Key"])
        self.note(name, {"pages": found})
        return found


def status(answer):
    return answer["ResponseMetadata"]["HTTPStatusCode"]


def beginning(life):
    s = life.step
    s("head before it is there", "head_bucket")
    s("list before it is there", "list_objects_v2")
    s("create", "create_bucket")
    s("head", "head_bucket")
    s("list nothing", "list_objects_v2")
    s("get versioning", "get_bucket_versioning")
    s("put versioning", "put_bucket_versioning", VersioningConfiguration={"Status": "Enabled"})
    s("get versioning again", "get_bucket_versioning")
    s("get no tags of the bucket", "get_bucket_tagging")
    s("tag the bucket", "put_bucket_tagging", Tagging={"TagSet": [{"Key": "team", "Value": "a + b@c"}]})
    s("get tags of the bucket", "get_bucket_tagging")
    s("untag the bucket", "delete_bucket_tagging")
    s("get no tags of the bucket again", "get_bucket_tagging")


def objects(life):
    s = life.step
    described = {
        "ContentType": "text/x-test",
        "CacheControl": "max-age=60",
        "ContentDisposition": 'attachment; filename="a b.txt"',
        "ContentLanguage": "en",
        "Metadata": {"note": "n 1", "Owner": "Ada"},
    }
    s("put", "put_object", Key="a/one", Body=filling(1000), Tagging="stage=new&team=red", **described)
    s("head object", "head_object", Key="a/one")
    s("get object", "get_object", Key="a/one")
    s("put empty", "put_object", Key="a/empty", Body=b"")
    s("get empty", "get_object", Key="a/empty")
    s("put gzip", "put_object", Key="a/gzip", Body=filling(100), ContentEncoding="gzip")
    s("head gzip", "head_object", Key="a/gzip")
    for key in KEYS:
        s(f"put {key}", "put_object", Key=f"odd/{key}", Body=filling(50 + len(key)))
        s(f"get {key}", "get_object", Key=f"odd/{key}")
    for algorithm in ["CRC32", "SHA1", "SHA256"]:
        s(f"put {algorithm}", "put_object", Key=f"sum/{algorithm}", Body=filling(3 << 20), ChecksumAlgorithm=algorithm)
        s(f"head {algorithm}", "head_object", Key=f"sum/{algorithm}", ChecksumMode="ENABLED")
        s(f"get {algorithm}", "get_object", Key=f"sum/{algorithm}", ChecksumMode="ENABLED")
    s("put with a wrong MD5", "put_object", Key="sum/wrong", Body=b"x", ContentMD5="AAAAAAAAAAAAAAAAAAAAAA==")
    s("put with a wrong CRC32", "put_object", Key="sum/wrong", Body=b"x", ChecksumCRC32="AAAAAA==")
    s("put with a wrong SHA256", "put_object", Key="sum/wrong", Body=b"x", ChecksumSHA256="A" * 43 + "=")
    s("head what was wrong", "head_object", Key="sum/wrong")
    life.forget("sum/wrong")
    s("attributes", "get_object_attributes", Key="a/one", ObjectAttributes=["ETag", "ObjectSize", "StorageClass"])
    s("get nothing", "get_object", Key="a/nothing")
    s("head nothing", "head_object", Key="a/nothing")
    s("delete nothing", "delete_object", Key="a/nothing-2")


def conditions(life):
    s, key = life.step, "if/one"
    s("put if there is none", "put_object", Key=key, Body=b"one", IfNoneMatch="*")
    s("put if there is none, but there is", "put_object", Key=key, Body=b"two", IfNoneMatch="*")
    etag = s("head what is there", "head_object", Key=key)["ETag"]
    s("put if it is another", "put_object", Key=key, Body=b"three", IfMatch='"00000000000000000000000000000000"')
    s("put if it is this", "put_object", Key=key, Body=b"four", IfMatch=etag)
    s("put if it is there, but it is not", "put_object", Key="if/none", Body=b"five", IfMatch=etag)
    etag = s("head what is there now", "head_object", Key=key).get("ETag", etag)
    later = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=-1)
    for call in ["get_object", "head_object"]:
        s(f"{call} if this", call, Key=key, IfMatch=etag)
        s(f"{call} if another", call, Key=key, IfMatch='"0"')
        s(f"{call} if not this", call, Key=key, IfNoneMatch=etag)
        s(f"{call} if not another", call, Key=key, IfNoneMatch='"0"')
        s(f"{call} if modified since long ago", call, Key=key, IfModifiedSince=LONG_AGO)
        s(f"{call} if unmodified since long ago", call, Key=key, IfUnmodifiedSince=LONG_AGO)
        s(f"{call} if modified since yesterday", call, Key=key, IfModifiedSince=later)


def ranges(life):
    for asked in ["bytes=0-9", "bytes=10-", "bytes=-5", "bytes=999-999", "bytes=990-2000", "bytes=1000-", "bytes=5000-6000"]:
        life.step(f"get {asked}", "get_object", Key="a/one", Range=asked)
    life.step("head a range", "head_object", Key="a/one", Range="bytes=0-9")
    life.step("get part 1 of a whole", "get_object", Key="a/one", PartNumber=1)


def copies(life):
    s, source = life.step, {"Bucket": life.bucket, "Key": "a/one"}
    s("copy", "copy_object", Key="copy/as-is", CopySource=source)
    s("head the copy", "head_object", Key="copy/as-is")
    s("tags of the copy", "get_object_tagging", Key="copy/as-is")
    other = {"MetadataDirective": "REPLACE", "Metadata": {"note": "n 2"}, "ContentType": "text/x-other"}
    s("copy with other metadata", "copy_object", Key="copy/other", CopySource=source, **other)
    s("head the other copy", "head_object", Key="copy/other")
    s("get the other copy", "get_object", Key="copy/other")
    s("copy with other tags", "copy_object", Key="copy/tags", CopySource=source, TaggingDirective="REPLACE", Tagging="stage=copied")
    s("other tags of the copy", "get_object_tagging", Key="copy/tags")
    s("copy onto itself", "copy_object", Key="copy/other", CopySource={**source, "Key": "copy/other"})
    again = {"MetadataDirective": "REPLACE", "Metadata": {"note": "n 3"}}
    s("copy onto itself with other metadata", "copy_object", Key="copy/other", CopySource={**source, "Key": "copy/other"}, **again)
    s("head it again", "head_object", Key="copy/other")
    s("copy an odd key", "copy_object", Key="copy/ü %2F", CopySource={**source, "Key": "odd/ü/日本"})
    s("get the odd copy", "get_object", Key="copy/ü %2F")
    s("copy nothing", "copy_object", Key="copy/x", CopySource={**source, "Key": "a/nothing"})
    s("copy from no bucket", "copy_object", Key="copy/x", CopySource={"Bucket": life.bucket + "-x", "Key": "a/one"})
    s("copy if another", "copy_object", Key="copy/x", CopySource=source, CopySourceIfMatch='"0"')
    etag = s("head the source", "head_object", Key="a/one")["ETag"]
    s("copy if this", "copy_object", Key="copy/this", CopySource=source, CopySourceIfMatch=etag)
    s("copy if not this", "copy_object", Key="copy/x", CopySource=source, CopySourceIfNoneMatch=etag)
    life.forget("copy/x")


def tags(life):
    s, key = life.step, "a/one"
    version = s("tags", "get_object_tagging", Key=key).get("VersionId")
    some = [{"Key": "stage", "Value": "old"}, {"Key": "a b", "Value": "red + blue"}]
    s("put tags", "put_object_tagging", Key=key, Tagging={"TagSet": some})
    s("get tags", "get_object_tagging", Key=key)
    s("head tagged", "head_object", Key=key)
    s("put a tag twice", "put_object_tagging", Key="odd/plain.txt", Tagging={"TagSet": some[:1] * 2})
    s("delete tags", "delete_object_tagging", Key=key)
    s("get no tags", "get_object_tagging", Key=key)
    s("tags of nothing", "get_object_tagging", Key="a/nothing")
    version = version or s("head for its version", "head_object", Key=key)["VersionId"]
    s("put tags of a version", "put_object_tagging", Key=key, VersionId=version, Tagging={"TagSet": some[:1]})
    s("get tags of a version", "get_object_tagging", Key=key, VersionId=version)


def versions(life):
    s, key = life.step, "v/one"
    ids = [s(f"put version {n}", "put_object", Key=key, Body=b"body %d" % n, Metadata={"n": str(n)})["VersionId"] for n in range(3)]
    for n, version in enumerate(ids):
        s(f"get version {n}", "get_object", Key=key, VersionId=version)
        s(f"head version {n}", "head_object", Key=key, VersionId=version)
    s("get no such version", "get_object", Key=key, VersionId=ids[0][:-4] + "0000")
    s("list three versions", "list_object_versions", Prefix="v/")
    marker = s("delete it", "delete_object", Key=key)["VersionId"]
    s("get what is deleted", "get_object", Key=key)
    s("head what is deleted", "head_object", Key=key)
    s("head the marker", "head_object", Key=key, VersionId=marker)
    s("get a version behind the marker", "get_object", Key=key, VersionId=ids[1])
    s("list the marker", "list_object_versions", Prefix="v/")
    s("list without it", "list_objects_v2", Prefix="v/")
    s("delete the marker", "delete_object", Key=key, VersionId=marker)
    s("get it again", "get_object", Key=key)
    s("restore an old version", "copy_object", Key=key, CopySource={"Bucket": life.bucket, "Key": key, "VersionId": ids[0]})
    s("get the restored", "get_object", Key=key)
    s("delete the latest old version", "delete_object", Key=key, VersionId=ids[2])
    s("get the deleted version", "get_object", Key=key, VersionId=ids[2])
    s("list what is left", "list_object_versions", Prefix="v/")


def multipart(life):
    s, key = life.step, "parts/one"
    upload = s("begin", "create_multipart_upload", Key=key, ContentType="text/x-test", Metadata={"note": "n 4"})["UploadId"]
    ids = {"Key": key, "UploadId": upload}
    parts = [
        {"PartNumber": n, "ETag": s(f"part {n}", "upload_part", PartNumber=n, Body=filling(size, n), **ids)["ETag"]}
        for n, size in [(1, 5 << 20), (2, 5 << 20), (3, 77)]
    ]
    s("list parts", "list_parts", **ids)
    s("list some parts", "list_parts", MaxParts=2, **ids)
    s("complete", "complete_multipart_upload", MultipartUpload={"Parts": parts}, **ids)
    s("head parts", "head_object", Key=key)
    s("get parts", "get_object", Key=key)
    s("get part 2", "get_object", Key=key, PartNumber=2)
    s("head part 3", "head_object", Key=key, PartNumber=3)
    upload = s("begin to abort", "create_multipart_upload", Key="parts/two")["UploadId"]
    ids = {"Key": "parts/two", "UploadId": upload}
    s("part to abort", "upload_part", PartNumber=1, Body=filling(1 << 20), **ids)
    source = {"Bucket": life.bucket, "Key": key}
    s("part by copy", "upload_part_copy", PartNumber=2, CopySource=source, CopySourceRange="bytes=10-99", **ids)
    s("abort", "abort_multipart_upload", **ids)
    s("part of what is aborted", "upload_part", PartNumber=3, Body=b"x", **ids)
    s("list parts of what is aborted", "list_parts", **ids)
    s("abort again", "abort_multipart_upload", **ids)
    s("head what is aborted", "head_object", Key="parts/two")
    upload = s("begin too small", "create_multipart_upload", Key="parts/small")["UploadId"]
    ids = {"Key": "parts/small", "UploadId": upload}
    small = [{"PartNumber": n, "ETag": s(f"small part {n}", "upload_part", PartNumber=n, Body=b"x", **ids)["ETag"]} for n in [1, 2]]
    s("complete too small", "complete_multipart_upload", MultipartUpload={"Parts": small}, **ids)
    s("abort too small", "abort_multipart_upload", **ids)
    life.forget("parts/small")
    for name in ["backward", "wrong part"]:
        upload = s(f"begin {name}", "create_multipart_upload", Key=f"parts/{name}")["UploadId"]
        ids = {"Key": f"parts/{name}", "UploadId": upload}
        parts = [
            {"PartNumber": n, "ETag": s(f"{name} {n}", "upload_part", PartNumber=n, Body=filling(5 << 20, n), **ids)["ETag"]}
            for n in [1, 2]
        ]
        wrong = parts[::-1] if name == "backward" else [{**parts[0], "ETag": '"00000000000000000000000000000000"'}]
        s(f"complete {name}", "complete_multipart_upload", MultipartUpload={"Parts": wrong}, **ids)
        # Not written down: one side may have completed it.
        try:
            life.client.abort_multipart_upload(Bucket=life.bucket, **ids)
        except ClientError as error:
            assert error.response["Error"]["Code"] == "NoSuchUpload", error
        life.forget(f"parts/{name}")


def large(life):
    """What `aws s3 cp` and most programs do with a large file: parts side by side, in threads."""
    client, bucket, source = life.client, life.bucket, pathlib.Path(life.folder, "large")
    extra = {"ContentType": "text/x-test", "Metadata": {"note": "n 5"}}
    life.attempt("upload a file", client.upload_file, str(source), bucket, "large/file", ExtraArgs=extra, Config=PARTS)
    life.step("head the file", "head_object", Key="large/file")
    life.note("download the file", download(life, "large/file"))
    life.step("last part of the file", "get_object", Key="large/file", PartNumber=13)
    life.step("end of the file", "get_object", Key="large/file", Range="bytes=-100")
    life.attempt("copy the file", client.copy, {"Bucket": bucket, "Key": "large/file"}, bucket, "large/copy", Config=PARTS)
    life.step("head the copied file", "head_object", Key="large/copy")
    life.note("download the copied file", download(life, "large/copy"))
    with source.open("rb") as file:
        life.attempt("upload an open file", client.upload_fileobj, file, bucket, "large/open", Config=PARTS)
    life.step("head the open file", "head_object", Key="large/open")
    life.note("download the open file", download(life, "large/open"))


def download(life, key):
    """Downloads in parts side by side and compares with the source byte for byte."""
    with tempfile.TemporaryFile(dir=life.folder) as found, pathlib.Path(life.folder, "large").open("rb") as wanted:
        life.client.download_fileobj(life.bucket, key, found, Config=PARTS)
        found.seek(0)
        for offset in itertools.count(0, 1 << 20):
            one, other = found.read(1 << 20), wanted.read(1 << 20)
            assert one == other, f"{key} differs behind byte {offset}"
            if not one:
                return {"length": found.tell()}


def many(life):
    keys = [f"many/d{n % 7}/{n:04}" for n in range(MANY)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: life.client.put_object(Bucket=life.bucket, Key=key, Body=key.encode()), keys))
    for operation in ["list_objects", "list_objects_v2", "list_object_versions"]:
        found = life.pages(f"{operation}: all", operation, 1000, Prefix="many/")
        kind = "Versions" if operation == "list_object_versions" else "Contents"
        assert [entry["Key"] for page in found for entry in page[kind]] == sorted(keys), operation
        life.pages(f"{operation}: 70 a page", operation, 70, Prefix="many/d3/")
        life.pages(f"{operation}: folders", operation, 3, Prefix="many/", Delimiter="/")
        life.pages(f"{operation}: one folder", operation, 300, Prefix="many/d2/", Delimiter="/")
        life.pages(f"{operation}: nothing", operation, 10, Prefix="nothing/")
    life.step("start after", "list_objects_v2", Prefix="many/", StartAfter="many/d2/0100", MaxKeys=5)
    life.step("behind a marker", "list_objects", Prefix="many/", Marker="many/d2/0100", MaxKeys=5)
    life.step("behind a key", "list_object_versions", Prefix="many/", KeyMarker="many/d2/0100", MaxKeys=5)
    life.pages("the whole bucket by folders", "list_objects_v2", 1000, Delimiter="/")
    uploads = {key: life.client.create_multipart_upload(Bucket=life.bucket, Key=key)["UploadId"] for key in keys[:12]}
    life.pages("uploads", "list_multipart_uploads", 100, Prefix="many/")
    pages = life.client.get_paginator("list_multipart_uploads").paginate(
        Bucket=life.bucket, Prefix="many/", PaginationConfig={"PageSize": 5}
    )
    life.note("uploads by five", sorted(upload["Key"] for page in pages for upload in page["Uploads"]))
    for key, upload in uploads.items():
        life.step(f"abort {key}", "abort_multipart_upload", Key=key, UploadId=upload)
    life.step("no uploads", "list_multipart_uploads", Prefix="many/")


def batches(life):
    keys = [{"Key": f"many/d{n % 7}/{n:04}"} for n in range(1500)]
    batch(life, "batch 1", keys[:1000])
    batch(life, "batch 2", keys[1000:] + [{"Key": "many/nothing"}], Quiet=True)
    life.step("too many at once", "delete_objects", Delete={"Objects": keys[:1001]})
    left = life.pages("left by the batches", "list_objects_v2", 1000, Prefix="many/")
    assert sum(page["KeyCount"] for page in left) == MANY - 1500
    life.pages("versions with markers", "list_object_versions", 1000, Prefix="many/d1/")


def batch(life, name, objects, **more):
    """A batch delete; what it says of the objects is compared by their keys and versions."""
    answer = life.client.delete_objects(Bucket=life.bucket, Delete={"Objects": objects, **more})
    for part in ["Deleted", "Errors"]:
        answer.get(part, []).sort(key=lambda entry: (entry["Key"], named(life, entry)))
    for entry in answer.get("Errors", []):
        entry.pop("Message", None)
    life.note(name, answer)


def named(life, entry):
    """The version that an entry of an answer is about; SeaweedFS leaves out the id of a removed marker where S3 has it."""
    return life.normal(entry.get("VersionId") or entry.get("DeleteMarkerVersionId") or "null", "VersionId", entry["Key"])


def ending(life):
    # SeaweedFS removes a bucket with everything in it.
    if life.kind == "rgw":
        life.step("delete the full bucket", "delete_bucket")
    for n in itertools.count():
        page = life.client.list_object_versions(Bucket=life.bucket)
        found = page.get("Versions", []) + page.get("DeleteMarkers", [])
        if not found:
            break
        assert n < 20, f"the bucket is not emptied: {found[:3]}"
        batch(life, f"empty {n}", [{"Key": entry["Key"], "VersionId": entry["VersionId"]} for entry in found])
    life.step("list the emptied bucket", "list_objects_v2")
    life.step("list uploads of the emptied bucket", "list_multipart_uploads")
    life.step("delete the bucket", "delete_bucket")
    life.step("delete it again", "delete_bucket")
    life.step("head at the end", "head_bucket")
    life.step("put at the end", "put_object", Key="x", Body=b"x")


CHAPTERS = [beginning, objects, conditions, ranges, copies, tags, versions, multipart, large, many, batches, ending]


def filling(length, seed=0):
    """Bytes that do not repeat, so that pieces in a wrong order are seen."""
    return random.Random(seed).randbytes(length)


def live(world, through, folder):
    client = connect(world) if through else direct(world)
    life = Life(client, f"{world['name']}-{'g' if through else 'd'}", world["kind"], folder)
    for chapter in CHAPTERS:
        begun = time.monotonic()
        try:
            chapter(life)
        except Exception as error:
            # Pickled errors of botocore lose where they came from.
            import traceback

            side = "through the gateway" if through else "straight"
            raise AssertionError(f"{side}: {chapter.__name__}: {traceback.format_exc()}") from None
        life.seconds[f"chapter {chapter.__name__}"] = time.monotonic() - begun
    return life.told, life.seconds


def leaves(value, place=""):
    """The single values of an answer, each with its place, such as `Contents.3.Key`."""
    if isinstance(value, (dict, list)) and value:
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for name, inner in pairs:
            yield from leaves(inner, f"{place}.{name}" if place else str(name))
    else:
        yield place, value


def differences(straight, through):
    assert [name for name, _ in straight] == [name for name, _ in through]
    for (step, wanted), (_, found) in zip(straight, through):
        wanted, found = dict(leaves(wanted)), dict(leaves(found))
        for place in sorted(wanted.keys() | found.keys()):
            if wanted.get(place) != found.get(place):
                yield step, place, wanted.get(place), found.get(place)


def application(world):
    with tempfile.TemporaryDirectory() as folder:
        with pathlib.Path(folder, "large").open("wb") as file:
            for n in range(LARGE >> 20):
                file.write(filling(1 << 20, n))
            file.write(filling(LARGE & ((1 << 20) - 1)))
        with concurrent.futures.ProcessPoolExecutor(2) as pool:
            sides = [pool.submit(live, world, through, folder) for through in [False, True]]
            (straight, _), (through, seconds) = [side.result() for side in sides]
    explained = EXPLAINED["both"] + EXPLAINED[world["kind"]]
    used, unexplained = set(), {}
    for step, place, wanted, found in differences(straight, through):
        reasons = [entry for entry in explained if fnmatch.fnmatchcase(step, entry[0]) and fnmatch.fnmatchcase(place, entry[1])]
        used.update(reasons)
        if not reasons:
            alike = (re.sub(r"\b[0-9]+\b", "*", place), wanted, found)
            unexplained.setdefault(alike, []).append(step)
    if world.get("timing"):
        print(json.dumps({name: round(s, 2) for name, s in seconds.items() if s > 0.5}, indent=1))
    told = [f"{where}: straight {a!r}, through the gateway {b!r}: {sorted(set(steps))}" for (where, a, b), steps in unexplained.items()]
    assert not told, f"{len(told)} kinds of differences:\n" + "\n".join(told[:80])
    assert len(used) == len(explained), f"explained, but the same: {[entry for entry in explained if entry not in used]}"


if __name__ == "__main__":
    scenarios = [application]
    {scenario.__name__: scenario for scenario in scenarios}[sys.argv[1]](json.load(sys.stdin))
