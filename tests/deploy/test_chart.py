"""The chart, rendered by the real helm: what it promises to whoever runs a cluster."""

from __future__ import annotations

import json
import re
import tomllib
from typing import Any

import pytest
import yaml

from counterpoint.operate import cli
from counterpoint.release import version
from tests.deploy.helm import (
    CHART,
    ROOT,
    Object,
    arguments,
    call,
    environment,
    named,
    of_kind,
    pods,
    refusal,
    render,
)

LEAST, ALL, DEMO = "ci/minimal.yaml", "ci/everything.yaml", "ci/demo.yaml"
SETS = sorted(f"ci/{path.name}" for path in (CHART / "ci").glob("*.yaml"))
SIZES = sorted(path.name for path in (CHART / "sizes").glob("*.yaml"))
MINORS = ("1.35", "1.36", "1.37")  # as Chart.yaml's kubeVersion says
# Kinds that Kubernetes itself does not know: the validator would let them through with a warning.
EXTENSIONS = {"PodMonitor", "ServiceMonitor", "PrometheusRule", "ScaledObject", "HTTPRoute"}
MOUNTED = re.compile(r"^/etc/counterpoint/(secrets|trust)/")


def values_of(name: str) -> tuple[str, ...]:
    if name == "sizes/evaluation.yaml":
        return (name, "site.url=http://127.0.0.1:8000")
    return (LEAST, name) if name.startswith("sizes/") else (name,)


EVERY = [*SETS, *(f"sizes/{name}" for name in SIZES)]


# ---- well-formed ---------------------------------------------------------------------------------


@pytest.mark.parametrize("values", EVERY)
def test_lint_has_nothing_to_say(values: str) -> None:
    told = call("lint", "--strict", "--quiet", str(CHART), *arguments(values_of(values)))
    assert told.code == 0, told.out + told.err


@pytest.mark.parametrize("minor", MINORS)
@pytest.mark.parametrize("values", [ALL, DEMO])
def test_every_object_is_valid_for_the_minor(values: str, minor: str) -> None:
    import kubernetes_validate  # noqa: PLC0415  reads a large folder of schemas

    for each in render(values, kube=f"{minor}.0"):
        if each["kind"] not in EXTENSIONS:
            kubernetes_validate.validate(each, minor, strict=True)


def test_other_minors_are_refused() -> None:
    words = ["template", "x", str(CHART), *arguments((LEAST,)), "--kube-version", "1.33.0"]
    told = call(*words)
    assert told.code != 0
    assert "kubeVersion" in told.err


def test_the_chart_is_of_the_release() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert chart["version"] == chart["appVersion"] == project["version"] == version()


def test_two_releases_of_a_namespace_share_no_name() -> None:
    first = call("template", "one", str(CHART), *arguments((ALL,)))
    second = call("template", "two", str(CHART), *arguments((ALL,)))
    names = [
        {(o["kind"], o["metadata"]["name"]) for o in yaml.safe_load_all(told.out) if o}
        for told in (first, second)
    ]
    assert names[0] & names[1] == set()


def test_rendering_twice_changes_nothing() -> None:
    words = ["template", "calm", str(CHART), *arguments((ALL,))]
    assert call(*words).out == call(*words, "--namespace", "default").out


@pytest.mark.parametrize("values", EVERY)
def test_no_object_is_there_twice(values: str) -> None:
    found = [(o["kind"], o["metadata"]["name"]) for o in render(*values_of(values))]
    assert len(found) == len(set(found))


# ---- the schema ----------------------------------------------------------------------------------


def objects_of(schema: Any) -> list[dict[str, Any]]:
    if isinstance(schema, list):
        return [found for each in schema for found in objects_of(each)]
    if not isinstance(schema, dict):
        return []
    own = [schema] if schema.get("type") == "object" and "properties" in schema else []
    return own + [found for each in schema.values() for found in objects_of(each)]


def test_the_schema_is_strict_at_every_level() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    found = objects_of(schema)
    assert len(found) > 40
    assert all(each.get("additionalProperties") is False for each in found)


