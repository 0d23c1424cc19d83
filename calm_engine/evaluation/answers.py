"""The answers given so far, in a file that survives a crash. Knows no model and no score."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO


class Answers:
    """The answers given so far, in a file that survives a crash: a line for each, each once.

    said   text by column and question
    """

    def __init__(self, path: Path, key: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.said: dict[tuple[str, str], str] = {}
        self._file: IO[bytes] = path.open("r+b" if path.exists() else "w+b")
        if not self._resume(key):
            self.said.clear()
            self._file.seek(0)
            self._file.truncate()
            self._write([{"key": key}])

    def __enter__(self) -> Answers:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, column: str, ids: Sequence[str], texts: Sequence[str]) -> None:
        """Keep a batch; it is on the disk when this returns."""
        new = [(name, text) for name, text in zip(ids, texts, strict=True)]
        self._write([{"column": column, "id": name, "text": text} for name, text in new])
        self.said |= {(column, name): text for name, text in new}

    def _resume(self, key: str) -> bool:
        """Take over what the file holds, up to a torn line; False when it is other work's."""
        end = 0
        for line in self._file:
            try:
                told = json.loads(line) if line.endswith(b"\n") else None
            except ValueError:
                told = None
            if told is None or (end == 0 and told.get("key") != key):
                break
            if end:
                self.said.setdefault((told["column"], told["id"]), told["text"])
            end += len(line)
        self._file.seek(end)
        self._file.truncate()
        return end > 0

    def _write(self, rows: Sequence[dict[str, str]]) -> None:
        self._file.write("".join(json.dumps(row) + "\n" for row in rows).encode())
        self._file.flush()
        os.fsync(self._file.fileno())
