"""What is sent from a file is read while it is sent, under either server."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from django.urls import reverse

from apps.corpora.models import Document
from apps.tenants.scope import tenant_scope
from counterpoint.sending import PIECE, SentInPieces
from tests.apps.corpora.making import make_corpus, take_in
from tests.cast import Cast

WORDS = b"".join(b"line %d of the handbook\n" % number for number in range(60_000))


@pytest.mark.django_db(transaction=True)
def test_an_original_is_never_in_memory_as_a_whole(cast: Cast) -> None:
    take_in(cast, make_corpus(cast), {"long.txt": WORDS})
    with tenant_scope(cast.north):
        address = reverse("corpora:original", args=[Document.objects.get().pk])
    client = cast.async_client(cast.ada)

    async def taken() -> list[bytes]:
        answer = await client.get(address)
        assert isinstance(answer, SentInPieces)
        assert int(answer["Content-Length"]) == len(WORDS)
        pieces = [piece async for piece in answer]
        answer.close()
        return pieces

    pieces = asyncio.run(taken())
    assert b"".join(pieces) == WORDS
    assert max(map(len, pieces)) <= PIECE < len(WORDS) / 4


def test_it_is_read_no_further_than_it_was_taken(db: None, tmp_path: Path) -> None:
    path = tmp_path / "long.txt"
    path.write_bytes(WORDS)
    file = path.open("rb")

    async def begun() -> int:
        answer = SentInPieces(file, "long.txt")
        pieces = aiter(answer)
        await anext(pieces)
        read = file.tell()
        await pieces.aclose()
        answer.close()
        return read

    assert asyncio.run(begun()) == PIECE
    assert file.closed
