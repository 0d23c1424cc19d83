"""Files to upload, good and hostile, and corpora to put them in."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable
from email.message import EmailMessage
from typing import Any

import docx
import openpyxl
from django.core.files.uploadedfile import SimpleUploadedFile
from PIL import Image, ImageDraw
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas

from apps.corpora import actions
from apps.corpora.extraction import Extracted, Reading
from apps.corpora.models import Corpus, Document, Upload, UploadItem
from apps.tenants.scope import tenant_scope
from counterpoint.storage import blobs
from tests.cast import Cast
from workers.ingestion import extract

ROWS = [("Product", "Country"), ("Zephyr 7", "Peru"), ("Vortan", "Côte d'Ivoire")]
ELF = b"\x7fELF\x02\x01\x01" + b"\0" * 9 + b"\x03\0\x3e\0\x01\0\0\0" + b"\x90" * 400


def as_csv(rows: Iterable[Iterable[str]] = ROWS) -> bytes:
    return "\n".join(",".join(row) for row in rows).encode()


def as_docx(*paragraphs: str) -> bytes:
    document, out = docx.Document(), io.BytesIO()
    document.add_heading("Catalogue", 1)
    for text in paragraphs:
        document.add_paragraph(text)
    table = document.add_table(rows=0, cols=2)
    for row in ROWS:
        for cell, text in zip(table.add_row().cells, row, strict=True):
            cell.text = text
    document.save(out)
    return out.getvalue()


def as_xlsx() -> bytes:
    book, out = openpyxl.Workbook(), io.BytesIO()
    for row in ROWS:
        book.active.append(row)
    book.save(out)
    return out.getvalue()


def as_pdf(*lines: str, password: str | None = None) -> bytes:
    out = io.BytesIO()
    canvas = Canvas(out, encrypt=password)
    for number, line in enumerate(lines):
        canvas.drawString(72, 750 - 16 * number, line)
    canvas.showPage()
    canvas.save()
    return out.getvalue()


def as_scan(*pages: str, typed: str = "") -> bytes:
    """A PDF whose pages are pictures of words, behind one with words of its own if they are given.

    typed  those words
    """
    out = io.BytesIO()
    canvas = Canvas(out)
    if typed:
        canvas.drawString(72, 750, typed)
        canvas.showPage()
    for words in pages or ("Scanned words",):
        picture = Image.new("RGB", (1200, 400), "white")
        ImageDraw.Draw(picture).text((40, 40), words, fill="black", font_size=44)
        canvas.drawImage(ImageReader(picture), 40, 500, width=500, height=167)
        canvas.showPage()
    canvas.save()
    return out.getvalue()


def as_zip(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def as_bomb(megabytes: int = 64) -> bytes:
    return as_zip({"big.txt": b"A" * (megabytes << 20)})


def as_locked_zip() -> bytes:
    """An archive whose entry says that it is encrypted."""
    plain = bytearray(as_zip({"secret.txt": b"hidden words"}))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        plain[plain.index(signature) + offset] |= 1
    return bytes(plain)


def as_mail(text: str, **attachments: bytes) -> bytes:
    """A mail; an underscore in an attachment's name stands for its dot."""
    mail = EmailMessage()
    mail["Subject"], mail["From"], mail["To"] = "Ticket 12", "a@one.example", "b@one.example"
    mail.set_content(text)
    for name, content in attachments.items():
        mail.add_attachment(
            content, maintype="application", subtype="octet-stream", filename=name.replace("_", ".")
        )
    return bytes(mail)


# ---- rows ----------------------------------------------------------------------------------------


def make_corpus(cast: Cast, name: str = "Handbook") -> Corpus:
    """An empty corpus of North, owned by Ada."""
    with tenant_scope(cast.north):
        return actions.create_corpus(name, by=cast.ada)


def send(cast: Cast, corpus: Corpus, files: dict[str, bytes], **options: Any) -> Upload:
    """Receive these files as Ada, and read none of them yet."""
    sent = [SimpleUploadedFile(name, content) for name, content in files.items()]
    with tenant_scope(cast.north):
        return actions.receive(corpus, sent, by=cast.ada, **options)


def read_all(cast: Cast, upload: Upload) -> None:
    """Do what the ingest workers do, until nothing of this upload waits."""
    while True:
        with tenant_scope(cast.north):
            waiting = upload.items.in_progress().first()
        if waiting is None:
            return
        extract(str(cast.north.pk), str(waiting.pk))


def take_in(cast: Cast, corpus: Corpus, files: dict[str, bytes]) -> Upload:
    """Receive these files and read them all."""
    upload = send(cast, corpus, files)
    read_all(cast, upload)
    return upload


def file_texts(cast: Cast, corpus: Corpus, texts: dict[str, str]) -> list[Document]:
    """File these texts as documents, by the workers' door but without a child that reads them."""
    sent = {name: text.encode() for name, text in texts.items()}
    upload = send(cast, corpus, sent)
    file_as_text(cast, upload)
    with tenant_scope(cast.north):
        return list(corpus.documents.filter(items__upload=upload).order_by("path"))


def file_as_text(cast: Cast, upload: Upload) -> None:
    """Settle the waiting files of an upload as the texts that their bytes are."""
    with tenant_scope(cast.north):
        for item in upload.items.in_progress():
            claimed = actions.begin(item.pk)
            assert claimed is not None
            if actions.file_known(claimed):
                continue
            with blobs().open("original", claimed.digest) as file:
                text = file.read().decode()
            name = claimed.path.rpartition("/")[2].rpartition(".")[0]
            found = Extracted(name, text, "text/plain", "eng")
            actions.file_documents(claimed, Reading(False, [found], []))


def outcomes(cast: Cast, upload: Upload) -> dict[str, str]:
    """What became of each file: its state, or the code that rejected it."""
    with tenant_scope(cast.north):
        return {item.path: item.code or item.state for item in upload.items.all()}


def only_item(cast: Cast, upload: Upload) -> UploadItem:
    with tenant_scope(cast.north):
        found: UploadItem = upload.items.get()
        return found


def make_document(
    cast: Cast, corpus: Corpus | None = None, text: str = "Country: Peru"
) -> Document:
    """One ready document, through the same door as any other."""
    corpus = corpus or make_corpus(cast)
    take_in(cast, corpus, {"note.txt": text.encode()})
    with tenant_scope(cast.north):
        found: Document = corpus.documents.latest("created_at")
        return found