def test_every_value_of_the_file_is_known_to_the_schema_and_the_other_way_round() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert set(yaml.safe_load((CHART / "values.yaml").read_text())) == set(schema["properties"])


REFUSED = {
    "web.replica=3": "additional properties 'replica' not allowed",
    "databse.urlKey=x": "databse",
    "secrets.existingSecret=": "/secrets/existingSecret",
    "database.existingSecret=": "/database/existingSecret",
    "database.owner.existingSecret=": "/database/owner/existingSecret",
    "redis.existingSecret=": "/redis/existingSecret",
    "site.url=counterpoint.example.com": "/site/url",
    "site.url=http://counterpoint.example.com": "/site/url",
    "site.url=https://counterpoint.example.com/path": "/site/url",
    "database.tls.mode=disable": "/database/tls/mode",
    "database.tls.mode=require": "/database/tls/mode",
    "web.replicas=1": "/web/replicas",
    "networkPolicy.enabled=false": "/networkPolicy/enabled",
    "demo.enabled=true": "/demo/enabled",
    "images.web.tag=latest": "/images/web",
    "images.web.digest=sha256:12": "/images/web/digest",
    "global.imageRegistry=https://registry.example.com": "/global/imageRegistry",
    "settings.DATABASE_URL=postgres://x": "invalid propertyName 'DATABASE_URL'",
    "settings.API_TOKEN=hunter2": "invalid propertyName 'API_TOKEN'",
    "settings.lower=1": "invalid propertyName 'lower'",
    "storage.s3.bucket=counterpoint": "/storage/s3/",
    "storage.s3.endpoint=http://objects:9000": "/storage/s3/endpoint",
    "settings.S3_BUCKET=x": "invalid propertyName 'S3_BUCKET'",
    "monitoring.traces.endpoint=collector:4318": "/monitoring/traces/endpoint",
    "backup.enabled=true": "/backup/existingClaim",
    "backup.schedule=sometimes": "/backup/schedule",
    "gateway.enabled=true": "/gateway/parent/name",
    "workers.gpu.queues={nightly}": "/workers/gpu/queues",
    "workers.gpu.resources.limits.memory=lots": "/workers/gpu/resources",
    "hosts.ports.first=80": "/hosts/ports/first",
    "runs.launcher=slurm": "/runs/launcher",
    "podSecurity.runAsUser=0": "/podSecurity/runAsUser",
    "ingress.tls.key=x": "additional properties 'key' not allowed",
}


@pytest.mark.parametrize(("value", "told"), REFUSED.items(), ids=list(REFUSED))
def test_a_wrong_value_is_refused_by_its_name(value: str, told: str) -> None:
    assert told in refusal(LEAST, value)


def test_two_doors_are_refused_in_a_sentence() -> None:
    values = ("ci/gateway.yaml", "ingress.enabled=true")
    assert "the site has one door" in refusal(*values)


def test_runs_are_never_scaled_by_messages() -> None:
    values = (LEAST, "keda.enabled=true", "keda.queues={gpu}")
    assert "would kill a training" in refusal(*values)


def test_runs_share_no_worker_with_short_tasks() -> None:
    values = (LEAST, "workers.gpu.queues={gpu,short}")
    assert "a run of hours would hold them up" in refusal(*values)


def test_a_volume_for_one_node_is_refused_when_many_share_it() -> None:
    assert "ReadWriteMany" in refusal(LEAST, "storage.accessMode=ReadWriteOnce")


# ---- pods ----------------------------------------------------------------------------------------


def every_pod() -> list[Any]:
    return [
        pytest.param(values, name, id=f"{values}:{name}")
        for values in (ALL, DEMO)
        for name in pods(render(values))
    ]


