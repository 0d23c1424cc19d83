"""A real cluster: the one that KUBECONFIG names. Without it none of these tests is looked for.

CLUSTER_VALUES names a file of values for it, with images, secrets and engines that are there; then
pods are waited for and `helm test` is run. Without it the server's own judgement is asked.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest

from tests.deploy.helm import Told, in_cluster, kubectl

collect_ignore_glob = [] if os.environ.get("KUBECONFIG") else ["test_*"]


@pytest.fixture
def namespace() -> Iterator[str]:
    """A namespace that lets in restricted pods alone; gone at the end."""
    name = f"counterpoint-{uuid4().hex[:8]}"
    assert kubectl("create", "namespace", name).code == 0
    try:
        strict = "pod-security.kubernetes.io/enforce=restricted"
        assert kubectl("label", "namespace", name, strict).code == 0
        yield name
    finally:
        kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
def helm(namespace: str) -> Callable[..., Told]:
    """One call of helm in this namespace, which must end well."""

    def call(*words: str) -> Told:
        told = in_cluster(*words, "--namespace", namespace)
        assert told.code == 0, told.out + told.err
        return told

    return call
