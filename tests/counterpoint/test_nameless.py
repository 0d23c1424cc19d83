"""What is uploaded with a form has no name on disk, and is gone with whoever holds it."""

from __future__ import annotations

import gc
import os
import tempfile
from pathlib import Path

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.http import HttpRequest
from django.http.multipartparser import MultiPartParserError
from django.test import RequestFactory
from pytest_django import Settings

WORDS = b"The heron ledger closes at eleven.\n" * 100_000


@pytest.fixture(autouse=True)
def folder(settings: Settings, tmp_path: Path) -> Path:
    settings.FILE_UPLOAD_TEMP_DIR = tmp_path
    return tmp_path


def posted(*files: bytes) -> HttpRequest:
    data = {f"file{at}": SimpleUploadedFile("ledger.txt", each) for at, each in enumerate(files)}
    return RequestFactory().post("/", data)


def test_a_file_of_a_request_has_no_name_in_the_temporary_folder(folder: Path) -> None:
    request = posted(WORDS)
    file = request.FILES["file0"]
    assert list(folder.iterdir()) == []
    assert file.read() == WORDS
    assert (file.name, file.size) == ("ledger.txt", len(WORDS))
    request.close()
    assert file.closed


def test_a_small_one_has_none_either_and_two_are_kept_apart(folder: Path) -> None:
    request = posted(b"one", b"")
    assert list(folder.iterdir()) == []
    assert [request.FILES[name].read() for name in ("file0", "file1")] == [b"one", b""]
    request.close()


def test_it_lies_on_disk_and_not_in_memory(folder: Path) -> None:
    request = posted(WORDS)
    held = os.fstat(request.FILES["file0"].fileno())
    assert (held.st_size, held.st_dev) == (len(WORDS), folder.stat().st_dev)
    assert held.st_mode & 0o77 == 0
    request.close()


def test_an_upload_that_breaks_off_leaves_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    real = tempfile.TemporaryFile
    monkeypatch.setattr(
        tempfile, "TemporaryFile", lambda **where: made.append(real(**where)) or made[-1]
    )
    body = (
        b'--XX\r\nContent-Disposition: form-data; name="file"; filename="ledger.txt"\r\n'
        b"Content-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\nVGhlI"
    )
    request = RequestFactory().post("/", body, content_type="multipart/form-data; boundary=XX")
    with pytest.raises(MultiPartParserError):
        _ = request.FILES
    del request
    gc.collect()
    assert made
    assert all(each.closed for each in made)
    assert list(folder.iterdir()) == []
