"""A catalogue of Arabic for the tests of the layout: words of that language, as many and as long as
a sentence has, in no order that means anything. Django's own sentences are its real Arabic.
"""

from __future__ import annotations

import re
import struct
from pathlib import Path

from tests.counterpoint.test_words import written

SENTENCE = (
    "و في من على هذا نص ملف صفحة نموذج وثيقة سؤال إجابة تدريب الوثيقة الإجابة المحادثة المستندات"
    " الاستخدام المستخدمين الاستخدامات التدريبات المحادثات والمستندات والاستخدامات"
)
WORDS = SENTENCE.split()
KEPT = re.compile(r"(%\(\w+\)[sd]|%%|%[sd]|\{\w*\}|<[^>]+>|\d+|\n)")


def arabic(sentence: str) -> str:
    """As many words of about the same length; what stands for values is kept."""
    parts = KEPT.split(sentence)
    return "".join(
        part if KEPT.fullmatch(part) else re.sub(r"[^\W\d_]+", lambda found: like(found[0]), part)
        for part in parts
    )


def like(word: str) -> str:
    return min(WORDS, key=lambda each: abs(len(each) - len(word)))


def write_catalogue(folder: Path) -> None:
    """Compile `ar` in this folder, of every sentence that the pages have."""
    head = "Content-Type: text/plain; charset=UTF-8\nPlural-Forms: nplurals=2; plural=(n != 1);\n"
    entries = {"": head}
    for sentence, _places, texts in written():
        if len(texts) == 1:
            entries[sentence] = arabic(sentence)
    target = folder / "ar" / "LC_MESSAGES"
    target.mkdir(parents=True)
    (target / "django.mo").write_bytes(compiled(entries))


def compiled(entries: dict[str, str]) -> bytes:
    """GNU's .mo: a head, two tables of lengths and places, the texts sorted by their keys."""
    pairs = sorted((key.encode(), text.encode()) for key, text in entries.items())
    start = 28 + 16 * len(pairs)
    body, tables = b"", ([], [])
    for side, table in enumerate(tables):
        for pair in pairs:
            table += [len(pair[side]), start + len(body)]
            body += pair[side] + b"\0"
    numbers = [*tables[0], *tables[1]]
    head = struct.pack("<7I", 0x950412DE, 0, len(pairs), 28, 28 + 8 * len(pairs), 0, 0)
    return head + struct.pack(f"<{len(numbers)}I", *numbers) + body
