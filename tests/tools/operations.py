#!/usr/bin/env python3
"""Generate `src/s3/operation_table.rs`: every operation of the public S3 model, as data.

    operations.py            write the table
    operations.py --check    write nothing; exit 1 with a diff if the table is out of date

Run by a Python that has botocore, whose package carries the model (Apache-2.0). The gateway must
know what a request *is* before it decides whether the caller may do it, and a list kept by hand
would miss the operation that AWS adds next year. The model says how an operation looks on the wire;
it does not say which IAM action guards it, so `ACTIONS` below does. The generator stops rather than
guess: an operation without an action, an unknown path, or one request that could be two operations.
"""

import difflib
import gzip
import itertools
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl

import botocore

ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT / "src/s3/operation_table.rs"

# WriteGetObjectResponse lives on a host of its own (`{RequestRoute}.s3-object-lambda...`) under a
# fixed path that names neither bucket nor key. As a bucket-level POST it would look like a browser
# form upload to a bucket of that name, so it is service-level and only found by its two headers.
LEVELS = {
    "/": "Service",
    "/WriteGetObjectResponse": "Service",
    "/{Bucket}": "Bucket",
    "/{Bucket}/{Key+}": "Object",
}

# Required headers that make a request another operation: they name a second object, or a host.
# Other required headers (GetObjectAttributes: `x-amz-object-attributes`) are only arguments.
TELLING_HEADERS = {"x-amz-copy-source", "x-amz-rename-source", "x-amz-request-route", "x-amz-request-token"}

# Operations that look exactly like another one. They stay in the table so that it is complete, but
# a request is never identified as one of them.
SHADOWED_BY = {
    "GetBucketLifecycle": "GetBucketLifecycleConfiguration",  # deprecated
    "GetBucketNotification": "GetBucketNotificationConfiguration",  # deprecated
    "ListDirectoryBuckets": "ListBuckets",  # differs by host only: s3express-control
    "PutBucketLifecycle": "PutBucketLifecycleConfiguration",  # deprecated
    "PutBucketNotification": "PutBucketNotificationConfiguration",  # deprecated
}

