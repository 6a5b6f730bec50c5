"""boto3 as a pod has it: nothing but the environment says where STS and S3 are, and which token to show.

usage: sts.py SCENARIO, with a JSON object on standard input: endpoint, role, region, bucket, token (of `uploader`), second (of `reader`),
forged, expired, and ca (a PEM file) for https. Exits with 0 if everything came out as the scenario says.
"""

import io
import json
import os
import pathlib
import ssl
import sys
import tempfile
import urllib.error
import urllib.request

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError


def refused(code, call, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        assert error.response["Error"]["Code"] == code, error.response
        return error.response
    raise AssertionError(f"{call} {arguments} was not refused")


def fetch(world, url):
    context = ssl.create_default_context(cafile=world["ca"]) if "ca" in world else None
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), *([urllib.request.HTTPSHandler(context=context)] if context else [])
    )
    try:
        with opener.open(url, timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def environment(world, folder):
    """What a projected service account token and a deployment set."""
    token = pathlib.Path(folder, "token")
    token.write_text(world["token"])
    os.environ.update(
        AWS_ROLE_ARN=world["role"],
        AWS_WEB_IDENTITY_TOKEN_FILE=str(token),
        AWS_ENDPOINT_URL_STS=world["endpoint"],
        AWS_ENDPOINT_URL_S3=world["endpoint"],
        AWS_REGION=world["region"],
        AWS_DEFAULT_REGION=world["region"],
        AWS_MAX_ATTEMPTS="1",
    )
    if "ca" in world:
        os.environ["AWS_CA_BUNDLE"] = world["ca"]
    return token


def pod(world):
    with tempfile.TemporaryDirectory() as folder:
        token = environment(world, folder)
        bucket = world["bucket"]
        s3 = boto3.client("s3")
        s3.put_object(Bucket=bucket, Key="home/uploader/x", Body=b"hello")
        assert s3.get_object(Bucket=bucket, Key="home/uploader/x")["Body"].read() == b"hello"
        s3.upload_fileobj(io.BytesIO(b"part" * (3 << 20)), bucket, "home/uploader/large")
        assert s3.head_object(Bucket=bucket, Key="home/uploader/large")["ContentLength"] == 12 << 20
        listed = [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket, Prefix="home/uploader/")["Contents"]]
        assert listed == ["home/uploader/large", "home/uploader/x"], listed
        s3.delete_object(Bucket=bucket, Key="home/uploader/large")
        for call in (s3.get_object, s3.delete_object):
            refused("AccessDenied", call, Bucket=bucket, Key="home/reader/x")
        # In us-east-1 botocore presigns with SigV2 unless it is told otherwise.
        presigning = boto3.client("s3", config=Config(signature_version="s3v4"))
        target = {"Bucket": bucket, "Key": "home/uploader/x"}
        url = presigning.generate_presigned_url("get_object", Params=target, ExpiresIn=60)
        assert fetch(world, url) == (200, b"hello"), url

        who = boto3.client("sts").get_caller_identity()
        assert who["UserId"] == "idp:uploader", who
        assert who["Arn"] == "arn:aws:sts::000000000000:assumed-role/idp/idp:uploader", who

        # The kubelet writes a new token; keys that end in minutes are got anew before they do.
        token.write_text(world["second"])
        refused("AccessDenied", s3.get_object, Bucket=bucket, Key="home/uploader/x")
        s3.put_object(Bucket=bucket, Key="home/reader/x", Body=b"mine")
        assert boto3.client("sts").get_caller_identity()["UserId"] == "idp:reader"

        sts = boto3.client("sts")
        parameters = {"RoleArn": world["role"], "RoleSessionName": "pod-1"}
        answer = sts.assume_role_with_web_identity(WebIdentityToken=world["token"], DurationSeconds=900, **parameters)
        assert answer["SubjectFromWebIdentityToken"] == "uploader", answer
        assert answer["AssumedRoleUser"]["AssumedRoleId"] == "idp:uploader", answer
        exchange = sts.assume_role_with_web_identity
        refused("InvalidIdentityToken", exchange, WebIdentityToken=world["forged"], **parameters)
        refused("ExpiredTokenException", exchange, WebIdentityToken=world["expired"], **parameters)
        policy = json.dumps({"Version": "2012-10-17", "Statement": []})
        refused("MalformedPolicyDocument", exchange, WebIdentityToken=world["token"], Policy=policy, **parameters)
        refused("InvalidAction", sts.get_session_token)


def jwt_as_session_token(world):
    if "ca" in world:
        os.environ["AWS_CA_BUNDLE"] = world["ca"]
    s3 = boto3.client(
        "s3",
        endpoint_url=world["endpoint"],
        region_name=world["region"],
        aws_access_key_id="jwt",
        aws_secret_access_key=world["token"],
        aws_session_token=world["token"],
        config=Config(signature_version="s3v4"),
    )
    bucket = world["bucket"]
    s3.put_object(Bucket=bucket, Key="home/uploader/jwt", Body=b"hello")
    assert s3.get_object(Bucket=bucket, Key="home/uploader/jwt")["Body"].read() == b"hello"
    refused("AccessDenied", s3.get_object, Bucket=bucket, Key="home/reader/x")
    url = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "home/uploader/jwt"}, ExpiresIn=60)
    status, answer = fetch(world, url)
    assert status == 403 and b"AssumeRoleWithWebIdentity" in answer, (status, answer)
    s3.delete_object(Bucket=bucket, Key="home/uploader/jwt")


if __name__ == "__main__":
    scenarios = [pod, jwt_as_session_token]
    {scenario.__name__: scenario for scenario in scenarios}[sys.argv[1]](json.load(sys.stdin))
