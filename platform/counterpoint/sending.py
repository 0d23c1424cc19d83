"""A stored file as an answer, read while it is sent. Knows no model, and not who may have it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import BinaryIO

from asgiref.sync import sync_to_async
from django.http import FileResponse

from counterpoint import live

PIECE = 1 << 18  # bytes


class SentInPieces(FileResponse):
    """A file under its own name, never more than one piece of it in memory.

    Django reads a whole file before the first byte leaves, where the server is asynchronous.
    """

    block_size = PIECE

    def __init__(self, file: BinaryIO, name: str, kind: str = "application/octet-stream") -> None:
        self.file = file
        super().__init__(file, as_attachment=True, filename=name, content_type=kind)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        await sync_to_async(live.let_go)()  # a slow line lasts, and connections are few
        while piece := await asyncio.to_thread(self.file.read, PIECE):
            yield piece
