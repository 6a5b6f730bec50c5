"""sbom.py OUT [FEATURES]   writes what the program is made of, as CycloneDX 1.6 in JSON, out of what cargo resolves; and validates it.

Crates that are only for tests are not in it. The same source gives the same bytes: the time is SOURCE_DATE_EPOCH, the serial number is made of the rest.
"""
import datetime
import json
import os
import pathlib
import subprocess
import sys
import uuid

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, XsUri
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

ROOT = pathlib.Path(__file__).resolve().parents[2]


def checksums():
    """Checksums of the crates, by name and version, as Cargo.lock has them."""
    import tomllib

    lock = tomllib.loads((ROOT / "Cargo.lock").read_text())
    return {(one["name"], one["version"]): one.get("checksum") for one in lock["package"]}


def component(package, sums, of_type):
    known = sums.get((package["name"], package["version"]))
    licence = (package["license"] or "").replace("/", " OR ")
    made = Component(
        type=of_type,
        name=package["name"],
        version=package["version"],
        bom_ref=f"{package['name']}@{package['version']}",
        description=package["description"],
        licenses=[LicenseFactory().make_from_string(licence)] if licence else [],
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=known)] if known else [],
        purl=PackageURL("cargo", None, package["name"], package["version"]),
    )
    if package["repository"]:
        made.external_references.add(ExternalReference(type=ExternalReferenceType.VCS, url=XsUri(package["repository"])))
    return made


def shipped(graph, root):
    """What is linked in or builds what is linked in: everything reachable without the edges for tests."""
    nodes, found, left = {node["id"]: node for node in graph}, set(), [root]
    while left:
        one = left.pop()
        if one not in found:
            found.add(one)
            left += [dep["pkg"] for dep in nodes[one]["deps"] if any(kind["kind"] != "dev" for kind in dep["dep_kinds"])]
    return {one: [dep["pkg"] for dep in nodes[one]["deps"] if dep["pkg"] in found] for one in found}


def main(out, features):
    host = next(line.split()[1] for line in subprocess.run(["rustc", "-vV"], check=True, capture_output=True, text=True).stdout.splitlines() if line.startswith("host"))
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", host, "--features", features]
    metadata = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout)
    packages, root = {one["id"]: one for one in metadata["packages"]}, metadata["resolve"]["root"]
    edges, sums = shipped(metadata["resolve"]["nodes"], root), checksums()
    made = {one: component(packages[one], sums, ComponentType.APPLICATION if one == root else ComponentType.LIBRARY) for one in edges}
    bom = Bom(components=[one for key, one in made.items() if key != root])
    bom.metadata.component = made[root]
    bom.metadata.timestamp = datetime.datetime.fromtimestamp(int(os.environ.get("SOURCE_DATE_EPOCH", "0")), datetime.timezone.utc)
    bom.serial_number = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(sorted(f"{one.purl}" for one in made.values())))
    for one, needs in edges.items():
        bom.register_dependency(made[one], [made[other] for other in needs])
    text = JsonV1Dot6(bom).output_as_string(indent=1)
    problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if problem:
        sys.exit(f"not CycloneDX 1.6: {problem}")
    pathlib.Path(out).parent.mkdir(parents=True, exist_ok=True)
    pathlib.Path(out).write_text(text + "\n")
    without = sorted(str(one.purl) for key, one in made.items() if key != root and (not one.licenses or not one.hashes))
    if without:
        sys.exit(f"without licence or checksum: {', '.join(without)}")
    print(f"{out}: {len(made)} parts of {made[root].name} {made[root].version}")


main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "aws-chain,otel,yara")
