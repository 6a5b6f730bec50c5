"""Renders deploy/helm/countersign and deploy/kubernetes with real engines, offline, and holds what comes out to the schemas of Kubernetes, to
the restricted Pod Security Standard, to `countersign check`, and to itself (ports, probes, grace periods). Prints a line for each.

    chart.py                    everything that the project has
    chart.py VALUES.yaml ...    the chart with values of yours, printed; for environment variables of the configuration a text is put in

The program that checks is COUNTERSIGN, or else what `cargo build` made, with --release or without.
"""
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import helm_python as helm
import kubernetes_validate as kubernetes
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy/helm/countersign"
BINARIES = [os.environ.get("COUNTERSIGN"), ROOT / "target/release/countersign", ROOT / "target/debug/countersign"]
BINARY = next((pathlib.Path(path) for path in BINARIES if path and pathlib.Path(path).exists()), None)
# The newest whose schemas there are; and the oldest that the chart is for.
VERSIONS = ["1.37", "1.29"]
# Objects of other projects, of which no schema is at hand: the keys that they may have here.
CUSTOM = {
    "ServiceMonitor": {"jobLabel", "selector", "endpoints"},
    "PrometheusRule": {"groups"},
}
problems = []


def problem(where, what):
    problems.append(f"{where}: {what}")


def merged(base, more):
    if isinstance(base, dict) and isinstance(more, dict) and more:
        return {key: merged(base[key], more[key]) if key in base and key in more else more.get(key, base.get(key)) for key in {**base, **more}}
    return more


def files_of(values, chart=CHART, name="s3"):
    with helm.Chart.load(str(chart)) as chart:
        return chart.render(values, name=name, namespace="gateways")


def render(values, **what):
    text = [(path, text) for path, text in sorted(files_of(values, **what).items()) if not path.endswith("NOTES.txt")]
    return [document for _, text in text for document in yaml.safe_load_all(text) if document]


def check_objects(where, objects):
    """Everything that can be said of objects without a cluster."""
    for one in objects:
        what = f"{where}: {one['kind']}/{one['metadata']['name']}"
        if one["kind"] in CUSTOM:
            unknown = set(one["spec"]) - CUSTOM[one["kind"]]
            if one["kind"] == "PrometheusRule" and one["spec"]["groups"] != yaml.safe_load((ROOT / "deploy/observability/rules.yaml").read_text())["groups"]:
                problem(what, "not the rules of the project")
            if unknown or one["apiVersion"] != "monitoring.coreos.com/v1":
                problem(what, f"unknown: {unknown or one['apiVersion']}")
        else:
            for version in VERSIONS:
                try:
                    kubernetes.validate(one, version, strict=True)
                except kubernetes.ValidationError as error:
                    problem(what, f"Kubernetes {version}: {'/'.join(map(str, error.path))} {error.message[:300]}")
        template = one["spec"]["template"]["spec"] if one["kind"] == "Deployment" else one["spec"] if one["kind"] == "Pod" else None
        if template:
            check_pod(what, one, template, objects)
    check_references(where, objects)


def check_pod(what, owner, pod, objects):
    containers = pod.get("initContainers", []) + pod["containers"]
    security = pod["securityContext"]
    if not security.get("runAsNonRoot") or security.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        problem(what, "not in the restricted Pod Security Standard")
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(key):
            problem(what, key)
    volumes = {volume["name"]: volume for volume in pod.get("volumes", [])}
    for container in containers:
        name = f"{what}: container {container['name']}"
        context = container.get("securityContext", {})
        wanted = dict(allowPrivilegeEscalation=False, readOnlyRootFilesystem=True, runAsNonRoot=True)
        if any(context.get(key) != value for key, value in wanted.items()) or context.get("capabilities", {}).get("drop") != ["ALL"]:
            problem(name, f"security context {context}")
        if "memory" not in container.get("resources", {}).get("limits", {}):
            problem(name, "no limit of memory")
        for mount in container.get("volumeMounts", []):
            if mount["name"] not in volumes:
                problem(name, f"no volume {mount['name']}")
            if "subPath" in mount:
                problem(name, f"{mount['mountPath']} is mounted by subPath, which is never renewed")
        if container["name"] == "countersign":
            check_gateway(name, owner, pod, container, objects, volumes)
        else:
            # Whatever gives a right stays with the gateway.
            for mount in container.get("volumeMounts", []):
                if volumes.get(mount["name"], {}).keys() & {"secret", "projected"}:
                    problem(name, f"mounts {mount['name']}")