@pytest.mark.parametrize(("values", "name"), every_pod())
def test_a_pod_fits_a_restricted_namespace(values: str, name: str) -> None:
    """The rules of the Pod Security Standard "restricted", and a read-only root besides."""
    pod = pods(render(values))[name]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    assert all(not {"hostPath"} & set(volume) for volume in pod["volumes"])
    for container in [*pod["containers"], *pod.get("initContainers", [])]:
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert "memory" in container["resources"]["limits"]
        assert all("hostPort" not in port for port in container.get("ports", []))
        assert "/tmp" in {mount["mountPath"] for mount in container["volumeMounts"]}  # noqa: S108


@pytest.mark.parametrize(("values", "name"), every_pod())
def test_a_pod_has_a_token_only_when_it_launches_jobs(values: str, name: str) -> None:
    assert pods(render(values))[name]["automountServiceAccountToken"] is False


@pytest.mark.parametrize(("values", "name"), every_pod())
def test_what_a_pod_runs_is_a_verb_of_the_command(values: str, name: str) -> None:
    for container in pods(render(values))[name]["containers"]:
        told = cli.parser().parse_args([str(word) for word in container["args"]])
        assert callable(told.do)


@pytest.mark.parametrize(("values", "name"), every_pod())
def test_every_mount_has_its_volume(values: str, name: str) -> None:
    pod = pods(render(values))[name]
    volumes = {volume["name"] for volume in pod["volumes"]} | (
        {"data"} if values == DEMO else set()
    )
    mounts = {mount["name"] for each in pod["containers"] for mount in each["volumeMounts"]}
    assert mounts <= volumes
    assert volumes - mounts == set()


@pytest.mark.parametrize("values", SETS)
def test_no_secret_is_an_environment_variable(values: str) -> None:
    for pod in pods(render(values)).values():
        for container in pod["containers"]:
            assert "secretKeyRef" not in json.dumps(container.get("env", []))
            for name, value in environment(container).items():
                if re.search(r"(URL|KEY|SECRET)_FILE$|CA_FILE$", name):
                    assert MOUNTED.match(value), name


@pytest.mark.parametrize("values", SETS)
def test_the_chart_writes_no_secret(values: str) -> None:
    assert of_kind(render(values), "Secret") == []


def secret_files(pod: Object) -> set[str]:
    [volume] = [each for each in pod["volumes"] if each["name"] == "secrets"]
    sources = volume["projected"]["sources"]
    return {item["path"] for source in sources for item in source["secret"]["items"]}


def holders(secret: str) -> list[str]:
    return [name for name, pod in pods(render(ALL)).items() if secret in secret_files(pod)]


def test_only_the_migration_has_the_owners_login() -> None:
    assert holders("database-owner-url") == ["Job/calm-migrate"]


def test_only_backups_have_the_backup_login() -> None:
    found = holders("database-backup-url")
    assert found == ["CronJob/calm-backup", "CronJob/calm-backup-check"]


def test_only_web_and_hosts_know_the_models_secret() -> None:
    assert set(holders("model-secret")) == {"Deployment/calm-web", "Deployment/calm-host"}


def test_everybody_who_reads_files_has_the_buckets_key_and_the_migration_has_not() -> None:
    found = set(holders("s3-secret"))
    assert found == set(pods(render(ALL))) - {"Job/calm-migrate"}
    pod = pods(render(ALL))["Deployment/calm-worker-ingest"]
    env = environment(pod["containers"][0])
    assert env["S3_BUCKET"] == "counterpoint"
    assert env["S3_ENDPOINT"] == "https://objects.example.com"
    assert env["S3_CA_FILE"] == "/etc/counterpoint/trust/s3.crt"
    without = environment(pods(render(LEAST))["Deployment/calm-web"]["containers"][0])
    assert not [name for name in without if name.startswith(("S3_", "OTEL_"))]


def test_traces_are_sent_where_the_values_say_and_nowhere_else() -> None:
    env = environment(pods(render(ALL))["Deployment/calm-web"]["containers"][0])
    assert env["OTEL_EXPORTER_OTLP_ENDPOINT"] == "https://collector.monitoring:4318"
    assert env["OTEL_EXPORTER_OTLP_CERTIFICATE"] == "/etc/counterpoint/trust/traces.crt"
    rules = named(render(ALL), "NetworkPolicy", "calm-engines")["spec"]["egress"]
    assert [each["ports"][0]["port"] for each in rules[1:5]] == [5432, 6379, 443, 4318]