# Source: AWS Service Authorization Reference (Amazon S3, S3 Express, S3 Object Lambda) and
# "Required permissions for Amazon S3 API operations" in the S3 User Guide.
ACTIONS = {
    "AbortMultipartUpload": "s3:AbortMultipartUpload",
    "CompleteMultipartUpload": "s3:PutObject",
    "CopyObject": "s3:PutObject",
    "CreateBucket": "s3:CreateBucket",
    "CreateBucketMetadataConfiguration": "s3:CreateBucketMetadataTableConfiguration",
    "CreateBucketMetadataTableConfiguration": "s3:CreateBucketMetadataTableConfiguration",
    "CreateMultipartUpload": "s3:PutObject",
    "CreateSession": "s3express:CreateSession",
    "DeleteBucket": "s3:DeleteBucket",
    "DeleteBucketAnalyticsConfiguration": "s3:PutAnalyticsConfiguration",
    "DeleteBucketCors": "s3:PutBucketCORS",
    "DeleteBucketEncryption": "s3:PutEncryptionConfiguration",
    "DeleteBucketIntelligentTieringConfiguration": "s3:PutIntelligentTieringConfiguration",
    "DeleteBucketInventoryConfiguration": "s3:PutInventoryConfiguration",
    "DeleteBucketLifecycle": "s3:PutLifecycleConfiguration",
    "DeleteBucketMetadataConfiguration": "s3:DeleteBucketMetadataTableConfiguration",
    "DeleteBucketMetadataTableConfiguration": "s3:DeleteBucketMetadataTableConfiguration",
    "DeleteBucketMetricsConfiguration": "s3:PutMetricsConfiguration",
    "DeleteBucketOwnershipControls": "s3:PutBucketOwnershipControls",
    "DeleteBucketPolicy": "s3:DeleteBucketPolicy",
    "DeleteBucketReplication": "s3:PutReplicationConfiguration",
    "DeleteBucketTagging": "s3:PutBucketTagging",
    "DeleteBucketWebsite": "s3:DeleteBucketWebsite",
    "DeleteObject": "s3:DeleteObject",
    "DeleteObjectAnnotation": "s3:DeleteObjectAnnotation",
    "DeleteObjectTagging": "s3:DeleteObjectTagging",
    "DeleteObjects": "s3:DeleteObject",
    "DeletePublicAccessBlock": "s3:PutBucketPublicAccessBlock",
    "GetBucketAbac": "s3:GetBucketAbac",
    "GetBucketAccelerateConfiguration": "s3:GetAccelerateConfiguration",
    "GetBucketAcl": "s3:GetBucketAcl",
    "GetBucketAnalyticsConfiguration": "s3:GetAnalyticsConfiguration",
    "GetBucketCors": "s3:GetBucketCORS",
    "GetBucketEncryption": "s3:GetEncryptionConfiguration",
    "GetBucketIntelligentTieringConfiguration": "s3:GetIntelligentTieringConfiguration",
    "GetBucketInventoryConfiguration": "s3:GetInventoryConfiguration",
    "GetBucketLifecycle": "s3:GetLifecycleConfiguration",
    "GetBucketLifecycleConfiguration": "s3:GetLifecycleConfiguration",
    "GetBucketLocation": "s3:GetBucketLocation",
    "GetBucketLogging": "s3:GetBucketLogging",
    "GetBucketMetadataConfiguration": "s3:GetBucketMetadataTableConfiguration",
    "GetBucketMetadataTableConfiguration": "s3:GetBucketMetadataTableConfiguration",
    "GetBucketMetricsConfiguration": "s3:GetMetricsConfiguration",
    "GetBucketNotification": "s3:GetBucketNotification",
    "GetBucketNotificationConfiguration": "s3:GetBucketNotification",
    "GetBucketOwnershipControls": "s3:GetBucketOwnershipControls",
    "GetBucketPolicy": "s3:GetBucketPolicy",
    "GetBucketPolicyStatus": "s3:GetBucketPolicyStatus",
    "GetBucketReplication": "s3:GetReplicationConfiguration",
    "GetBucketRequestPayment": "s3:GetBucketRequestPayment",
    "GetBucketTagging": "s3:GetBucketTagging",
    "GetBucketVersioning": "s3:GetBucketVersioning",
    "GetBucketWebsite": "s3:GetBucketWebsite",
    "GetObject": "s3:GetObject",
    "GetObjectAcl": "s3:GetObjectAcl",
    "GetObjectAnnotation": "s3:GetObjectAnnotation",
    "GetObjectAttributes": "s3:GetObjectAttributes",
    "GetObjectLegalHold": "s3:GetObjectLegalHold",
    "GetObjectLockConfiguration": "s3:GetBucketObjectLockConfiguration",
    "GetObjectRetention": "s3:GetObjectRetention",
    "GetObjectTagging": "s3:GetObjectTagging",
    "GetObjectTorrent": "s3:GetObjectTorrent",
    "GetPublicAccessBlock": "s3:GetBucketPublicAccessBlock",
    "HeadBucket": "s3:ListBucket",
    "HeadObject": "s3:GetObject",
    "ListBucketAnalyticsConfigurations": "s3:GetAnalyticsConfiguration",
    "ListBucketIntelligentTieringConfigurations": "s3:GetIntelligentTieringConfiguration",
    "ListBucketInventoryConfigurations": "s3:GetInventoryConfiguration",
    "ListBucketMetricsConfigurations": "s3:GetMetricsConfiguration",
    "ListBuckets": "s3:ListAllMyBuckets",
    "ListDirectoryBuckets": "s3express:ListAllMyDirectoryBuckets",
    "ListMultipartUploads": "s3:ListBucketMultipartUploads",
    "ListObjectAnnotations": "s3:ListObjectAnnotations",
    "ListObjectVersions": "s3:ListBucketVersions",
    "ListObjects": "s3:ListBucket",
    "ListObjectsV2": "s3:ListBucket",
    "ListParts": "s3:ListMultipartUploadParts",
    "PutBucketAbac": "s3:PutBucketAbac",
    "PutBucketAccelerateConfiguration": "s3:PutAccelerateConfiguration",
    "PutBucketAcl": "s3:PutBucketAcl",
    "PutBucketAnalyticsConfiguration": "s3:PutAnalyticsConfiguration",
    "PutBucketCors": "s3:PutBucketCORS",
    "PutBucketEncryption": "s3:PutEncryptionConfiguration",
    "PutBucketIntelligentTieringConfiguration": "s3:PutIntelligentTieringConfiguration",
    "PutBucketInventoryConfiguration": "s3:PutInventoryConfiguration",
    "PutBucketLifecycle": "s3:PutLifecycleConfiguration",
    "PutBucketLifecycleConfiguration": "s3:PutLifecycleConfiguration",
    "PutBucketLogging": "s3:PutBucketLogging",
    "PutBucketMetricsConfiguration": "s3:PutMetricsConfiguration",
    "PutBucketNotification": "s3:PutBucketNotification",
    "PutBucketNotificationConfiguration": "s3:PutBucketNotification",
    "PutBucketOwnershipControls": "s3:PutBucketOwnershipControls",
    "PutBucketPolicy": "s3:PutBucketPolicy",
    "PutBucketReplication": "s3:PutReplicationConfiguration",
    "PutBucketRequestPayment": "s3:PutBucketRequestPayment",
    "PutBucketTagging": "s3:PutBucketTagging",
    "PutBucketVersioning": "s3:PutBucketVersioning",
    "PutBucketWebsite": "s3:PutBucketWebsite",
    "PutObject": "s3:PutObject",
    "PutObjectAcl": "s3:PutObjectAcl",
    "PutObjectAnnotation": "s3:PutObjectAnnotation",
    "PutObjectLegalHold": "s3:PutObjectLegalHold",
    "PutObjectLockConfiguration": "s3:PutBucketObjectLockConfiguration",
    "PutObjectRetention": "s3:PutObjectRetention",
    "PutObjectTagging": "s3:PutObjectTagging",
    "PutPublicAccessBlock": "s3:PutBucketPublicAccessBlock",
    "RenameObject": "s3express:CreateSession",  # directory buckets only, which have no action per object
    "RestoreObject": "s3:RestoreObject",
    "SelectObjectContent": "s3:GetObject",
    "UpdateBucketMetadataAnnotationTableConfiguration": "s3:UpdateBucketMetadataAnnotationTableConfiguration",
    "UpdateBucketMetadataInventoryTableConfiguration": "s3:UpdateBucketMetadataInventoryTableConfiguration",
    "UpdateBucketMetadataJournalTableConfiguration": "s3:UpdateBucketMetadataJournalTableConfiguration",
    "UpdateObjectEncryption": "s3:UpdateObjectEncryption",
    "UploadPart": "s3:PutObject",
    "UploadPartCopy": "s3:PutObject",
    "WriteGetObjectResponse": "s3-object-lambda:WriteGetObjectResponse",
}

