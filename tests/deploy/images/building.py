"""Builds images with buildah in chroot isolation, and runs them as a hardened pod would.

The base is BASE, an image that buildah can reach by its digest; without it mmdebstrap puts Debian's
own packages together, from the mirror that apt is set to here. pip asks in a build whom it asks on
this machine. Needs root, for it mounts; no registry and no container engine.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from tests.deploy.helm import ROOT

RECIPES = ROOT / "deploy" / "images"
PACKAGES = "python3,python3-venv,ca-certificates"
SUITE = "bookworm"
NOBODY = 23456  # a user id that no image knows, as OpenShift gives one
# What a cluster gives a restricted pod: its own processes, nothing to write to but two folders.
RUN = """
set -e
root=$1 user=$2; shift 2
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount --bind /sys "$root/sys" && mount -o remount,bind,ro "$root/sys"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -t tmpfs -o mode=0770,gid=0 tmpfs "$root/data"
for each in $MOUNTS; do mkdir -p "$root$each" && mount --bind "$each" "$root$each"; done
mount -o remount,bind,ro "$root"
exec chroot "$root" setpriv --reuid "$user" --regid 0 --clear-groups --no-new-privs \
  --inh-caps=-all --bounding-set=-all env -i --chdir="$WORKDIR" "$@"
"""


@dataclass(frozen=True)
class Image:
    """One image that was built, its files where they can be looked at."""

    name: str
    digest: str
    root: Path
    config: dict[str, Any] = field(repr=False)

    @property
    def megabytes(self) -> int:
        told = subprocess.run(
            ["du", "-xsm", str(self.root)], capture_output=True, text=True, check=True
        )
        return int(told.stdout.split()[0])

    @contextmanager
    def running(
        self,
        *words: str,
        entry: Sequence[str] = (),
        told: Mapping[str, str] | None = None,
        see: Sequence[Path] = (),
    ) -> Iterator[Started]:
        """Its entry point with these words, as nobody in particular, on a read-only root.

        entry  another entry point
        told   variables beside the image's own
        see    folders of this machine that it sees at the same place
        """
        command = [*(entry or self.config["Entrypoint"]), *words]
        # A file: a pipe that nobody reads would stop it.
        with tempfile.TemporaryFile("w+") as log, self._start(command, told, see, log) as process:
            started = Started(process, log)
            try:
                yield started
            finally:
                if not started.has_ended():
                    started.end(signal.SIGKILL)

    def _start(
        self,
        command: list[str],
        told: Mapping[str, str] | None,
        see: Sequence[Path],
        log: IO[str],
    ) -> subprocess.Popen[str]:
        known = dict(word.split("=", 1) for word in self.config["Env"]) | dict(told or {})
        variables = [f"{name}={value}" for name, value in known.items()]
        spaces = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--"]
        asked = ["/bin/sh", "-c", RUN, "sh", str(self.root), str(NOBODY), *variables, *command]
        places = {"WORKDIR": self.config["WorkingDir"], "MOUNTS": " ".join(map(str, see))}
        return subprocess.Popen(
            [*spaces, *asked],
            env=os.environ | places,
            stdout=log,
            stderr=log,
            text=True,
        )


@dataclass(frozen=True)
class Started:
    """An image at work, and what it says."""

    process: subprocess.Popen[str]
    log: IO[str]

    def has_ended(self) -> bool:
        return self.process.poll() is not None

    def wait(self, seconds: float = 300.0) -> int:
        """How it ended."""
        return self.process.wait(seconds)

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """A signal to its first process, as a cluster sends it; how that ended."""
        ours = self.process.pid
        for first in Path(f"/proc/{ours}/task/{ours}/children").read_text().split():
            os.kill(int(first), how)
        return self.process.wait(30)

    def said(self) -> str:
        self.log.seek(0)
        return self.log.read()


class Builder:
    """buildah, with a store of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pip = pip_of_this_machine(folder)

    def call(self, *words: str) -> str:
        own = ["--root", str(self.folder / "store"), "--runroot", str(self.folder / "run")]
        done = subprocess.run(
            ["buildah", *own, *words], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
        return done.stdout.strip()

    def base(self) -> str:
        """The id of the image on which all others stand."""
        if named := os.environ.get("BASE"):
            return named
        packed = self.folder / "base.tar"
        made = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={PACKAGES}"]
        subprocess.run([*made, SUITE, str(packed)], check=True)
        empty = self.call("from", "scratch")
        self.call("add", "--quiet", empty, str(packed), "/")
        return self.call("commit", "--quiet", "--rm", empty)

    def build(self, name: str, **arguments: str) -> Image:
        """The recipe of this name, built; its files mounted."""
        told = [f"--build-arg={word}={value}" for word, value in arguments.items()]
        words = ["--isolation", "chroot", "--timestamp", "0", "--pull-never", "--quiet"]
        digest = self.call(
            "bud", *words, *told, *self.pip, "-f", str(RECIPES / f"Containerfile.{name}"), "."
        ).splitlines()[-1]
        container = self.call("from", "--pull-never", digest)
        config = json.loads(self.call("inspect", "--type", "image", digest))["OCIv1"]["config"]
        return Image(name, digest, Path(self.call("mount", container)), config)


@contextmanager
def builder(folder: Path) -> Iterator[Builder]:
    made = Builder(folder)
    try:
        yield made
    finally:
        made.call("umount", "--all")
        made.call("rm", "--all")
        made.call("rmi", "--all", "--force")
        shutil.rmtree(folder, ignore_errors=True)


def pip_of_this_machine(folder: Path) -> list[str]:
    """Volumes of a build that let pip find what it finds here: its settings and local folders."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    found = dict(re.findall(r"^(?:global|:env:)\.([a-z-]+)='(.*)'$", listed, re.MULTILINE))
    place = folder / "pip"
    place.mkdir(parents=True)
    if "cert" in found:
        shutil.copy(found["cert"], place / "authorities.pem")
        found["cert"] = "/run/pip/authorities.pem"
    lines = "".join(f"{name} = {value}\n" for name, value in found.items())
    (place / "pip.conf").write_text(f"[global]\n{lines}")
    places = re.findall(r"(?:file://|(?<=\s)|^)(/[^\s]+)", " ".join(("", *found.values())))
    # An index of files leads to a folder beside it.
    local = {Path(each).parent if "/simple" in each else Path(each) for each in places}
    mounts = {place: "/run/pip", place / "pip.conf": "/etc/pip.conf"}
    mounts |= {each: str(each) for each in local if each.is_dir()}
    return [f"--volume={here}:{there}:ro" for here, there in mounts.items()]


def torch_of_this_machine() -> str:
    """The build of torch that is installed here, as the recipe is told of it."""
    return f"torch=={importlib.metadata.version('torch')}"
