"""Mail: its words as a document, its attachments as inner files."""

from __future__ import annotations

import email
import email.policy
import io
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path

from apps.corpora.parsing.containers import Member
from apps.corpora.parsing.kinds import RefusedFile
from apps.corpora.parsing.plain import Read, markup


def parsed_mail(path: Path) -> EmailMessage:
    with path.open("rb") as file:
        message = email.message_from_binary_file(file, policy=email.policy.default)
    if not any(message.get(name) for name in ("From", "To", "Subject", "Date", "Received")):
        raise RefusedFile("file.unreadable", why="it has no mail headers")
    return message


def read_mail(path: Path) -> Read:
    message = parsed_mail(path)
    heads = [
        f"{name}: {message[name]}" for name in ("Subject", "From", "To", "Date") if message[name]
    ]
    body = message.get_body(("plain", "html"))
    text = ""
    if body is not None:
        text = str(body.get_content())
        text = markup(text)[1] if body.get_content_subtype() == "html" else text
    return str(message["Subject"] or ""), "\n".join(heads) + "\n\n" + text, {}


def mail_members(path: Path) -> Iterator[Member]:
    for number, part in enumerate(parsed_mail(path).iter_attachments(), start=1):
        if part.get_content_type() == "message/rfc822":
            inner = part.get_content()
            yield part.get_filename() or f"mail-{number}.eml", "", io.BytesIO(bytes(inner))
            continue
        payload = part.get_payload(decode=True)
        data = payload if isinstance(payload, bytes) else b""
        yield part.get_filename() or f"attachment-{number}", "", io.BytesIO(data)
