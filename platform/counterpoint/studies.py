"""What a model wrote from a corpus's passages, kept sealed between its runs.

`{home}/study/{tenant}/{shelf}`: a cache that quotes documents. The shelf is the corpus's id, or of
several corpora their ids one inside the other, so that each can be forgotten with all it quotes. A
run works on plain copies in its own folder. Works for the tenant in scope; knows nothing of what
stands in the files.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

from django.conf import settings

from calm_engine.errors import InternalError
from counterpoint import sealedfiles
from counterpoint.disk import settle, writing_aside
from counterpoint.storage import SUFFIX, pieces, tenant_in_scope

KIND = "study"


def folder_of(shelf: UUID | str) -> Path:
    """Where it is, or would be."""
    folder: Path = settings.HOME / KIND / str(tenant_in_scope()) / str(shelf)
    return folder


def bring(shelf: UUID | str, into: Path) -> None:
    """Lay plain copies where a run looks for them; what lies there already is newer and stays.

    It is a cache: what does not open is left out, and written anew.
    """
    into.mkdir(parents=True, exist_ok=True, mode=0o700)
    for path in sorted(folder_of(shelf).glob(f"*{SUFFIX}")):
        name = path.name.removesuffix(SUFFIX)
        if (into / name).exists():
            continue
        try:
            with (
                sealedfiles.opened(path, kind=KIND, name=f"{shelf}/{name}") as file,
                writing_aside(into) as (target, aside),
            ):
                shutil.copyfileobj(file, target)
                aside.rename(into / name)
        except InternalError:
            path.unlink()


def keep(shelf: UUID | str, source: Path) -> None:
    """Seal what a run leaves, and remove its plain copies and those of an older release."""
    folder = folder_of(shelf)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for path in sorted(source.glob("*.jsonl")):
        with path.open("rb") as file, writing_aside(folder) as (target, aside):
            name = f"{shelf}/{path.name}"
            sealedfiles.write(target, pieces(file), kind=KIND, name=name)
            settle(target)
            aside.rename(folder / f"{path.name}{SUFFIX}")
    for left in folder.glob("*.jsonl"):
        left.unlink()
    shutil.rmtree(source, ignore_errors=True)


def standing() -> Iterator[tuple[Path, str]]:
    """Every sealed file of the tenant, and what it is bound to."""
    for path in sorted((settings.HOME / KIND / str(tenant_in_scope())).glob(f"*/*{SUFFIX}")):
        if not path.name.startswith("."):
            yield path, f"{path.parent.name}/{path.name.removesuffix(SUFFIX)}"


def drop(corpus_id: UUID | str) -> None:
    """Forget all that was written of this corpus, alone or together with others."""
    shelves = settings.HOME / KIND / str(tenant_in_scope())
    for folder in list(shelves.rglob(str(corpus_id))):
        shutil.rmtree(folder, ignore_errors=True)