# Needed because of a header or a parameter (`versionId`, `x-amz-tagging`, ...), not of the operation.
EXTRA_ACTIONS = {
    "s3:BypassGovernanceRetention",
    "s3:DeleteObjectVersion",
    "s3:DeleteObjectVersionTagging",
    "s3:GetObjectVersion",
    "s3:GetObjectVersionAcl",
    "s3:GetObjectVersionAttributes",
    "s3:GetObjectVersionTagging",
    "s3:PutObjectAcl",
    "s3:PutObjectLegalHold",
    "s3:PutObjectRetention",
    "s3:PutObjectTagging",
    "s3:PutObjectVersionAcl",
    "s3:PutObjectVersionTagging",
}


@dataclass(frozen=True)
class Operation:
    """One row of the table, its fields named and ordered as in Rust's `OperationSpec`."""

    name: str
    method: str
    level: str
    required_query: list[tuple[str, str | None]]
    optional_query: list[str]
    required_headers: list[str]
    headers: list[str]
    action: str
    body: str

    def takes(self, other: "Operation") -> bool:
        """Whether everything that makes a request `other` is also something this operation takes."""
        known = dict.fromkeys(self.optional_query) | dict(self.required_query)
        return (
            (self.method, self.level) == (other.method, other.level)
            and all(key in known and same(known[key], value) for key, value in other.required_query)
            and set(other.required_headers) <= set(self.headers)
        )


def same(a: str | None, b: str | None) -> bool:
    """Whether two query values can be the same one; `None` stands for any value."""
    return a is None or b is None or a == b


def alike(a: Operation, b: Operation) -> bool:
    """Whether one request could be both; includes the case that they need the very same things."""
    return a.takes(b) and b.takes(a)


def load_model() -> dict:
    """The S3 model inside the installed botocore; not its loader, which also reads the user's home."""
    with gzip.open(Path(botocore.__file__).parent / "data/s3/2006-03-01/service-2.json.gz") as model:
        return json.load(model)


def read_operation(name: str, model: dict) -> Operation:
    http = model["operations"][name]["http"]
    shape = model["shapes"][model["operations"][name]["input"]["shape"]]
    path, _, template = http["requestUri"].partition("?")
    if path not in LEVELS:
        sys.exit(f"{name}: no level is known for path {path}")
    if name not in ACTIONS:
        sys.exit(f"{name}: no entry in ACTIONS")

    def located(location: str, *, required: bool | None = None) -> list[str]:
        return sorted(
            member["locationName"]
            for key, member in shape["members"].items()
            if member.get("location") == location and required in (None, key in shape.get("required", []))
        )

    # The SDKs' `x-id=PutObject` is a hint for proxies; identifying a request deals with it apart.
    fixed = [pair for pair in parse_qsl(template, keep_blank_values=True) if pair[0] != "x-id"]
    headers = located("header") + [prefix + "*" for prefix in located("headers")]
    return Operation(
        name=name,
        method=http["method"],
        level=LEVELS[path],
        required_query=fixed + [(key, None) for key in located("querystring", required=True)],
        optional_query=located("querystring", required=False),
        required_headers=[h.lower() for h in located("header", required=True) if h.lower() in TELLING_HEADERS],
        headers=sorted(header.lower() for header in headers),
        action=ACTIONS[name],
        body=body_kind(shape, model),
    )


