"""The extraction library behind one door, with its refusals in our codes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from apps.corpora.parsing.kinds import MEDIA, RefusedFile

SHARP = 300  # at which text is recognised: what its engine was taught on
DPI = 100  # a page of A4 is 827 pixels wide: sharp beside its text, a hundred kilobytes


def converted(
    source: Path | bytes,
    media_type: str,
    *,
    pages: bool = False,
    paged: bool = False,
) -> Any:
    """What the extraction library makes of a file or of bytes. Raises RefusedFile in our words.

    pages  plain text page by page, for PDF, whose lines matter
    paged  Markdown page by page, for formats that mark their page breaks
    """
    import kreuzberg as k  # noqa: PLC0415 - the readers alone load it

    config = k.ExtractionConfig(
        output_format="plain" if pages else "markdown",
        use_cache=False,
        concurrency=k.ConcurrencyConfig(max_threads=1),
        pages=k.PageConfig(extract_pages=True) if pages or paged else None,
        content_filter=k.ContentFilterConfig(include_headers=True, include_footers=True),
    )
    try:
        if isinstance(source, Path):
            return k.extract_file_sync(str(source), mime_type=media_type, config=config)
        return k.extract_bytes_sync(source, media_type, config=config)
    except (k.KreuzbergError, RuntimeError) as error:  # the latter when its own code gave up
        raise refusal(str(error), media_type) from error


def refusal(said: str, media_type: str) -> RefusedFile:
    lower = said.lower()
    if "password" in lower or "encrypt" in lower:
        return RefusedFile("file.encrypted")
    if "security limit" in lower or "bomb" in lower:
        return RefusedFile("archive.bomb")
    if media_type == MEDIA["pdf"]:
        return RefusedFile("pdf.broken")
    return RefusedFile("file.unreadable", why="the file is damaged or not complete")


def language(text: str) -> str:
    """ISO 639-3 code of the likeliest language, or "" when the text is too short to tell."""
    import kreuzberg as k  # noqa: PLC0415 - the readers alone load it

    config = k.ExtractionConfig(
        use_cache=False, language_detection=k.LanguageDetectionConfig(enabled=True)
    )
    sample = text[:20_000].encode()
    languages = k.extract_bytes_sync(sample, "text/plain", config=config).detected_languages
    return languages[0] if languages else ""


def recognised(path: Path, page: int, languages: str) -> str:
    """The words in the picture of one page of a PDF; `page` counts from 0.

    languages  as the engine wants them told: "deu+eng"
    Page by page, since of a whole PDF the library tells recognised words without their pages.
    Raises RefusedFile("pdf.broken").
    """
    import kreuzberg as k  # noqa: PLC0415 - the readers alone load it

    config = k.ExtractionConfig(
        output_format="plain",
        use_cache=False,
        concurrency=k.ConcurrencyConfig(max_threads=1),
        ocr=k.OcrConfig(backend="tesseract", language=languages),
    )
    seen = picture(path, page, dpi=SHARP)
    try:
        return str(k.extract_bytes_sync(seen, "image/png", config=config).content)
    except (k.KreuzbergError, RuntimeError) as error:
        raise RefusedFile("pdf.broken") from error


def picture(path: Path, page: int, *, dpi: int = DPI) -> bytes:
    """One page of a PDF as a PNG; `page` counts from 0. Raises RefusedFile("pdf.broken")."""
    import kreuzberg as k  # noqa: PLC0415 - the readers alone load it

    try:
        return bytes(k.render_pdf_page(str(path), page, dpi=dpi))
    except (k.KreuzbergError, RuntimeError, ValueError, IndexError) as error:
        raise RefusedFile("pdf.broken") from error
