"""What runs leave of corpora and need again, kept sealed between them: caches that quote documents.

`{home}/{kind}/{tenant}/{shelf}`. A shelf begins with the corpus's id, or of several corpora with
their ids one inside the other, so that each can be forgotten with all it quotes. A run works on
plain copies in its own folder. Works for the tenant in scope; knows nothing of what the files hold.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from django.conf import settings

from calm_engine.errors import InternalError
from counterpoint import sealedfiles
from counterpoint.disk import settle, writing_aside
from counterpoint.storage import SUFFIX, pieces, tenant_in_scope


@dataclass(frozen=True)
class Shelves:
    """All shelves of one kind.

    are_final   a file never changes once it lies there: its shelf is named by what it was made of
    """

    kind: str
    are_final: bool = False

    @property
    def root(self) -> Path:
        """The tenant's shelves of this kind."""
        folder: Path = settings.HOME / self.kind / str(tenant_in_scope())
        return folder

    def folder_of(self, shelf: UUID | str) -> Path:
        """Where it is, or would be."""
        return self.root / str(shelf)

    def bring(self, shelf: UUID | str, into: Path) -> None:
        """Lay plain copies where a run looks for them; what lies there already is newer and stays.

        It is a cache: what does not open is left out, and made anew.
        """
        into.mkdir(parents=True, exist_ok=True, mode=0o700)
        for path in sorted(self.folder_of(shelf).glob(f"*{SUFFIX}")):
            name = path.name.removesuffix(SUFFIX)
            if (into / name).exists():
                continue
            try:
                with (
                    sealedfiles.opened(path, kind=self.kind, name=f"{shelf}/{name}") as file,
                    writing_aside(into) as (target, aside),
                ):
                    shutil.copyfileobj(file, target)
                    aside.rename(into / name)
            except InternalError:
                path.unlink()
        if self.folder_of(shelf).is_dir():
            self.folder_of(shelf).touch()  # still of use

    def keep(self, shelf: UUID | str, source: Path, pattern: str = "*.jsonl") -> None:
        """Seal what a run leaves, and remove its plain copies and those of an older release."""
        folder = self.folder_of(shelf)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for path in sorted(source.glob(pattern)):
            sealed = folder / f"{path.name}{SUFFIX}"
            if path.name.startswith(".") or (self.are_final and sealed.exists()):
                continue
            with path.open("rb") as file, writing_aside(folder) as (target, aside):
                name = f"{shelf}/{path.name}"
                sealedfiles.write(target, pieces(file), kind=self.kind, name=name)
                settle(target)
                aside.rename(sealed)
        for left in folder.glob("*.jsonl"):
            left.unlink()
        shutil.rmtree(source, ignore_errors=True)

    def lines(self, shelf: UUID | str, most: int) -> Iterator[bytes]:
        """The first lines of each file there, about so many bytes; what does not open has none."""
        for path in sorted(self.folder_of(shelf).glob(f"*{SUFFIX}")):
            name = f"{shelf}/{path.name.removesuffix(SUFFIX)}"
            with (
                suppress(InternalError),
                sealedfiles.opened(path, kind=self.kind, name=name) as file,
            ):
                yield from file.readlines(most)

    def holds(self, shelf: UUID | str, name: str) -> bool:
        """Whether a file of this name is kept there."""
        return (self.folder_of(shelf) / f"{name}{SUFFIX}").is_file()

    def standing(self) -> Iterator[tuple[Path, str]]:
        """Every sealed file of the tenant, and what it is bound to."""
        for path in sorted(self.root.rglob(f"*{SUFFIX}")):
            if not path.name.startswith("."):
                yield path, path.relative_to(self.root).as_posix().removesuffix(SUFFIX)

    def drop(self, corpus_id: UUID | str) -> None:
        """Forget all that was kept of this corpus, alone or together with others."""
        for folder in list(self.root.rglob(str(corpus_id))):
            shutil.rmtree(folder, ignore_errors=True)

    def lapse(self, days: int) -> None:
        """Remove what nobody has brought or kept for so long."""
        late = time.time() - days * 86_400.0
        for folder in {path.parent for path, _name in self.standing()}:
            if folder.stat().st_mtime < late:
                shutil.rmtree(folder, ignore_errors=True)


def shelf_of(corpora: Iterable[UUID]) -> str:
    """The shelf of these corpora, which come in the order of their ids."""
    return "/".join(map(str, corpora))


STUDIES = Shelves("study")  # what a model wrote from passages
SHARDS = Shelves("shards", are_final=True)  # corpora as packed tokens
EVERY = (STUDIES, SHARDS)
