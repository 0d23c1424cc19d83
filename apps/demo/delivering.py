"""Sends many files to a corpus as its page does, and goes on whatever happens to the site."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from uuid import uuid4

import httpx

from apps.demo.mixed import File
from apps.demo.visitor import Visitor
from calm_engine.errors import InternalError

BATCH = 20  # files in one request
PAUSE = 1.0  # seconds before a site that failed is asked again


class Delivery:
    """One upload of many files by one signed-in person.

    After a failure it asks what has arrived before it sends the rest again, so nothing comes twice.
    patience   seconds for which the site may fail without a break
    """

    def __init__(self, visitor: Visitor, corpus_page: str, *, patience: float = 120.0) -> None:
        self.visitor = visitor
        self.corpus_page = corpus_page
        self.upload = str(uuid4())
        self.page = f"/corpora/uploads/{self.upload}/"
        self.patience = patience

    def send(self, files: Iterable[File]) -> None:
        """Send them all. Raises InternalError("demo.refused"), also when patience is at its end."""
        for batch in _batches(files):
            waiting, deadline = batch, time.monotonic() + self.patience
            while waiting:
                try:
                    self._post(waiting)
                    waiting = []
                except (httpx.HTTPError, InternalError) as error:
                    if not _passes(error):
                        raise
                    if time.monotonic() > deadline:
                        told = f"{self.corpus_page} took no files for {self.patience:.0f} seconds."
                        raise InternalError("demo.refused", told) from error
                    time.sleep(PAUSE)
                    arrived = self._arrived(deadline)
                    waiting = [one for one in batch if one.name not in arrived]

    def _post(self, files: list[File]) -> None:
        fields = {"upload": self.upload, "paths": [one.name for one in files]}
        parts = [(one.name, one.content) for one in files]
        answer = self.visitor.send_files(f"{self.corpus_page}upload/", parts, fields)
        if "json" not in answer.headers["Content-Type"]:  # the page of signing in, for instance
            raise InternalError("demo.refused", "The site answered with a page.", status=200)

    def _arrived(self, deadline: float) -> set[str]:
        """The names that the site has already; asks until it answers."""
        while True:
            try:
                return {path for path, _size in self.visitor.json(f"{self.page}received")["files"]}
            except (httpx.HTTPError, InternalError) as error:
                if isinstance(error, InternalError) and error.facts.get("status") == 404:
                    return set()  # nothing of this upload was kept
                if not _passes(error) or time.monotonic() > deadline:
                    raise
                time.sleep(PAUSE)


def _passes(error: Exception) -> bool:
    """Whether the site may answer otherwise in a while: it is away, or it failed."""
    return not isinstance(error, InternalError) or int(str(error.facts["status"])) >= 500


def _batches(files: Iterable[File]) -> Iterator[list[File]]:
    batch: list[File] = []
    for one in files:
        batch.append(one)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
