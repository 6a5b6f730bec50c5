"""Browser forms as boto3 signs them and urllib3 sends them.

usage: forms.py SCENARIO, with a JSON object on standard input: endpoint, bucket, prefix, access_key_id, secret_access_key.
Exits with 0 if everything came out as the scenario says; otherwise the traceback tells what did not.
"""

import hashlib
import json
import sys

import boto3
import urllib3
from botocore.config import Config


def connect(world):
    return boto3.client(
        "s3",
        endpoint_url=world["endpoint"],
        region_name="us-east-1",
        aws_access_key_id=world["access_key_id"],
        aws_secret_access_key=world["secret_access_key"],
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    )


def content(length):
    block = hashlib.sha512(b"content").digest() * 1024
    return (block * (length // len(block) + 1))[:length]


def post(form, file, **changes):
    fields = {**form["fields"], **changes, "file": file}
    return urllib3.PoolManager().request("POST", form["url"], fields=fields, redirect=False)


def forms(world):
    s3, bucket = connect(world), world["bucket"]
    data = content(3 * 1024 * 1024)
    form = s3.generate_presigned_post(
        bucket,
        world["prefix"] + "boto/${filename}",
        Fields={"acl": "private", "success_action_status": "201", "Content-Type": "image/png"},
        Conditions=[
            {"acl": "private"},
            {"success_action_status": "201"},
            ["starts-with", "$Content-Type", "image/"],
            ["content-length-range", 1, len(data)],
        ],
        ExpiresIn=300,
    )
    answer = post(form, ("photo of ü.bin", data))
    assert answer.status == 201, answer.data
    assert b"<Key>a/boto/photo of \xc3\xbc.bin</Key>" in answer.data, answer.data
    for code, file, changes in [
        (b"EntityTooLarge", ("x", data + b"x"), {}),
        (b"EntityTooSmall", ("x", b""), {}),
        (b"AccessDenied", ("x", data), {"Content-Type": "text/html"}),
        (b"AccessDenied", ("x", data), {"key": "b/x"}),
        (b"AccessDenied", ("x", data), {"x-amz-meta-a": "1"}),
        (b"SignatureDoesNotMatch", ("x", data), {"x-amz-signature": "0" * 64}),
    ]:
        answer = post(form, file, **changes)
        assert b"<Code>" + code + b"</Code>" in answer.data, (code, answer.status, answer.data)


if __name__ == "__main__":
    globals()[sys.argv[1]](json.load(sys.stdin))
