"""Where the language data lies that text recognition needs, if this machine has any.

The engine comes with the extraction library; its data is the site's to install (Debian:
tesseract-ocr-eng and its likes) or to name (TESSDATA_PREFIX).
"""

from __future__ import annotations

import os
from pathlib import Path

KNOWN = (
    "/usr/share/tesseract-ocr/5/tessdata",
    "/usr/share/tessdata",
    "/opt/homebrew/share/tessdata",
)
NO_LANGUAGES = {"osd", "equ"}


def data_folder() -> str:
    """The folder with language data; "" when there is none."""
    named = os.environ.get("TESSDATA_PREFIX", "")
    for folder in [named] if named else KNOWN:
        if languages(folder):
            return folder
    return ""


def languages(folder: str) -> str:
    """The languages in a folder as the engine wants them told: "deu+eng"."""
    names = {path.stem for path in Path(folder).glob("*.traineddata")} if folder else set()
    return "+".join(sorted(names - NO_LANGUAGES))
