"""Mail: its words as a document, its attachments as inner files; a mailbox is only its mails."""

from __future__ import annotations

import email
import email.policy
import io
import mailbox
from collections.abc import Iterator
from email.errors import MessageError
from email.message import EmailMessage, MIMEPart
from pathlib import Path

from apps.corpora.parsing.containers import Member
from apps.corpora.parsing.conversion import converted
from apps.corpora.parsing.kinds import MEDIA, RefusedFile
from apps.corpora.parsing.plain import Read, markup
from apps.corpora.parsing.text import decoded

HEADS = ("Subject", "From", "To", "Date")
MSG_NAME, MSG_LONG_NAME, MSG_DATA = "3704", "3707", "37010102"  # [MS-OXPROPS]: of an attachment


def parsed_mail(path: Path) -> EmailMessage:
    with path.open("rb") as file:
        message = email.message_from_binary_file(file, policy=email.policy.default)
    if not any(header(message, name) for name in (*HEADS, "Received")):
        raise RefusedFile("file.unreadable", why="it has no mail headers")
    return message


def header(message: EmailMessage, name: str) -> str:
    """A header as text; one that breaks its grammar is shown as it stands, or left out."""
    try:
        return str(message.get(name) or "")
    except (ValueError, IndexError, MessageError, AttributeError, TypeError):
        raw = next((v for k, v in message.raw_items() if k.lower() == name.lower()), "")
        return str(raw).encode("utf-8", "replace").decode()


def read_mail(path: Path) -> Read:
    message = parsed_mail(path)
    heads = [f"{name}: {header(message, name)}" for name in HEADS if header(message, name)]
    body = message.get_body(("plain", "html"))
    text = content(body) if body is not None else ""
    if body is not None and body.get_content_subtype() == "html":
        text = markup(text).pages[0]
    return Read(header(message, "Subject"), ["\n".join(heads) + "\n\n" + text])


def content(part: MIMEPart) -> str:
    """The words of a part, whatever charset it claims to be in."""
    try:
        return str(part.get_content())
    except (LookupError, ValueError, AssertionError, MessageError):
        payload = part.get_payload(decode=True)
        return decoded(payload) if isinstance(payload, bytes) else ""


def mail_members(path: Path) -> Iterator[Member]:
    for number, part in enumerate(parsed_mail(path).iter_attachments(), start=1):
        name = filename(part)
        if part.get_content_type() == "message/rfc822":
            inner = part.get_payload()
            mail = inner[0] if isinstance(inner, list) and inner else None
            data = mail.as_bytes() if isinstance(mail, EmailMessage) else b""
            yield name if name.endswith(".eml") else f"mail-{number}.eml", "", io.BytesIO(data)
            continue
        payload = part.get_payload(decode=True)
        data = payload if isinstance(payload, bytes) else b""
        yield name or f"attachment-{number}", "", io.BytesIO(data)


def filename(part: EmailMessage) -> str:
    """An attachment's name; "" when it has none, or one that nobody can read."""
    try:
        return part.get_filename() or ""
    except (ValueError, LookupError, TypeError, MessageError):
        return ""


# --- Outlook and mailboxes ---------------------------------------------------------------------


def read_msg(path: Path) -> Read:
    """A mail as Outlook saves it."""
    result = converted(path, MEDIA["msg"])
    title = str((result.metadata or {}).get("subject") or "")
    text = str(result.content)
    return Read(title, [text if title in text else f"Subject: {title}\n\n{text}"])


def msg_members(path: Path) -> Iterator[Member]:
    """The attachments of an Outlook mail: storages of a compound file, [MS-OXMSG] 2.2.2."""
    import olefile  # noqa: PLC0415 - the readers alone load it

    try:
        with olefile.OleFileIO(str(path)) as ole:
            for entry in ole.listdir(streams=False, storages=True):
                if len(entry) != 1 or not entry[0].lower().startswith("__attach_version1.0_"):
                    continue
                streams = {s[1].lower(): s for s in ole.listdir() if s[:1] == entry and len(s) == 2}
                data = streams.get(f"__substg1.0_{MSG_DATA}")
                name = msg_name(ole, streams) or f"attachment-{entry[0][-8:]}"
                if data is not None:
                    yield name, "", io.BytesIO(ole.openstream(data).read())
    except (OSError, IndexError, ValueError, TypeError) as error:
        why = "the file is damaged or not complete"
        raise RefusedFile("file.unreadable", why=why) from error


def msg_name(ole: object, streams: dict[str, list[str]]) -> str:
    for prop in (MSG_LONG_NAME, MSG_NAME):
        for kind, charset in (("001f", "utf-16-le"), ("001e", "cp1252")):
            if stream := streams.get(f"__substg1.0_{prop}{kind}"):
                raw: bytes = ole.openstream(stream).read()  # type: ignore[attr-defined]  # untyped library
                return raw.decode(charset, "replace").rstrip("\0")
    return ""


def mailbox_members(path: Path) -> Iterator[Member]:
    """Each mail of an mbox file (RFC 4155), numbered: their subjects may be alike."""
    box = mailbox.mbox(path, create=False)
    try:
        for number, key in enumerate(box.keys(), start=1):
            yield f"{number:05}.eml", "", io.BytesIO(box.get_bytes(key))
    finally:
        box.close()
