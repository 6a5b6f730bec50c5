"""boto3's paginators over many keys, past the gateway and through it.

usage: lists.py SCENARIO, with a JSON object on standard input: endpoint, token, bucket as for boto.py; store (endpoint, access_key,
secret_key, bucket); keys (all there are), allowed and denied (prefixes of the caller), operations.
"""

import http.client
import json
import sys
import urllib.parse
import xml.etree.ElementTree as ElementTree

import boto3
from botocore.config import Config

from boto import connect

NAMESPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"


def direct(world):
    store = world["store"]
    return boto3.client(
        "s3",
        endpoint_url=store["endpoint"],
        aws_access_key_id=store["access_key"],
        aws_secret_access_key=store["secret_key"],
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}),
    )


def entries(page):
    for kind in ["Contents", "Versions", "DeleteMarkers", "Uploads"]:
        for entry in page.get(kind, []):
            assert "Owner" not in entry or entry["Owner"], entry
            yield kind, entry["Key"], entry.get("VersionId"), entry.get("IsLatest"), entry.get("Size")


def pages(client, operation, size, **arguments):
    """Names of each page as they came, and groups of each page."""
    names, groups, count = [], [], 0
    for page in client.get_paginator(operation).paginate(PaginationConfig={"PageSize": size}, **arguments):
        count += 1
        assert count < 5000, "the pages never end"
        names.extend(entries(page))
        groups.extend(group["Prefix"] for group in page.get("CommonPrefixes", []))
    return names, groups, count


def compare(world, operation, prefix, size, **more):
    """The same names in the same order, page by page, as straight from the store; without a delimiter all there are, and none twice."""
    arguments = {"Prefix": prefix, **more}
    through = pages(connect(world), operation, size, Bucket=world["bucket"], **arguments)
    straight = pages(direct(world), operation, size, Bucket=world["store"]["bucket"], **arguments)
    where = (operation, prefix, more, size)
    assert through[0] == straight[0], (where, first_difference(through[0], straight[0]))
    assert through[1:] == straight[1:], (where, through[1:], straight[1:])
    if more:
        assert through[1], (where, "no groups")
        return
    assert through[2] > 1, where
    named = [name[1] for name in through[0]]
    wanted = {key for key in world["keys"] if key.startswith(prefix)}
    assert set(named) == wanted, (where, sorted(wanted.symmetric_difference(named))[:10])
    assert operation == "list_object_versions" or len(named) == len(wanted), (where, "twice")


def first_difference(one, other):
    for index, (left, right) in enumerate(zip(one, other)):
        if left != right:
            return index, left, right
    return len(one), len(other)


def objects(world):
    for operation in ["list_objects", "list_objects_v2"]:
        compare(world, operation, "a/", 1000)
        compare(world, operation, "a/", 237)
        compare(world, operation, "a/odd/", 7, Delimiter="/")
        compare(world, operation, "a/plain/", 1000, Delimiter="/")


def versions(world):
    compare(world, "list_object_versions", "a/", 1000)
    compare(world, "list_object_versions", "a/", 237)
    compare(world, "list_object_versions", "a/d3/", 100)
    compare(world, "list_object_versions", "a/", 1000, Delimiter="/")


def narrowed(world):
    """A caller with some prefixes of the bucket, of which some are denied: the union of the pages is what is permitted, each name once."""
    client = connect(world)

    def visible(key):
        return any(map(key.startswith, world["allowed"])) and not any(map(key.startswith, world["denied"]))

    wanted = sorted(filter(visible, world["keys"]))
    assert 0 < len(wanted) < len(world["keys"])
    for operation in world["operations"]:
        for size in [1000, 237]:
            names, groups, _ = pages(client, operation, size, Bucket=world["bucket"])
            assert groups == [], groups
            assert sorted(name[1] for name in names) == wanted, (operation, size, len(names), len(wanted))
        inside = wanted[0].rsplit("/", 1)[0] + "/"
        below = [key.removeprefix(inside) for key in wanted if key.startswith(inside)]
        folders = {inside + name.split("/")[0] + "/" for name in below if "/" in name}
        files = {inside + name for name in below if "/" not in name}
        names, groups, _ = pages(client, operation, 7, Bucket=world["bucket"], Prefix=inside, Delimiter="/")
        assert set(groups) == folders and len(groups) == len(folders), (operation, inside, sorted(folders), groups)
        found = [name[1] for name in names]
        assert sorted(found) == sorted(files), (operation, inside, len(found), set(found) ^ files)


def odd(world):
    """Every list is XML 1.0 that expat reads, whatever is in a key; with encoding-type=url the keys come back exactly."""
    gateway = urllib.parse.urlsplit(world["endpoint"]).netloc
    for query in ["list-type=2", "", "versions", "uploads"]:
        for encoding in ["", "encoding-type=url"]:
            connection = http.client.HTTPConnection(gateway, timeout=30)
            target = f"/{world['bucket']}?" + "&".join(filter(None, [query, encoding]))
            connection.request("GET", target, headers={"Authorization": f"Bearer {world['token']}"})
            answer = connection.getresponse()
            document = answer.read()
            assert answer.status == 200, (target, document)
            root = ElementTree.fromstring(document)
            found = sorted(element.text for element in root.iter(NAMESPACE + "Key"))
            if encoding:
                found = sorted(map(urllib.parse.unquote, found))
                wanted = world["uploads"] if query == "uploads" else world["versions"] if query == "versions" else world["keys"]
                assert found == sorted(wanted), (target, found, wanted)
            names = {element.tag.removeprefix(NAMESPACE) for element in root.iter()}
            assert not names & {"injected", "Owner", "Initiator"}, (target, names)


if __name__ == "__main__":
    scenarios = [objects, versions, narrowed, odd]
    {scenario.__name__: scenario for scenario in scenarios}[sys.argv[1]](json.load(sys.stdin))