def check_gateway(name, owner, pod, container, objects, volumes):
    probes = [container.get(kind) for kind in ("startupProbe", "livenessProbe", "readinessProbe")]
    for probe in filter(None, probes):
        if "httpGet" in probe:
            if probe["httpGet"]["path"] not in ("/healthz", "/readyz") or probe["httpGet"]["port"] not in {port["name"] for port in container["ports"]}:
                problem(name, f"probe {probe}")
            continue
        command = probe["exec"]["command"]
        # The words of a probe are those that the program understands: it says that nobody answers, not that it does not know them.
        done = subprocess.run([BINARY, *command[1:], "--admin", "http://127.0.0.1:1"], capture_output=True, text=True)
        if command[0] != "/usr/local/bin/countersign" or done.returncode != 1 or "cannot be reached" not in done.stderr:
            problem(name, f"probe {command}: {done.stderr}")
        if probe.get("timeoutSeconds", 1) <= 3 and "--timeout" not in command and owner["kind"] == "Deployment":
            problem(name, "a probe is cut before the program gives up")
    maps = {one["metadata"]["name"]: one for one in objects if one["kind"] == "ConfigMap"}
    for volume in volumes.values():
        source = maps.get(volume.get("configMap", {}).get("name"))
        if source and "countersign.yaml" in source["data"]:
            check_configuration(name, source["data"]["countersign.yaml"], pod, container)
            check_way_to_agent(name, source["data"]["countersign.yaml"], objects)
    if any(key.startswith("checksum/") for key in owner.get("spec", {}).get("template", {}).get("metadata", {}).get("annotations", {})):
        problem(name, "an annotation restarts the pods when the configuration changes")


def check_configuration(name, text, pod, container):
    """`countersign check` of what is rendered, with files and variables in the places where the pod would have them."""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        environment = {name: hash_of(name) if "HASH" in name else "kQ7zP2vW9xLmN4tR8sYbC1dF6gHjK3aE" for name in re.findall(r"env:([A-Z0-9_]+)", text)}
        # The chart's defaults name variables that nobody sets yet, and its notes say so.
        if container in pod.get("initContainers", []):
            for variable in environment.keys() - {one["name"] for one in container.get("env", [])}:
                problem(name, f"nothing sets {variable}")
        for path in sorted(set(re.findall(r"/(?:etc|var/run/secrets)/countersign/[-\w./]+", text))):
            mounted = any(path.startswith(mount["mountPath"] + "/") for mount in container.get("volumeMounts", []))
            if not mounted:
                problem(name, f"{path} is in no volume")
            stand_in(folder / path.lstrip("/"))
        text = text.replace("/etc/countersign/", f"{folder}/etc/countersign/")
        text = text.replace("/var/run/", f"{folder}/var/run/")
        file = folder / "countersign.yaml"
        file.write_text(text)
        done = subprocess.run([BINARY, "check", file], capture_output=True, text=True, env=environment)
        if done.returncode:
            problem(name, f"countersign check: {done.stderr}")
        # An application beside the gateway is no operator of it.
        if "admin.tokens" in done.stdout + done.stderr:
            problem(name, f"countersign check warns: {done.stdout}{done.stderr}")
    config = yaml.safe_load(text)
    ports = {int(one["address"].rsplit(":", 1)[1]) for one in config["listen"] if not one["address"].startswith(("127.", "unix:"))}
    told = {port["containerPort"] for port in container.get("ports", []) if port["name"] == "s3"}
    if told - ports:
        problem(name, f"nothing listens on {told - ports}")
    address, port = config.get("admin", {}).get("address", "127.0.0.1:9090").rsplit(":", 1)
    asked = next((one["value"] for one in container.get("env", []) if one["name"] == "COUNTERSIGN_ADMIN"), "http://127.0.0.1:9090")
    if address not in ("127.0.0.1", "0.0.0.0", "[::]") or asked != f"http://127.0.0.1:{port}":
        problem(name, f"probes ask {asked}, and the admin listener is {address}:{port}")
    if any(one["name"] == "admin" and one["containerPort"] != int(port) for one in container.get("ports", [])):
        problem(name, f"the admin listener is on port {port}")
    seconds = lambda text: int(text[:-1]) * (60 if text.endswith("m") else 1)
    timeouts = config.get("limits", {}).get("timeouts", {})
    needed = seconds(timeouts.get("drain", "30s")) + seconds(timeouts.get("drain_delay", "0s")) + 30
    if container in pod.get("initContainers", []):
        # The application ends first, in the same time.
        needed += 1
    if pod.get("terminationGracePeriodSeconds", 30) < needed:
        problem(name, f"it needs {needed} s to end and has {pod.get('terminationGracePeriodSeconds', 30)}")


