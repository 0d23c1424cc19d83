"""Files that survive a closed laptop: tus 1.0 (https://tus.io/protocols/resumable-upload).

Core, creation, creation-with-upload, expiration and termination. It reads headers and words
answers; what happens stands in `actions/transfers.py`. Why no package: docs/decisions.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, cast
from uuid import UUID

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.utils.http import http_date
from django.views.decorators.http import require_GET, require_http_methods

from apps.corpora import actions
from apps.corpora.models import Corpus, Transfer, Upload, UploadItem
from apps.tenants.access import MemberRequest, fetch, member
from apps.tenants.models import Role
from calm_engine.errors import InputError
from counterpoint.wording import sentence

VERSION = "1.0.0"
EXTENSIONS = "creation,creation-with-upload,expiration,termination"
PIECE_TYPE = "application/offset+octet-stream"
STATUS = {
    "transfer.position": 409,
    "transfer.length": 413,
    "transfer.busy": 423,
    "disk.full": 507,
    "quota.full": 413,
    "file.too_large": 413,
}


@require_http_methods(["POST", "OPTIONS"])
@member(Role.CURATOR)
def transfers(request: MemberRequest, code: UUID) -> HttpResponse:
    """Begin a file of a corpus; OPTIONS tells what the server can do."""
    corpus = fetch(request, Corpus, code)
    if request.method == "OPTIONS":
        return _answer(204, tus_version=True)
    if refusal := _wrong_version(request):
        return refusal
    length, told = _number(request, "Upload-Length"), _metadata(request)
    if length is None or told is None:
        return _answer(400, "Upload-Length and Upload-Metadata must be given, and be well formed.")
    try:
        upload = UUID(told["upload"]) if told.get("upload") else None
    except ValueError:
        return _answer(400, "The upload named in Upload-Metadata is no id.")
    path = told.get("path") or told.get("filename", "")
    begun = actions.begin_transfer(corpus, path, length, by=request.user, upload=upload)
    if isinstance(begun, Transfer) and request.content_type == PIECE_TYPE:
        return _piece(request, begun.pk, 0, created=begun)
    return _said(begun, created=begun)


@require_http_methods(["HEAD", "PATCH", "DELETE", "POST"])
@member(Role.CURATOR)
def transfer(request: MemberRequest, code: UUID) -> HttpResponse:
    """Where a file stands, its next piece, or its end. POST only with a method to be meant."""
    row = fetch(request, Transfer, code)
    meant = request.headers.get("X-HTTP-Method-Override", request.method or "")
    if refusal := _wrong_version(request):
        return refusal
    if meant == "HEAD":
        return _said(row, status=200)
    if meant == "DELETE":
        actions.give_up(row, by=request.user)
        return _answer(204)
    if meant != "PATCH":
        return _answer(405, "Only HEAD, PATCH and DELETE act on a file that was begun.")
    if request.content_type != PIECE_TYPE:
        return _answer(415, f"A piece is sent as {PIECE_TYPE}.")
    position = _number(request, "Upload-Offset")
    if position is None:
        return _answer(400, "Upload-Offset must say where the piece begins.")
    return _piece(request, code, position)


@require_GET
@member(Role.CURATOR)
def received(request: MemberRequest, code: UUID) -> HttpResponse:
    """The files that an upload has already: whoever comes back need not send them again."""
    row = fetch(request, Upload, code)
    if row.by_id != request.user.pk:
        raise Http404("Only whoever began an upload goes on with it.")
    return JsonResponse({"files": actions.files_of(row)})


def _piece(
    request: MemberRequest, code: UUID, position: int, created: Transfer | None = None
) -> HttpResponse:
    try:
        body = cast("Any", request)  # a request reads like a file
        now = actions.go_on(code, position, body, by=request.user)
    except Transfer.DoesNotExist:
        raise Http404("No such file is on its way.") from None
    except InputError as error:
        return _answer(STATUS[error.code], sentence(error))
    return _said(now, created=created)


def _said(
    now: Transfer | UploadItem, *, created: Transfer | UploadItem | None = None, status: int = 204
) -> HttpResponse:
    """The state of a file in the protocol's headers."""
    if isinstance(now, UploadItem) and now.code:
        answer = _answer(STATUS.get(now.code, 422), now.reason)
    else:
        answer = _answer(201 if created else status)
        position = now.position if isinstance(now, Transfer) else now.size
        answer["Upload-Offset"] = str(position)
    answer["Upload-Delivery"] = str(now.upload_id)
    answer["Upload-Page"] = now.upload.get_absolute_url()
    if isinstance(now, Transfer):
        answer["Upload-Length"] = str(now.length)
        if status == 200:
            answer["Upload-Expires"] = http_date(now.expires_at.timestamp())
    if isinstance(created, Transfer):
        answer["Location"] = created.get_absolute_url()
    return answer


def _answer(status: int, words: str = "", *, tus_version: bool = False) -> HttpResponse:
    answer = HttpResponse(words, status=status, content_type="text/plain; charset=utf-8")
    answer["Tus-Resumable"] = VERSION
    answer["Cache-Control"] = "no-store"
    if tus_version:
        answer["Tus-Version"] = VERSION
        answer["Tus-Extension"] = EXTENSIONS
        answer["Tus-Max-Size"] = str(settings.UPLOAD_MAX_BYTES)
    return answer


def _wrong_version(request: HttpRequest) -> HttpResponse | None:
    if request.headers.get("Tus-Resumable") == VERSION:
        return None
    answer = _answer(412, f"This server speaks tus {VERSION}.")
    answer["Tus-Version"] = VERSION
    return answer


def _number(request: HttpRequest, name: str) -> int | None:
    """A header as a whole number, or None when it is missing or none."""
    said = request.headers.get(name, "")
    return int(said) if said.isascii() and said.isdigit() and len(said) < 16 else None


def _metadata(request: HttpRequest) -> dict[str, str] | None:
    """Upload-Metadata: keys with base64 values, comma-separated. None when malformed."""
    told: dict[str, str] = {}
    try:
        for pair in filter(None, request.headers.get("Upload-Metadata", "").split(",")):
            key, _space, value = pair.strip().partition(" ")
            told[key] = base64.b64decode(value, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
    return told
