"""The chart on a real cluster: taken by its server, installed, upgraded, rolled back, tested."""

from __future__ import annotations

import json
import os
from collections.abc import Callable

import pytest

from tests.deploy.helm import CHART, RELEASE, Told, arguments, kubectl, template
from tests.deploy.test_chart import DEMO, EVERY, EXTENSIONS, values_of

pytestmark = pytest.mark.slow

GIVEN = os.environ.get("CLUSTER_VALUES", "")
Helm = Callable[..., Told]


def known_kinds() -> set[str]:
    """What this cluster's server knows, by kind."""
    told = kubectl("api-resources", "--no-headers", "--output=wide")
    assert told.code == 0, told.err
    return {word for line in told.out.splitlines() for word in line.split()}


@pytest.mark.parametrize("values", EVERY)
def test_the_server_takes_every_object(values: str, namespace: str) -> None:
    import yaml  # noqa: PLC0415  as the other tests of a cluster, wanted seldom

    missing = EXTENSIONS - known_kinds()
    objects = [each for each in yaml.safe_load_all(template(*values_of(values)).out) if each]
    asked = [each for each in objects if each["kind"] not in missing]
    for each in asked:
        each["metadata"]["namespace"] = namespace
    words = ["apply", "--dry-run=server", "--filename=-"]
    told = kubectl(*words, fed=yaml.safe_dump_all(asked))
    assert told.code == 0, told.err
    assert "would violate PodSecurity" not in told.err


def test_a_release_comes_is_upgraded_and_goes_back(helm: Helm) -> None:
    values = ["-f", GIVEN] if GIVEN else arguments((DEMO,))
    wait = ["--wait", "--timeout", "15m"] if GIVEN else []
    helm("install", RELEASE, str(CHART), *values, *wait)
    helm("upgrade", RELEASE, str(CHART), *values, *wait, "--set", "web.graceSeconds=70")
    helm("rollback", RELEASE, "1", *wait)
    told = json.loads(helm("history", RELEASE, "--output", "json").out)
    assert [each["status"] for each in told] == ["superseded", "superseded", "deployed"]
    if GIVEN:
        helm("test", RELEASE, "--timeout", "15m")
    helm("uninstall", RELEASE)