def test_engines_are_reached_by_tls_under_the_private_authority() -> None:
    pod = pods(render(ALL))["Deployment/calm-web"]
    env = environment(pod["containers"][0])
    assert env["DATABASE_TLS"] == "verify-full"
    assert env["DATABASE_CA_FILE"] == "/etc/counterpoint/trust/database.crt"
    assert env["REDIS_CA_FILE"] == "/etc/counterpoint/trust/redis.crt"
    assert (
        environment(pods(render(LEAST))["Deployment/calm-web"]["containers"][0]).get(
            "DATABASE_CA_FILE"
        )
        is None
    )


@pytest.mark.parametrize("name", ["web", "worker-short", "worker-gpu", "timer", "host", "migrate"])
def test_no_process_of_a_cluster_starts_an_engine_by_surprise(name: str) -> None:
    kind = "Job" if name == "migrate" else "Deployment"
    pod = pods(render(LEAST))[f"{kind}/calm-{name}"]
    assert environment(pod["containers"][0])["COUNTERPOINT_EMBEDDED"] == "never"


def test_the_signs_of_one_pod_are_not_seen_by_another() -> None:
    pod = pods(render(LEAST))["Deployment/calm-worker-gpu"]
    mounts = {mount["mountPath"]: mount for mount in pod["containers"][0]["volumeMounts"]}
    assert mounts["/data"]["name"] == "data"
    assert mounts["/data/drain"]["name"] == "own"


def test_the_cluster_may_choose_the_user() -> None:
    for pod in pods(render("ci/openshift.yaml")).values():
        assert not {"runAsUser", "runAsGroup", "fsGroup"} & set(pod["securityContext"])


# ---- probes and endings --------------------------------------------------------------------------


def test_probes_of_the_web_name_the_site_and_never_restart_it_for_the_database() -> None:
    container = pods(render(LEAST))["Deployment/calm-web"]["containers"][0]
    for name, path in (("startup", "/healthz"), ("liveness", "/healthz"), ("readiness", "/readyz")):
        get = container[f"{name}Probe"]["httpGet"]
        assert get["path"] == path
        assert get["httpHeaders"] == [{"name": "Host", "value": "counterpoint.example.com"}]


@pytest.mark.parametrize("name", ["worker-short", "worker-ingest", "worker-gpu", "timer", "host"])
def test_whoever_answers_no_http_gives_a_sign_of_life(name: str) -> None:
    container = pods(render(LEAST))[f"Deployment/calm-{name}"]["containers"][0]
    alive = environment(container)["ALIVE_FILE"]
    assert alive in container["startupProbe"]["exec"]["command"]
    assert alive in container["livenessProbe"]["exec"]["command"][-1]


def test_a_run_has_time_to_write_its_checkpoint() -> None:
    pod = pods(render(LEAST))["Deployment/calm-worker-gpu"]
    assert pod["terminationGracePeriodSeconds"] == 600
    assert environment(pod["containers"][0])["WORKER_DRAIN_SECONDS"] == "590"


def test_the_timer_is_never_two() -> None:
    timer = named(render(ALL), "Deployment", "calm-timer")
    assert timer["spec"]["replicas"] == 1
    assert timer["spec"]["strategy"] == {"type": "Recreate"}


# ---- placing and scaling -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["worker-gpu", "host"])
def test_accelerators_come_with_class_memory_and_place(name: str) -> None:
    pod = pods(render(ALL))[f"Deployment/calm-{name}"]
    assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert pod["runtimeClassName"] == "nvidia"
    assert pod["tolerations"][0]["key"] == "nvidia.com/gpu"
    [memory] = [each for each in pod["volumes"] if each["name"] == "memory"]
    assert memory["emptyDir"]["medium"] == "Memory"
    assert {"name": "memory", "mountPath": "/dev/shm"} in pod["containers"][0]["volumeMounts"]  # noqa: S108


