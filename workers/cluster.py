"""The `kubernetes` launcher: one batch Job for one node, one JobSet for several. No retries of its
own: those belong to the run's row.

The run's folder lies on a volume that worker and pods share (RUN_VOLUME_CLAIM, mounted where
COUNTERPOINT_HOME is), so spec, events and checkpoints need no road of their own. What a pod says is
read back into the run's folder. The worker holds the lease, also while the Job waits for a node.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import structlog
from django.conf import settings

from calm_engine.errors import InternalError
from workers.places import Place
from workers.processes import command, environment

log = structlog.get_logger(__name__)

LOOK_SECONDS = 2.0  # between two questions to the API server
WORDS_SECONDS = 10.0  # between two readings of what the pod says
GRACE_SECONDS = 300  # for a checkpoint, between SIGTERM and SIGKILL
GONE_SECONDS = 60.0  # how long an older attempt's pods may take to leave
OUT_OF_MEMORY = "OOMKilled"
GROUP, VERSION = "jobset.x-k8s.io", "v1alpha2"

# The pod's first process alone hears SIGTERM. It passes it on, again and again, because the engine
# hears nothing before it has set its handler; the launcher between them must not go first.
SCRIPT = """
trap '' TERM
sh -c 'exec "$@" --parent-pid "$$"' launch "$@" &
child=$!
trap : TERM
wait "$child"; code=$?
if kill -0 "$child" 2>/dev/null; then
  trap '' TERM
  (while :; do kill -TERM 0; sleep 1; done) & again=$!
  wait "$child"; code=$?
  kill -KILL "$again"
