"""Readers of what is text already: Markdown, plain text, tables, JSON lines, HTML."""

from __future__ import annotations

import csv
import html
import io
import json
import re
from pathlib import Path
from typing import Any

from apps.corpora.parsing.conversion import converted
from apps.corpora.parsing.kinds import RefusedFile
from apps.corpora.parsing.text import as_table, cell, decoded, slimmed

Read = tuple[str, str, dict[str, Any]]  # title or "", text, facts


def read_markdown(path: Path) -> Read:
    text = decoded(path.read_bytes())
    heading = re.search(r"^#\s+(.+)$", text, re.MULTILINE)
    return (heading.group(1).strip() if heading else ""), text, {}


def read_plain(path: Path) -> Read:
    return "", decoded(path.read_bytes()), {}


def read_csv(path: Path, delimiter: str = "") -> Read:
    csv.field_size_limit(16 << 20)
    text = decoded(path.read_bytes())
    if not delimiter:
        try:
            delimiter = csv.Sniffer().sniff(text[:8192], delimiters=",;\t|").delimiter
        except csv.Error:
            delimiter = ","
    try:
        rows = [row for row in csv.reader(io.StringIO(text), delimiter=delimiter) if any(row)]
    except csv.Error as error:
        raise RefusedFile("file.unreadable", why=f"not a table: {error}") from error
    if not rows:
        raise RefusedFile("file.empty")
    return "", as_table(rows), {"rows": len(rows) - 1}


def read_tsv(path: Path) -> Read:
    return read_csv(path, delimiter="\t")


def read_jsonl(path: Path) -> Read:
    blocks = []
    for number, line in enumerate(decoded(path.read_bytes()).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            blocks.append(as_block(json.loads(line)))
        except (ValueError, RecursionError) as error:
            raise RefusedFile("file.unreadable", why=f"line {number} is not JSON") from error
    return "", "\n\n".join(blocks), {"rows": len(blocks)}


def as_block(value: object) -> str:
    """One JSON value as lines; a row with a title and a text becomes a heading and a text."""
    if not isinstance(value, dict):
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    lines = []
    for key, said in value.items():
        flat = said if isinstance(said, str) else json.dumps(said, ensure_ascii=False)
        lines.append({"title": f"# {flat}\n", "text": flat}.get(str(key), f"{key}: {flat}"))
    return "\n".join(lines)


def read_html(path: Path) -> Read:
    data = path.read_bytes()
    declared = re.search(rb"<meta[^>]+charset=[\"']?([\w-]+)", data[:4096], re.IGNORECASE)
    try:
        source = data.decode(declared.group(1).decode("ascii") if declared else "utf-8")
    except (UnicodeDecodeError, LookupError):
        source = decoded(data)
    return markup(source)


def markup(source: str) -> Read:
    """HTML as Markdown: tables stay tables, definition lists become `Key: value` lines."""
    title = re.search(r"<title[^>]*>(.*?)</title>", source, re.IGNORECASE | re.DOTALL)
    body = re.sub(r"<head[\s>].*?</head>", "", source, flags=re.IGNORECASE | re.DOTALL)
    body = re.sub(r"<title[\s>].*?</title>", "", body, flags=re.IGNORECASE | re.DOTALL)
    body = re.sub(r":?\s*</dt>\s*<dd[^>]*>", ": ", body, flags=re.IGNORECASE)
    text = slimmed(str(converted(f"<body>{body}</body>".encode(), "text/html").content))
    name = cell(html.unescape(title.group(1))) if title else ""
    return name, html.unescape(text), {}