def test_without_accelerators_none_is_asked_for() -> None:
    limits = pods(render(LEAST))["Deployment/calm-worker-gpu"]["containers"][0]["resources"][
        "limits"
    ]
    assert set(limits) == {"memory"}


def test_each_queue_has_its_worker() -> None:
    queues = [
        word
        for name, pod in pods(render(LEAST)).items()
        if "worker" in name
        for word in pod["containers"][0]["args"][2].split(",")
    ]
    assert sorted(queues) == ["gpu", "ingest", "short"]


@pytest.mark.parametrize("name", ["web", "worker-short", "worker-gpu", "timer", "host"])
def test_pods_spread_over_nodes_and_zones(name: str) -> None:
    found = pods(render(ALL))[f"Deployment/calm-{name}"]["topologySpreadConstraints"]
    assert [each["topologyKey"] for each in found] == [
        "kubernetes.io/hostname",
        "topology.kubernetes.io/zone",
    ]


@pytest.mark.parametrize("name", ["web", "host"])
def test_who_scales_itself_has_no_fixed_number(name: str) -> None:
    scaler = named(render(ALL), "HorizontalPodAutoscaler", f"calm-{name}")
    assert scaler["spec"]["scaleTargetRef"]["name"] == f"calm-{name}"
    assert "replicas" not in named(render(ALL), "Deployment", f"calm-{name}")["spec"]


def test_messages_scale_the_short_queues_alone() -> None:
    [scaled] = of_kind(render(ALL), "ScaledObject")
    assert scaled["metadata"]["name"] == "calm-worker-ingest"
    [trigger] = scaled["spec"]["triggers"]
    assert trigger["metadata"]["url"] == "http://calm-timer.models:9090/metrics"
    assert "replicas" not in named(render(ALL), "Deployment", "calm-worker-ingest")["spec"]


@pytest.mark.parametrize("name", ["web", "host"])
def test_a_node_may_be_drained_without_an_outage(name: str) -> None:
    budget = named(render(ALL), "PodDisruptionBudget", f"calm-{name}")
    assert budget["spec"]["maxUnavailable"] == 1
    wanted = budget["spec"]["selector"]["matchLabels"]
    template = named(render(ALL), "Deployment", f"calm-{name}")["spec"]["template"]
    assert wanted.items() <= template["metadata"]["labels"].items()


# ---- the migration -------------------------------------------------------------------------------