fi
exit "$code"
"""


class Job:
    """One attempt as a Job (or JobSet) called `run-<id>-e<epoch>`."""

    def __init__(self, verb: str, place: Place, *, epoch: int, threads: int) -> None:
        self.run = place.folder.name
        self.epoch = epoch
        self.name = f"run-{self.run}-e{epoch}"
        self.words_file = place.words(epoch)
        self._api = Api()
        self._code: int | None = None
        self._reason = ""
        self._looked = self._heard = 0.0
        self._is_asked = False
        self._end_older()
        self._api.create(manifest(self.name, verb, place, epoch=epoch, threads=threads))

    def _end_older(self) -> None:
        """No pod of an older attempt may write into the folder that we work in."""
        for name in self._api.names(self.run):
            if name != self.name:
                log.warning("job.leftover", job=name)
                self._api.delete(name, grace=0)
        deadline = time.monotonic() + GONE_SECONDS
        while any(not is_of(pod, self.epoch) for pod in self._api.pods(self.run)):
            if time.monotonic() > deadline:
                raise InternalError(
                    "cluster.leftover",
                    "Pods of an earlier attempt do not end. Look at the cluster, then run it "
                    "again.",
                    run=self.run,
                )
            time.sleep(LOOK_SECONDS / 4)

    def poll(self) -> int | None:
        if self._code is not None or time.monotonic() - self._looked < LOOK_SECONDS:
            return self._code
        return self._look()

    def _look(self) -> int | None:
        self._looked = time.monotonic()
        pods = [pod for pod in self._api.pods(self.run) if is_of(pod, self.epoch)]
        if time.monotonic() - self._heard > WORDS_SECONDS:
            self._listen(pods)
        ends = [end for pod in pods if (end := ended(pod)) is not None]
        failed = [end for end in ends if end[0]]
        if failed or (ends and len(ends) == settings.RUN_NODES):
            self._listen(pods)
            self._code, self._reason = failed[0] if failed else ends[0]
        elif not pods and self.name not in self._api.names(self.run):
            self._code, self._reason = 128 + signal.SIGKILL, "deleted"
        return self._code

    def _listen(self, pods: list[Any]) -> None:
        """Keep what the first pod says where the page and the failure text look for it."""
        self._heard = time.monotonic()
        if pods and (words := self._api.words(pods[0].metadata.name)):
            self.words_file.write_text(words, encoding="utf-8")

    def ask(self) -> None:
        """Delete the Job with grace: its pods get SIGTERM, save, and go."""
        if not self._is_asked:
            self._is_asked = True
            self._api.delete(self.name, grace=GRACE_SECONDS)

    def wait(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while self._code is None and time.monotonic() < deadline:
            self._look()
            time.sleep(LOOK_SECONDS / 4)

    def kill(self) -> None:
        self._api.delete(self.name, grace=0)

    def ran_out_of_memory(self) -> bool:
        return self._reason == OUT_OF_MEMORY

    def ended_by(self, words: str) -> str:
        if self._reason in ("Evicted", "Preempted", "NodeLost", "deleted", "Shutdown"):
            return f"the pod was ended: {self._reason.lower()}"
        code = self._code or 0
        if code > 128:
            with contextlib.suppress(ValueError):
                return signal.Signals(code - 128).name
        return "SIGKILL" if "died with <Signals.SIGKILL" in words else ""


def is_of(pod: Any, epoch: int) -> bool:
    return bool(pod.metadata.labels.get("epoch") == str(epoch))


def ended(pod: Any) -> tuple[int, str] | None:
    """Exit status and reason of a pod that has ended, or None."""
    for status in pod.status.container_statuses or ():
        if status.state and (end := status.state.terminated):
            return int(end.exit_code), str(end.reason or "")
    if pod.status.phase == "Failed":  # evicted before its container could say anything
        return 128 + signal.SIGKILL, str(pod.status.reason or "Evicted")
    return None


# -- what is asked for -----------------------------------------------------------------------------


def manifest(name: str, verb: str, place: Place, *, epoch: int, threads: int) -> dict[str, Any]:
    """The Job of one node, or the JobSet of several, as Kubernetes wants it."""
    labels = {"app": "counterpoint", "run": place.folder.name, "epoch": str(epoch)}
    nodes = int(settings.RUN_NODES)
    job = job_spec(name, verb, place, epoch=epoch, threads=threads, nodes=nodes, labels=labels)
    metadata = {"name": name, "labels": labels}
    if nodes == 1:
        return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": job}
    worker = {"name": "ranks", "replicas": 1, "template": {"spec": job}}
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "JobSet",
        "metadata": metadata,
        "spec": {"failurePolicy": {"maxRestarts": 0}, "replicatedJobs": [worker]},
    }


def job_spec(
    name: str, verb: str, place: Place, *, epoch: int, threads: int, nodes: int, labels: Any
) -> dict[str, Any]:
    container = {
        "name": "engine",
        "image": settings.RUN_IMAGE,
        "command": ["/bin/sh", "-c", SCRIPT, "pod", *ranks(name, verb, place, epoch, threads)],
        "env": [{"name": k, "value": v} for k, v in environment(place, threads).items()],
        "workingDir": str(place.folder),
        "volumeMounts": [
            {"name": "home", "mountPath": str(settings.HOME)},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108  the pod's own, and empty
        ],
        "resources": {"limits": json.loads(settings.RUN_RESOURCES)},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,  # it writes into its folder on the volume, and /tmp
        },
    }
    pod = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,  # a run asks the cluster for nothing
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "securityContext": restricted(),
        "containers": [container],
        "volumes": [
            {"name": "home", "persistentVolumeClaim": {"claimName": settings.RUN_VOLUME_CLAIM}},
            {"name": "tmp", "emptyDir": {}},
        ],
    }
    return {
        "backoffLimit": 0,
        "parallelism": nodes,
        "completions": nodes,
        "completionMode": "Indexed",
        "ttlSecondsAfterFinished": 3600,
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }


def restricted() -> dict[str, Any]:
    """The pod's part of the standard "restricted" of Kubernetes.

    Worker and pod write into one folder of the volume, so the pod is the worker's own user; a
    worker that is root leaves the choice to the image, and a root image is then refused.
    """
    user, group = os.getuid(), os.getgid()
    own = {"runAsUser": user, "runAsGroup": group} if user else {}
    return own | {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}


def ranks(name: str, verb: str, place: Place, epoch: int, threads: int) -> list[str]:
    """The launcher's command; with several nodes each finds the first by its stable name."""
    words = command(verb, place, epoch=epoch, threads=threads)[4:]  # our script is the shell
    if settings.RUN_NODES == 1:
        return words
    at = words.index("--num_machines")
    words[at + 1] = str(settings.RUN_NODES)
    words[words.index("--num_processes") + 1] = str(settings.RUN_NODES)
    first = f"{name}-ranks-0-0.{name}"
    rank = ["--machine_rank", "$(JOB_COMPLETION_INDEX)", "--main_process_ip", first]
    return [*words[: at + 2], *rank, "--main_process_port", "29500", *words[at + 2 :]]


