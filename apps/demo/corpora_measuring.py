"""Measures corpora: pages over many rows, nearly equal texts, reading files. Judges no figure.

Rows that stand for many documents are simulated: they have names and keys, and no text.
"""

from __future__ import annotations

import io
import json
import random
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from statistics import median

from django.db import connection, connections
from django.test import Client

from apps.accounts.models import User
from apps.corpora import near
from apps.corpora.actions import duplicates
from apps.corpora.extraction import reading
from apps.corpora.models import Corpus, Document
from apps.demo import mixed
from apps.demo.measuring import asked_again, signed_in
from calm_engine.errors import InputError
from calm_engine.figures import Figure
from counterpoint.storage import blobs

WORDS = 300  # of a synthetic text
VOCABULARY = 5_000
ASKED = 25  # times a page is asked for
PROBES = 60  # documents placed among the simulated ones
# Mixed files that are read, and that are read before. The last file is one reader's alone, when the
# other has nothing left: among few it would count.
READ, WARMING = 600, 30
REFUSED = 0.1  # of the files that another library may refuse and still be compared

FILL = """
    INSERT INTO corpora_document (id, tenant_id, corpus_id, title, path, media_type, size,
        original_digest, text_digest, tokens, language, facts, pages, state, left_out, kept_apart,
        redacted_digest, policy_version, found)
    SELECT gen_random_uuid(), %s, %s, 'Sheet ' || n, 'folder ' || n %% 997 || '/' || n || '.txt',
        'text/plain', 1000, md5(n::text) || md5('o' || n), md5(n::text) || md5('t' || n), 250,
        (ARRAY['eng', 'deu', 'fra'])[1 + n %% 3], '{}', '[]',
        CASE WHEN n %% 10 = 0 THEN 'excluded' ELSE 'ready' END, n %% 10 = 0, false, '', 1, '{}'
    FROM generate_series(%s, %s) AS n
"""
KEYS = """
    INSERT INTO corpora_nearkey (id, tenant_id, corpus_id, document_id, key)
    SELECT gen_random_uuid(), tenant_id, corpus_id, id,
        (random() * 9e18)::bigint - 4500000000000000000 AS key
    FROM corpora_document, generate_series(1, %s) WHERE corpus_id = %s AND size = 1000
"""
# What stands in the way of millions of rows: each with the words that take it away and bring it
# back. Made-up rows name documents that are there, which is never asked after.
IN_THE_WAY = """
    SELECT format('ALTER TABLE corpora_nearkey DROP CONSTRAINT %I', conname),
        format('ALTER TABLE corpora_nearkey ADD CONSTRAINT %I %s', conname,
            pg_get_constraintdef(oid) || CASE contype WHEN 'f' THEN ' NOT VALID' ELSE '' END)
    FROM pg_constraint WHERE conrelid = 'corpora_nearkey'::regclass AND contype IN ('f', 'p', 'u')
    UNION ALL
    SELECT format('DROP INDEX %s', indexrelid::regclass), pg_get_indexdef(indexrelid)
    FROM pg_index WHERE indrelid = 'corpora_nearkey'::regclass
        AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)
"""


def documents(corpus: Corpus, count: int) -> None:
    """Rows of `count` documents that are not there."""
    with connection.cursor() as cursor:
        cursor.execute(FILL, [corpus.tenant_id, corpus.pk, 1, count])


def fill(corpus: Corpus, count: int) -> None:
    """The same, each with the keys of a text."""
    documents(corpus, count)
    with connection.cursor() as cursor:
        cursor.execute(KEYS, [near.BANDS, corpus.pk])


@contextmanager
def filling() -> Iterator[None]:
    """While the body fills, keys have no index and what they refer to is not looked up.

    Then statistics are made, as the database makes them by itself within minutes.
    """
    with connections["owner"].cursor() as owner:
        owner.execute(IN_THE_WAY)
        found = owner.fetchall()
        for removed, _restored in found:
            owner.execute(removed)
        yield
        for _removed, restored in found:
            owner.execute(restored)
        owner.execute("ANALYZE corpora_document, corpora_nearkey")  # an owner's right


# ---- pages ---------------------------------------------------------------------------------------


def pages(few: Corpus, many: Corpus, count: int, by: User) -> Iterator[Figure]:
    """The same pages of a corpus of a thousand documents and of `count`."""
    client = signed_in(by)
    for name, query in (("list", ""), ("filtered", "?state=excluded"), ("deep", "?after=")):
        small, large = (_page(client, corpus, query) for corpus in (few, many))
        told = f"{count:,} documents beside 1,000"
        yield Figure(f"page_{name}", large[0] / small[0], "ratio", told, 1.5)
        yield Figure(f"page_{name}_queries", large[1] - small[1], "queries more", told, 0)
        yield Figure(f"page_{name}_median", large[0] * 1000, "ms", f"{count:,} documents", 200)


def _page(client: Client, corpus: Corpus, query: str) -> tuple[float, int]:
    """(median seconds, queries) of one page of the list."""
    if query == "?after=":
        rows = Document.objects.filter(corpus=corpus).order_by("-sorting", "-pk")
        query += str(rows[100].pk)
    took, queries = asked_again(client, corpus.get_absolute_url() + query, ASKED)
    return median(took), queries


# ---- nearly equal texts --------------------------------------------------------------------------


def text_of(chance: random.Random) -> list[str]:
    return [f"w{chance.randrange(VOCABULARY)}" for _ in range(WORDS)]


def changed(words: list[str], share: float, chance: random.Random) -> list[str]:
    """The same words with this share of them replaced."""
    return [f"x{chance.randrange(VOCABULARY)}" if chance.random() < share else w for w in words]


