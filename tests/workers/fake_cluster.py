"""A small Kubernetes API server: Jobs and JobSets whose pods are real processes of this machine.

Started as a process of its own by the tests of launchers. It takes only pods that the standard
"restricted" allows, and does what a cluster does to a run: it
starts the pod's command with the pod's environment and nothing else, sends SIGTERM to its first
process alone, SIGKILL when the grace is over, and forgets a deleted pod when it has ended.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

KINDS = r"(?:batch/v1/namespaces/[^/]+/jobs|jobset\.x-k8s\.io/v1alpha2/namespaces/[^/]+/jobsets)"
JOBS = re.compile(rf"/apis/{KINDS}(?:/([^/]+))?$")
PODS = re.compile(r"/api/v1/namespaces/[^/]+/pods(?:/([^/]+)(/log)?)?$")


@dataclass
class Pod:
    name: str
    spec: dict[str, Any]
    labels: dict[str, str]
    words: Path
    process: subprocess.Popen[bytes]
    is_deleted: bool = False

    def end(self, grace: float) -> None:
        self.is_deleted = True
        if grace:
            self.process.terminate()  # as a kubelet does: to the first process alone
        threading.Timer(grace, self.kill).start()

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def told(self) -> dict[str, Any]:
        code = self.process.poll()
        state: dict[str, Any] = {"running": {}}
        phase = "Running"
        if code is not None:
            code = code if code >= 0 else 128 - code
            state = {"terminated": {"exitCode": code, "reason": "Error" if code else "Completed"}}
            phase = "Failed" if code else "Succeeded"
        container = {"name": "engine", "image": "", "imageID": "", "ready": False}
        return {
            "metadata": {"name": self.name, "labels": self.labels},
            "status": {
                "phase": phase,
                "containerStatuses": [container | {"restartCount": 0, "state": state}],
            },
        }


@dataclass
class Cluster:
    folder: Path
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    pods: dict[str, Pod] = field(default_factory=dict)

    def create(self, body: dict[str, Any]) -> None:
        name = body["metadata"]["name"]
        self.jobs[name] = body
        job = job_of(body)
        for index in range(job["completions"]):
            self._start(f"{name}-{index}", job["template"], str(index))

    def _start(self, name: str, template: dict[str, Any], index: str) -> None:
        """One pod of an indexed Job; its index is also put into its command, as Kubernetes does."""
        spec = template["spec"]
        container = spec["containers"][0]
        words = self.folder / f"{name}.log"
        env = {each["name"]: each["value"] for each in container["env"]}
        with words.open("wb") as out:
            process = subprocess.Popen(
                [word.replace("$(JOB_COMPLETION_INDEX)", index) for word in container["command"]],
                env=env | {"JOB_COMPLETION_INDEX": index},
                cwd=container["workingDir"],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        self.pods[name] = Pod(name, spec, template["metadata"]["labels"], words, process)

    def delete(self, name: str) -> None:
        del self.jobs[name]
        for pod in self.pods.values():
            if pod.name.startswith(name):
                pod.end(pod.spec["terminationGracePeriodSeconds"])

    def listed(self, selector: str) -> list[Pod]:
        """Pods with these labels; a deleted one is forgotten when its process has ended."""
        wanted = dict(part.split("=") for part in selector.split(",") if part)
        self.pods = {
            name: pod
            for name, pod in self.pods.items()
            if not (pod.is_deleted and pod.process.poll() is not None)
        }
        return [pod for pod in self.pods.values() if wanted.items() <= pod.labels.items()]


def job_of(body: dict[str, Any]) -> dict[str, Any]:
    """The one Job of a Job or a JobSet."""
    spec: dict[str, Any] = body["spec"]
    if body["kind"] == "JobSet":
        spec = spec["replicatedJobs"][0]["template"]["spec"]
    return spec


def violations(pod: dict[str, Any]) -> list[str]:
    """What the standard "restricted" refuses in a pod."""
    whole = pod.get("securityContext", {})
    found = [] if whole.get("runAsNonRoot") else ["runAsNonRoot"]
    found += [] if whole.get("seccompProfile") == {"type": "RuntimeDefault"} else ["seccomp"]
    for container in pod["containers"]:
        own = container.get("securityContext", {})
        found += [] if own.get("allowPrivilegeEscalation") is False else ["escalation"]
        found += [] if own.get("capabilities") == {"drop": ["ALL"]} else ["capabilities"]
        found += [] if own.get("readOnlyRootFilesystem") else ["root"]
    return found


class Door(BaseHTTPRequestHandler):
    cluster: Cluster
    lock = threading.Lock()

    def answer(self, body: Any, status: int = 200) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        kind = "text/plain" if isinstance(body, bytes) else "application/json"
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def asked(self) -> tuple[str, dict[str, str], dict[str, Any]]:
        parts = urlsplit(self.path)
        words = {name: values[0] for name, values in parse_qs(parts.query).items()}
        length = int(self.headers.get("Content-Length") or 0)
        return parts.path, words, json.loads(self.rfile.read(length)) if length else {}

    def do_POST(self) -> None:
        path, _, body = self.asked()
        with self.lock:
            if not JOBS.match(path):
                return self.answer({"message": "no such thing"}, 404)
            if body["metadata"]["name"] in self.cluster.jobs:
                return self.answer({"message": "there is one"}, 409)
            if refused := violations(job_of(body)["template"]["spec"]):
                return self.answer({"message": f"not restricted: {refused}"}, 403)
            self.cluster.create(body)
            return self.answer(body, 201)

    def do_GET(self) -> None:
        path, words, _ = self.asked()
        with self.lock:
            if JOBS.match(path):
                wanted = dict([words["labelSelector"].split("=")])
                found = [
                    {"metadata": {"name": name}}
                    for name, job in self.cluster.jobs.items()
                    if wanted.items() <= job["metadata"]["labels"].items()
                ]
                return self.answer({"items": found})
            if (one := PODS.match(path)) and one[2]:
                pod = self.cluster.pods.get(one[1])
                return self.answer(pod.words.read_bytes() if pod else b"", 200 if pod else 404)
            if one:
                pods = self.cluster.listed(words.get("labelSelector", ""))
                return self.answer({"items": [pod.told() for pod in pods]})
            return self.answer({"message": "no such thing"}, 404)

    def do_DELETE(self) -> None:
        path, words, _ = self.asked()
        with self.lock:
            one = JOBS.match(path)
            if one and one[1] in self.cluster.jobs:
                self.cluster.delete(one[1])
                return self.answer({"status": "Success"})
            if PODS.match(path):
                for pod in self.cluster.listed(words["labelSelector"]):
                    pod.end(float(words.get("gracePeriodSeconds", "30")))
                return self.answer({"items": []})
            return self.answer({"message": "no such thing"}, 404)

    def log_message(self, *_: object) -> None:
        """Say nothing: the tests read what matters."""


def main() -> None:
    """Serve until killed; the port goes to standard output. What still runs is ended with us."""
    with tempfile.TemporaryDirectory() as folder:
        Door.cluster = Cluster(Path(folder))
        server = ThreadingHTTPServer(("127.0.0.1", 0), Door)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        sys.stdout.write(f"{server.server_address[1]}\n")
        sys.stdout.flush()
        try:
            while True:
                time.sleep(60)
        finally:
            for pod in Door.cluster.pods.values():
                pod.kill()


if __name__ == "__main__":
    main()