def body_kind(shape: dict, model: dict) -> str:
    """`Object` for a streamed blob, `Xml` for any other body (PutBucketPolicy's is in fact JSON)."""
    body = [member for member in shape["members"].values() if "location" not in member]
    if not body:
        return "None"
    return "Object" if any(model["shapes"][member["shape"]]["type"] == "blob" for member in body) else "Xml"


def check(operations: list[Operation]) -> None:
    """Stop when a request could be two operations, or when a table above speaks of none."""
    by_name = {operation.name: operation for operation in operations}
    stale = {*ACTIONS, *SHADOWED_BY, *SHADOWED_BY.values()} - by_name.keys()
    if stale:
        sys.exit(f"not in the model any more: {', '.join(sorted(stale))}")
    for name, twin in SHADOWED_BY.items():
        if not alike(by_name[name], by_name[twin]):
            sys.exit(f"{name} is not shadowed by {twin}: they can be told apart")
    for a, b in itertools.combinations((o for o in operations if o.name not in SHADOWED_BY), 2):
        if alike(a, b):
            sys.exit(f"one request could be {a.name} or {b.name}")


def rust_list(items: list[str]) -> str:
    return f"&[{', '.join(items)}]"


def rust_strings(items: list[str]) -> str:
    return rust_list([f'"{item}"' for item in items])


def rust_query(pairs: list[tuple[str, str | None]]) -> str:
    return rust_list([f'("{key}", {"None" if value is None else f"""Some("{value}")"""})' for key, value in pairs])


def rust_row(operation: Operation) -> str:
    return f"""OperationSpec {{
        operation: Operation::{operation.name},
        name: "{operation.name}",
        method: "{operation.method}",
        level: Level::{operation.level},
        required_query: {rust_query(operation.required_query)},
        optional_query: {rust_strings(operation.optional_query)},
        required_headers: {rust_strings(operation.required_headers)},
        headers: {rust_strings(operation.headers)},
        action: "{operation.action}",
        body: Body::{operation.body},
        shadowed: {str(operation.name in SHADOWED_BY).lower()},
    }}"""


def rust_file(operations: list[Operation]) -> str:
    actions = sorted({operation.action for operation in operations} | EXTRA_ACTIONS)
    variants = "\n".join(f"/// `{operation.name}`.\n{operation.name}," for operation in operations)
    return f"""//! Generated by `tests/tools/operations.py` from the public S3 model (botocore {botocore.__version__}, \
Apache-2.0). Do not edit.

use super::operation::{{Body, Level, OperationSpec}};

/// Every operation of the public S3 model, one variant each, in alphabetical order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {{
{variants}
}}

/// What each operation looks like on the wire, in the order of [`Operation`].
pub(super) const TABLE: [OperationSpec; {len(operations)}] = [{", ".join(map(rust_row, operations))}];

/// Every IAM action name that an operation or one of its headers or parameters can need, sorted.
pub const ACTIONS: &[&str] = {rust_strings(actions)};
"""


def rustfmt(source: str) -> str:
    command = ["rustfmt", "--edition", "2024", "--config-path", str(ROOT)]
    # Run in ROOT, so that a toolchain pinned for the repository is the one that formats.
    return subprocess.run(command, input=source, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT).stdout


def main() -> None:
    if sys.argv[1:] not in ([], ["--check"]):
        sys.exit(f"usage: {Path(__file__).name} [--check]")
    model = load_model()
    operations = [read_operation(name, model) for name in sorted(model["operations"])]
    check(operations)
    wanted = rustfmt(rust_file(operations))
    name = str(TABLE.relative_to(ROOT))
    if "--check" in sys.argv:
        current = TABLE.read_text(encoding="utf-8") if TABLE.exists() else ""
        diff = difflib.unified_diff(current.splitlines(), wanted.splitlines(), name, f"{name} (generated)", lineterm="")
        if current != wanted:
            sys.exit("\n".join(diff))
    else:
        TABLE.write_text(wanted, encoding="utf-8")
    print(f"{name}: {len(operations)} operations, {len(SHADOWED_BY)} shadowed, botocore {botocore.__version__}")


if __name__ == "__main__":
    main()