def labelled(count: int) -> Iterator[tuple[list[str], list[str], float]]:
    """Pairs of texts on both sides of the bar, with the Jaccard that was counted out."""
    chance = random.Random(5)  # noqa: S311  the same pairs each time
    for number in range(count):
        one = text_of(chance)
        other = changed(one, (0.005, 0.02, 0.1, 0.3)[number % 4], chance)
        sets = [near.shingles(" ".join(words)) for words in (one, other)]
        yield one, other, near.jaccard(*sets)


def found_pairs(corpus: Corpus, count: int) -> Iterator[Figure]:
    """Recall and precision of what is called nearly the same, as documents arrive."""
    right = wrong = missed = 0
    for number, (one, other, likeness) in enumerate(labelled(count)):
        first = _placed(corpus, f"{number} one", one)
        second = _placed(corpus, f"{number} other", other)
        is_found, is_true = second.duplicate_of_id == first.pk, likeness >= near.ALIKE
        right += is_found and is_true
        missed += is_true and not is_found
        wrong += second.duplicate_of_id is not None and not (is_found and is_true)
    told = f"{count} pairs, {right + missed} of Jaccard {near.ALIKE} or more"
    yield Figure("near_recall", right / (right + missed), "share", told, 0.95, at_least=True)
    yield Figure("near_precision", right / (right + wrong), "share", told, 0.95, at_least=True)


def placing(few: Corpus, many: Corpus, count: int) -> Iterator[Figure]:
    """What placing one document costs among a thousand and among `count`."""
    chance = random.Random(6)  # noqa: S311
    took: list[list[float]] = [[], []]
    for number in range(PROBES):
        words = text_of(chance)
        for at, corpus in enumerate((few, many)):
            began = time.perf_counter()
            _placed(corpus, f"probe {number}", words)
            took[at].append(time.perf_counter() - began)
    small, large = (median(some) for some in took)
    told = f"{count:,} documents beside 1,000"
    yield Figure("near_cost", large / small, "ratio", told, 1.5)
    yield Figure("near_cost_each", large * 1000, "ms", f"{count:,} documents")


def _placed(corpus: Corpus, name: str, words: list[str]) -> Document:
    text = " ".join(words)
    stored = blobs().put("text", io.BytesIO(text.encode()))
    row: Document = Document.objects.create(
        corpus=corpus,
        title=name,
        path=name,
        media_type="text/plain",
        original_digest=sha256(f"{name} {text}".encode()).hexdigest(),
        text_digest=stored.digest,
    )
    duplicates.place(row, text)
    return row


# ---- reading -------------------------------------------------------------------------------------

# What another library takes for the same files, in one warm process: it prints seconds, and how
# many files it could not read. unstructured fetches a language model of spaCy's from the network:
# an empty one that only ends sentences stands in for it, which takes it less time than its own.
RIVALS = {
    "markitdown": "from markitdown import MarkItDown\nread = MarkItDown().convert",
    "unstructured": """
import spacy
def load(*_args, **_options):
    empty = spacy.blank("en")
    empty.add_pipe("sentencizer")
    return empty
spacy.load = load
from unstructured.partition.auto import partition
read = lambda path: partition(filename=path, strategy="fast")
""",
}
HARNESS = """
import json, sys, time
{read}
files, refused = json.loads(sys.stdin.read()), 0
def all_of(some):
    global refused
    for path in some:
        try:
            read(path)
        except Exception:
            refused += 1
all_of(files[:{warming}])
refused, began = 0, time.perf_counter()
all_of(files)
print(json.dumps([time.perf_counter() - began, refused]))
"""


def readings(rivals: str) -> Iterator[Figure]:
    """Seconds for mixed files: ours in confined children, beside others in one process.

    rivals  a Python that has them; "" measures ours alone
    """
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        files = list(_written(Path(name)))
        one, two = (_read(files, readers) for readers in (1, 2))
        told = f"{len(files)} mixed files"
        yield Figure("reading", one / len(files) * 1000, "ms a file", told)
        yield Figure("two_readers", one / two, "ratio", "one reader", 1.8, at_least=True)
        for rival in RIVALS if rivals else ():
            seconds, refused = _rival(rivals, rival, files)
            if refused > REFUSED * len(files):  # its time would say nothing
                yield Figure(f"refused_by_{rival}", refused, "files", told)
                continue
            whom = f"{rival}, which refused {refused} of {len(files)} files"
            yield Figure(f"beside_{rival}", seconds / one, "ratio", whom, 5.0, at_least=True)


def _written(folder: Path) -> Iterator[Path]:
    for each in mixed.files(READ, seed=1):
        if each.outcome == "stored":
            path = folder / each.name
            path.write_bytes(each.content)
            yield path


def _read(files: list[Path], readers: int) -> float:
    """Seconds to read them all, so many at a time, in processes that are warm as a worker is."""
    with ProcessPoolExecutor(readers) as pool:
        list(pool.map(_read_one, files[:WARMING]))
        began = time.perf_counter()
        list(pool.map(_read_one, files))
        return time.perf_counter() - began


def _read_one(path: Path) -> None:
    with suppress(InputError), reading(path, path.name):
        pass


def _rival(python: str, name: str, files: list[Path]) -> tuple[float, int]:
    told = subprocess.run(  # noqa: S603 - the Python that whoever measures named
        [python, "-c", HARNESS.format(read=RIVALS[name], warming=WARMING)],
        input=json.dumps([str(path) for path in files]),
        capture_output=True,
        text=True,
        check=True,
    )
    seconds, refused = json.loads(told.stdout.splitlines()[-1])
    return seconds, refused