def test_the_migration_leans_on_nothing_of_its_own_release() -> None:
    """A hook that waits for an object of the release deadlocks: the release waits for the hook."""
    objects = render(ALL)
    job = named(objects, "Job", "calm-migrate")
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    pod = pods(objects)["Job/calm-migrate"]
    assert pod["serviceAccountName"] == "calm-migrate"
    account = named(objects, "ServiceAccount", "calm-migrate")
    assert account["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    weight = "helm.sh/hook-weight"
    assert int(account["metadata"]["annotations"][weight]) < int(
        job["metadata"]["annotations"][weight]
    )
    made = {
        each["metadata"]["name"]
        for each in objects
        if each["kind"] in {"Secret", "ConfigMap", "PersistentVolumeClaim"}
    }
    assert all(name not in json.dumps(pod) for name in made)


def test_the_migration_can_be_told_to_go_back() -> None:
    for value, words in (("false", ["migrate"]), ("true", ["migrate", "--back"])):
        pod = pods(render(LEAST, f"migrate.back={value}"))["Job/calm-migrate"]
        assert [each["args"] for each in pod["containers"]] == [words]


def test_the_migration_ends() -> None:
    job = named(render(LEAST), "Job", "calm-migrate")
    assert job["spec"]["activeDeadlineSeconds"] == 1800
    assert pods(render(LEAST))["Job/calm-migrate"]["restartPolicy"] == "Never"


# ---- doors and walls -----------------------------------------------------------------------------


def test_the_ingress_serves_every_name_under_the_given_certificate() -> None:
    [ingress] = of_kind(render(ALL), "Ingress")
    assert [rule["host"] for rule in ingress["spec"]["rules"]] == [
        "counterpoint.example.com",
        "chat.example.com",
    ]
    assert ingress["spec"]["tls"][0]["secretName"] == "counterpoint-tls"


def test_the_gateway_route_lets_answers_stream() -> None:
    [route] = of_kind(render("ci/gateway.yaml"), "HTTPRoute")
    assert route["apiVersion"] == "gateway.networking.k8s.io/v1"
    assert route["spec"]["hostnames"] == ["counterpoint.example.com"]
    assert route["spec"]["rules"][0]["timeouts"] == {"request": "0s"}


def policies(values: str) -> dict[str, Object]:
    return {
        each["metadata"]["name"]: each["spec"] for each in of_kind(render(values), "NetworkPolicy")
    }


@pytest.mark.parametrize("values", [LEAST, ALL, DEMO])
def test_everything_is_shut_first(values: str) -> None:
    deny = policies(values)["calm-deny"]
    assert deny["policyTypes"] == ["Ingress", "Egress"]
    assert not {"ingress", "egress"} & set(deny)
    for each in render(values):
        if pods((each,)):
            made = each["spec"].get("template", each["spec"].get("jobTemplate", {}))
            made = made.get("spec", {}).get("template", made) if each["kind"] == "CronJob" else made
            labels = (made or each)["metadata"]["labels"]
            assert deny["podSelector"]["matchLabels"].items() <= labels.items()


def test_outward_only_what_the_values_name() -> None:
    told = json.dumps([each.get("egress", []) for each in policies(ALL).values()])
    assert set(re.findall(r"\d+\.\d+\.\d+\.\d+/\d+", told)) == {
        "10.20.0.10/32",
        "10.20.0.11/32",
        "10.20.0.12/32",
        "10.20.0.13/32",
    }
    assert "0.0.0.0/0" not in told


def test_no_rule_of_a_policy_is_open_to_all() -> None:
    for name, spec in policies(ALL).items():
        for rule in [*spec.get("ingress", []), *spec.get("egress", [])]:
            assert rule.get("from") or rule.get("to"), f"{name} has a rule without peers"
            assert rule.get("ports"), f"{name} opens every port"


def test_models_are_asked_by_the_web_alone() -> None:
    spec = policies(ALL)["calm-models"]
    [rule] = spec["ingress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": 8100, "endPort": 8131}]
    [peer] = rule["from"]
    assert peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "web"
    ports = environment(pods(render(ALL))["Deployment/calm-host"]["containers"][0])
    assert ports["COUNTERPOINT_HOST_PORTS"] == "8100-8131"


def test_the_demo_speaks_to_nobody() -> None:
    assert all("egress" not in spec for spec in policies(DEMO).values())


def test_figures_are_read_by_whom_the_values_name() -> None:
    assert "calm-metrics" not in policies(LEAST)
    assert policies(ALL)["calm-metrics"]["ingress"][0]["ports"] == [
        {"protocol": "TCP", "port": 9090}
    ]
    service = named(render(ALL), "Service", "calm")
    assert [port["port"] for port in service["spec"]["ports"]] == [80]


# ---- keeping -------------------------------------------------------------------------------------