# -- the cluster -----------------------------------------------------------------------------------


class Api:
    """The few calls that a launcher needs, each safe to repeat. Loads the client on first use."""

    def __init__(self) -> None:
        from kubernetes import client, config  # noqa: PLC0415  only clusters need it
        from kubernetes.client.exceptions import ApiException  # noqa: PLC0415  as above

        if Path("/var/run/secrets/kubernetes.io/serviceaccount/token").exists():
            config.load_incluster_config()
        else:
            config.load_kube_config()
        self.error = ApiException
        self.namespace = settings.RUN_NAMESPACE
        self.batch, self.core = client.BatchV1Api(), client.CoreV1Api()
        self.custom = client.CustomObjectsApi()

    def _is_set(self) -> bool:
        return int(settings.RUN_NODES) > 1

    def create(self, body: dict[str, Any]) -> None:
        """Create it; one of this name that is there already is ours, from a try gone astray."""
        try:
            if self._is_set():
                self.custom.create_namespaced_custom_object(
                    GROUP, VERSION, self.namespace, "jobsets", body
                )
            else:
                self.batch.create_namespaced_job(self.namespace, body)
        except self.error as error:
            if error.status != 409:
                raise InternalError(
                    "cluster.refused",
                    "The cluster did not take the run's Job. Look at the rights and quotas of the "
                    "namespace, then run it again.",
                    status=error.status,
                ) from error

    def delete(self, name: str, *, grace: int) -> None:
        """Delete it and its pods; what is gone is deleted already."""
        how = {"propagation_policy": "Background", "grace_period_seconds": grace}
        with contextlib.suppress(self.error):
            if self._is_set():
                self.custom.delete_namespaced_custom_object(
                    GROUP, VERSION, self.namespace, "jobsets", name, **how
                )
            else:
                self.batch.delete_namespaced_job(name, self.namespace, **how)
        if run := name.removeprefix("run-").rpartition("-e")[0]:
            self._end_pods(run, name.rpartition("-e")[2], grace)

    def _end_pods(self, run: str, epoch: str, grace: int) -> None:
        """Deleting a Job gives its pods their own grace: what must go now is told so."""
        if grace:
            return
        with contextlib.suppress(self.error):
            self.core.delete_collection_namespaced_pod(
                self.namespace, label_selector=f"run={run},epoch={epoch}", grace_period_seconds=0
            )

    def names(self, run: str) -> list[str]:
        """The Jobs or JobSets of a run, of any attempt."""
        chosen = {"label_selector": f"run={run}"}
        if self._is_set():
            found = self.custom.list_namespaced_custom_object(
                GROUP, VERSION, self.namespace, "jobsets", **chosen
            )
            return [item["metadata"]["name"] for item in found["items"]]
        jobs = self.batch.list_namespaced_job(self.namespace, **chosen).items
        return [job.metadata.name for job in jobs]

    def pods(self, run: str) -> list[Any]:
        found = self.core.list_namespaced_pod(self.namespace, label_selector=f"run={run}")
        return list(found.items)

    def words(self, pod: str) -> str:
        """The last lines of a pod; nothing while it has not begun."""
        with contextlib.suppress(self.error):
            told = self.core.read_namespaced_pod_log(
                pod, self.namespace, tail_lines=1000, _preload_content=False
            )
            return bytes(told.data).decode(errors="replace")
        return ""
