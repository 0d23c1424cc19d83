"""Files that arrive while there is trouble, and what must have become of each of them.

What an undisturbed reading gives is found once, in a corpus of its own. A file that was rejected
for an honest reason of the trouble is read again, as a person would ask for.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import DatabaseError, InterfaceError, connection

from apps.corpora import actions
from apps.corpora.actions import quota
from apps.corpora.models import Corpus, ItemState, Upload, UploadItem
from apps.tenants.scope import tenant_scope
from counterpoint.celery import send
from tests.apps.corpora import making
from tests.cast import Cast

HONEST = {"extract.failed", "upload.disk_full"}
WORDS = [
    first + last for first in ("bal", "cor", "dem", "fus", "gil") for last in ("ta", "no", "re")
]


def prose(seed: int) -> bytes:
    """A text that is like no other one."""
    chance = random.Random(seed)  # noqa: S311  from a seed on purpose
    lines = [" ".join(chance.choice(WORDS) + str(seed) for _ in range(9)) for _ in range(12)]
    return "\n\n".join(lines).encode()


FILES = {f"note-{number}.md": prose(number) for number in range(6)} | {
    "table.csv": making.as_csv(),
    "page.html": b"<h1>Page</h1><p>" + prose(11) + b"</p>",
    "letter.eml": making.as_mail(prose(12).decode(), list_csv=b"a,b\n" + prose(13)),
    "bundle.zip": making.as_zip({"a.txt": prose(14), "deep/b.txt": prose(15), "c.exe": making.ELF}),
    "broken.pdf": b"%PDF-1.4 and nothing that follows",
    "tool.exe": making.ELF,
    "empty.txt": b"",
}


@dataclass(frozen=True)
class Expected:
    """What becomes of the files where nothing disturbs: by path, and each text by its digest."""

    ends: dict[str, str]
    documents: dict[str, tuple[Any, ...]]


def undisturbed(cast: Cast) -> Expected:
    corpus = making.make_corpus(cast, "Undisturbed")
    upload = making.take_in(cast, corpus, FILES)
    with tenant_scope(cast.north):
        return Expected(
            {item.path: end_of(item) for item in upload.items.all()}, documents_in(corpus)
        )


def end_of(item: UploadItem) -> str:
    """How a file ended; which of two equal ones was the first is nobody's promise."""
    kept = item.state in (ItemState.STORED, ItemState.DUPLICATE)
    return "kept" if kept else item.code or item.state


def documents_in(corpus: Corpus) -> dict[str, tuple[Any, ...]]:
    """Every document of a corpus, with its passages. In the tenant's scope."""
    found = {}
    for row in corpus.documents.all():
        cut = tuple(row.passages.order_by("start", "end").values_list("start", "end", "body"))
        facts = (row.title, row.path, row.media_type, row.size, row.tokens, row.language)
        assert row.original_digest not in found, f"{row.path} was stored twice"
        found[row.original_digest] = (*facts, row.text_digest, row.state, cut)
    return found


@dataclass
class Batches:
    """Uploads into one corpus, made as the seed says while workers read and die."""

    cast: Cast
    expected: Expected
    chance: random.Random
    sent: dict[UUID, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.corpus = making.make_corpus(self.cast, f"Disturbed {self.chance.random()}")
        with tenant_scope(self.cast.north):
            self.used = owed()

    def deliver(self) -> None:
        """Upload some files. What fails before it is accepted is sent once more, by its sender."""
        names = self.chance.sample(sorted(FILES), self.chance.randint(1, 4))
        code = UUID(int=self.chance.getrandbits(128), version=4)
        files = [SimpleUploadedFile(name, FILES[name]) for name in names]
        try:
            with tenant_scope(self.cast.north):
                if not UploadItem.objects.filter(upload=code).exists():
                    actions.receive(self.corpus, files, by=self.cast.ada, upload=code)
        except (DatabaseError, InterfaceError):
            connection.close()  # whether it was accepted is asked of the row, when it is back
            return
        self.sent[code] = names

    def call_twice(self) -> None:
        """Messages for files that are waiting, being read or settled already."""
        with tenant_scope(self.cast.north):
            items = list(UploadItem.objects.filter(upload__corpus=self.corpus).values_list("pk"))
        for (item,) in self.chance.sample(items, min(4, len(items))):
            for _ in range(2):
                send("ingestion.extract", str(self.cast.north.pk), str(item))

    def are_settled(self) -> bool:
        """Whether every file has its outcome; those that trouble cost are asked for again."""
        with tenant_scope(self.cast.north):
            rows = UploadItem.objects.filter(upload__corpus=self.corpus)
            if rows.in_progress().exists():
                return False
            lost = Upload.objects.filter(items__in=rows.filter(code__in=HONEST)).distinct()
            return not [actions.retry(upload, by=self.cast.ada) for upload in lost]

    def assert_all_well(self) -> None:
        """Received = stored + duplicate + rejected; nothing twice, nothing lost, nothing else."""
        with tenant_scope(self.cast.north):
            uploads = Upload.objects.filter(corpus=self.corpus)
            assert {upload.pk for upload in uploads} >= set(self.sent), "an accepted one is lost"
            stored: Counter[str] = Counter()
            for upload in uploads:
                tally, items = upload.tally(), list(upload.items.all())
                assert tally.received == tally.stored + tally.duplicate + tally.rejected
                assert tally.received == sum(each.state != ItemState.CONTAINER for each in items)
                ends = {item.path: end_of(item) for item in items}
                assert len(ends) == len(items), "a file was taken in twice"
                promised = self._promised(items)
                wrong = {path: end for path, end in ends.items() if promised.get(path) != end}
                assert not wrong, f"files came to another end: {wrong}"
                assert not promised.keys() - ends.keys(), "a file is missing"
                stored.update(each.digest for each in items if each.state == ItemState.STORED)
            found = documents_in(self.corpus)
            assert stored == dict.fromkeys(found, 1), "a document is nobody's, or two files'"
            assert found == {code: self.expected.documents[code] for code in found}
            assert owed() == quota.use().used, "bytes were charged or given back twice"

    def _promised(self, items: list[UploadItem]) -> dict[str, str]:
        """What these files and all that is inside them come to where nothing disturbs.

        A mail that the corpus has already need not be unpacked once more.
        """
        paths = {item.path for item in items}
        roots = {item.path: item.state for item in items if item.parent_id is None}
        found = {}
        for path, end in self.expected.ends.items():
            root = path.partition("/")[0]
            if path in paths or roots.get(root, ItemState.DUPLICATE) != ItemState.DUPLICATE:
                found[path] = end
        return found


def owed() -> int:
    """Bytes that the tenant's account must show, by the rows. In the tenant's scope."""
    kept = UploadItem.objects.exclude(digest="").exclude(state=ItemState.DUPLICATE)
    return sum(kept.values_list("size", flat=True))