def check_way_to_agent(name, text, objects):
    """Where the agent of the node gives out the keys, the policy of the network lets the pod reach it."""
    if "pod-identity" not in text:
        return
    for policy in [one for one in objects if one["kind"] == "NetworkPolicy"]:
        way = [rule for rule in policy["spec"]["egress"] if {"protocol": "TCP", "port": 80} in rule["ports"]]
        blocks = [one["ipBlock"]["cidr"] for rule in way for one in rule["to"]]
        if sorted(blocks) != ["169.254.170.23/32", "fd00:ec2::23/128"]:
            problem(name, f"credentials from the agent of Pod Identity, and TCP 80 is open to {blocks}")


def hash_of(name):
    """The hash of a token, another for each name."""
    return "sha256:" + hashlib.sha256(name.encode()).hexdigest()


def stand_in(path):
    """What a secret would hold there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix in (".crt", ".key", ".pem"):
        pair = path.parent
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-subj", "/CN=s3.example.com", "-addext",
                        "subjectAltName=DNS:s3.example.com", "-keyout", pair / "tls.key", "-out", pair / "tls.crt"], check=True, capture_output=True)
        if path.name not in ("tls.key", "tls.crt"):
            path.write_bytes((pair / "tls.crt").read_bytes())
    elif "hash" in path.name:
        path.write_text(hash_of(path.name))
    else:
        path.write_text("kQ7zP2vW9xLmN4tR8sYbC1dF6gHjK3aE")
    for file in path.parent.iterdir():
        if file.is_file():
            file.chmod(0o440)


def check_references(where, objects):
    """Selectors find pods, and what is pointed at is there."""
    pods = [one["spec"]["template"]["metadata"]["labels"] for one in objects if one["kind"] == "Deployment"]
    pods += [one["metadata"].get("labels", {}) for one in objects if one["kind"] == "Pod"]
    finds = lambda selector, all: any(selector.items() <= labels.items() for labels in all)
    accounts = {one["metadata"]["name"] for one in objects if one["kind"] == "ServiceAccount"}
    for one in objects:
        what = f"{where}: {one['kind']}/{one['metadata']['name']}"
        spec = one.get("spec", {})
        selector = {"Service": spec.get("selector"), "PodDisruptionBudget": spec.get("selector", {}), "NetworkPolicy": spec.get("podSelector", {})}.get(one["kind"])
        if selector is not None and not finds(selector.get("matchLabels", selector), pods):
            problem(what, f"selects no pod: {selector}")
        if one["kind"] == "ServiceMonitor" and not finds(spec["selector"]["matchLabels"], [s["metadata"]["labels"] for s in objects if s["kind"] == "Service"]):
            problem(what, "selects no service")
        if one["kind"] == "HorizontalPodAutoscaler" and spec["scaleTargetRef"]["name"] not in {d["metadata"]["name"] for d in objects if d["kind"] == "Deployment"}:
            problem(what, "scales nothing")
        account = spec.get("template", {}).get("spec", {}).get("serviceAccountName")
        if account and accounts and account not in accounts:
            problem(what, f"no service account {account}")


def chart():
    lint = helm.lint(str(CHART))
    for message in lint["errors"]:
        problem("helm lint", message)
    cases = [("values.yaml", {})] + [(path.name, yaml.safe_load(path.read_text())) for path in sorted((ROOT / "deploy/helm/examples").glob("*-values.yaml"))]
    for name, values in cases:
        objects = render(values)
        check_objects(f"chart with {name}", objects)
        print(f"chart with {name}: {len(objects)} objects: {', '.join(sorted({one['kind'] for one in objects}))}")
    # Names of digits stay names, and a chart that wants the template only gets nothing else.
    digits = {"priorityClassName": "7", "existingConfigMap": "2026", "serviceAccount": {"create": False, "name": "42"}, "secrets": {"env": ["1"]}}
    check_objects("chart with names of digits", render(digits, name="123"))
    check_objects("chart as 123", render({"monitoring": {"prometheusRule": {"enabled": True}}}, name="123"))
    everything = {"gateway": {"enabled": False}, "autoscaling": {"enabled": True}, "monitoring": {"prometheusRule": {"enabled": True}}}
    for one in render(everything):
        problem("chart with gateway.enabled: false", f"{one['kind']}/{one['metadata']['name']}")
    notes = lambda name: next(text for path, text in files_of(yaml.safe_load((ROOT / f"deploy/helm/examples/{name}").read_text())).items() if path.endswith("NOTES.txt"))
    for name, words, others in [("eks-values.yaml", ["countersign health", "http://127.0.0.1:9090/"], ["https:"]), ("monitored-values.yaml", ["https://127.0.0.1:9090/"], ["countersign health", "http:"])]:
        for wrong in [word for word in words if word not in notes(name)] + [word for word in others if word in notes(name)]:
            problem(f"the notes of {name}", wrong)
    refused = yaml.safe_load((ROOT / "tests/tools/chart-refused.yaml").read_text())
    for case in refused:
        try:
            render(case["values"])
            problem("must be refused", json.dumps(case["values"]))
        except helm.HelmError as error:
            if case["says"] not in str(error):
                problem("refused for another reason", f"{json.dumps(case['values'])}: {str(error)[:400]}")
    print(f"chart: {len(refused)} wrong sets of values refused")


def consumer():
    """A chart that has this one as a dependency for the template of the sidecar, as Helm puts it together."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(CHART.parent, folder, dirs_exist_ok=True)
        example = pathlib.Path(folder) / "examples/sidecar"
        helm.dependency_update(example, skip_refresh=True)
        objects = render({}, chart=example, name="orders")
    check_objects("chart examples/sidecar", objects)
    kinds = [one["kind"] for one in objects]
    if sorted(kinds) != ["ConfigMap", "Deployment", "ServiceAccount"] or not any(one["name"] == "countersign" for one in objects[-1]["spec"]["template"]["spec"]["initContainers"]):
        problem("chart examples/sidecar", f"{kinds}")
    print(f"chart examples/sidecar: {len(objects)} objects: {', '.join(sorted(kinds))}")


def kustomize():
    folders = sorted({path.parent for path in (ROOT / "deploy/kubernetes").rglob("kustomization.yaml")})
    for folder in folders:
        done = subprocess.run([pathlib.Path(sys.executable).parent / "kubectl", "kustomize", folder], capture_output=True, text=True)
        if done.returncode or done.stderr:
            problem(folder.relative_to(ROOT), done.stderr)
            continue
        objects = [document for document in yaml.safe_load_all(done.stdout) if document]
        check_objects(str(folder.relative_to(ROOT)), objects)
        print(f"{folder.relative_to(ROOT)}: {len(objects)} objects: {', '.join(sorted({one['kind'] for one in objects}))}")


if not BINARY:
    sys.exit("no program to check with: `cargo build --release --locked --features aws-chain`, or set COUNTERSIGN")
if len(sys.argv) > 1:
    values = {}
    for path in sys.argv[1:]:
        values = merged(values, yaml.safe_load(pathlib.Path(path).read_text()))
    objects = render(values)
    print(yaml.safe_dump_all(objects, sort_keys=False, width=150), end="")
    check_objects("your values", objects)
else:
    chart()
    consumer()
    kustomize()
for one in problems:
    print("PROBLEM", one)
sys.exit(1 if problems else 0)