def test_the_volume_outlives_the_release() -> None:
    claim = named(render(LEAST), "PersistentVolumeClaim", "calm-data")
    assert claim["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    assert of_kind(render("ci/openshift.yaml"), "PersistentVolumeClaim") == []


def test_backups_never_overlap_and_are_proven() -> None:
    jobs = {each["metadata"]["name"]: each["spec"] for each in of_kind(render(ALL), "CronJob")}
    assert set(jobs) == {"calm-backup", "calm-backup-check"}
    assert all(job["concurrencyPolicy"] == "Forbid" for job in jobs.values())
    assert of_kind(render(LEAST), "CronJob") == []


def test_a_release_without_backup_is_told_so() -> None:
    told = call("install", "calm", str(CHART), "--dry-run=client", *arguments((LEAST,)))
    assert "There is NO BACKUP" in told.out
    assert "helm test calm" in told.out


# ---- launching runs ------------------------------------------------------------------------------


def test_the_launcher_may_touch_jobs_and_nothing_else() -> None:
    objects = render(LEAST, "runs.launcher=kubernetes")
    [role] = of_kind(objects, "Role")
    rights = {
        (g, r) for rule in role["rules"] for g in rule["apiGroups"] for r in rule["resources"]
    }
    assert rights == {
        ("batch", "jobs"),
        ("jobset.x-k8s.io", "jobsets"),
        ("", "pods"),
        ("", "pods/log"),
    }
    assert "*" not in json.dumps(role["rules"])
    tokens = [n for n, pod in pods(objects).items() if pod["automountServiceAccountToken"]]
    assert tokens == ["Deployment/calm-worker-gpu"]
    assert of_kind(objects, "ClusterRole") == []


def test_the_launcher_knows_image_volume_and_resources_of_a_run() -> None:
    values = (ALL, "runs.launcher=kubernetes", "runs.resources.memory=64Gi")
    container = pods(render(*values))["Deployment/calm-worker-gpu"]["containers"][0]
    env = environment(container)
    assert env["RUN_LAUNCHER"] == "kubernetes"
    assert env["RUN_IMAGE"] == container["image"]
    assert env["RUN_VOLUME_CLAIM"] == "calm-data"
    assert json.loads(env["RUN_RESOURCES"]) == {"memory": "64Gi"}
    [wall] = [
        each
        for each in of_kind(render(*values), "NetworkPolicy")
        if each["metadata"]["name"] == "calm-runs"
    ]
    assert wall["spec"]["podSelector"]["matchLabels"] == {"app": "counterpoint"}  # as Jobs carry


# ---- the demo ------------------------------------------------------------------------------------


def test_the_demo_is_one_pod_and_needs_no_secret() -> None:
    made = pods(render(DEMO))
    assert list(made) == ["StatefulSet/calm-demo"]
    assert "secret" not in json.dumps(made).lower()


def test_the_demo_is_off_unless_asked_for() -> None:
    assert of_kind(render(ALL), "StatefulSet") == []


# ---- images --------------------------------------------------------------------------------------


def test_a_digest_wins_over_the_tag_behind_the_registry() -> None:
    images = {c["image"] for pod in pods(render(ALL)).values() for c in pod["containers"]}
    assert images == {
        "registry.example.com/mirror/counterpoint/web@sha256:" + "1" * 64,
        "registry.example.com/mirror/counterpoint/worker@sha256:" + "2" * 64,
        "registry.example.com/mirror/counterpoint/host@sha256:" + "3" * 64,
    }


def test_without_a_tag_the_image_is_the_releases_own() -> None:
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
    images = {c["image"] for pod in pods(render(LEAST)).values() for c in pod["containers"]}
    assert images == {f"counterpoint/{name}:{version}" for name in ("web", "worker", "host")}


@pytest.mark.parametrize("values", SETS)
def test_no_image_is_missing_from_the_list_and_no_address_is_foreign(values: str) -> None:
    listed = (ROOT / "deploy" / "images" / "images.txt").read_text().split()
    for pod in pods(render(values)).values():
        for container in pod["containers"]:
            name = re.sub(r"[@:].*", "", container["image"].rsplit("counterpoint/")[-1])
            assert f"counterpoint/{name}" in listed
    addresses = set(re.findall(r"https?://([^/\s\"':]+)", json.dumps(render(values))))
    ours = {"counterpoint.example.com", "chat.example.com", "127.0.0.1"}
    ours |= {"objects.example.com", "collector.monitoring"}  # the bucket's and the collector's
    assert addresses - ours - {"calm.models", "calm-timer.models"} == set()
