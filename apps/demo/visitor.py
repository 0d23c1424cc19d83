"""A person at the site, over HTTP: signs in, fills in forms, uploads, chats. Knows no database."""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from calm_engine.errors import InternalError

REPLY_SECONDS = 120.0


@dataclass(frozen=True)
class Reply:
    """One streamed answer: its text, how it ended, and seconds to the first token."""

    text: str
    state: str
    first_token_seconds: float


class Visitor:
    """A signed-in browser without a screen."""

    def __init__(self, address: str) -> None:
        self.http = httpx.Client(base_url=address, timeout=60.0, follow_redirects=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.http.close()

    def sign_in(self, email: str, password: str) -> None:
        self.http.get("/accounts/sign-in/")
        self.post("/accounts/sign-in/", {"username": email, "password": password})
        if "sessionid" not in self.http.cookies:
            raise InternalError("demo.sign_in", "A demo person could not sign in.", email=email)

    def post(self, path: str, fields: dict[str, str]) -> httpx.Response:
        """Send a form as the page would. Raises InternalError when the site refuses it."""
        answer = self.http.post(path, data=fields, headers=self._headers())
        return self._accepted(answer, path)

    def upload(self, path: str, files: Iterable[Path]) -> httpx.Response:
        """Drop files on a page."""
        return self.send_files(path, [(file.name, file.read_bytes()) for file in files], {})

    def send_files(
        self,
        path: str,
        files: Iterable[tuple[str, bytes]],
        fields: Mapping[str, str | Sequence[str]],
    ) -> httpx.Response:
        """Send files, each its name and bytes, as the page's script does."""
        headers = self._headers() | ({"X-Upload-Batch": "1"} if fields else {})
        parts = [("files", file) for file in files]
        return self._accepted(
            self.http.post(path, files=parts, data=dict(fields), headers=headers), path
        )

    def page(self, path: str) -> str:
        """The page at this address. Raises InternalError when the site refuses it."""
        return self._accepted(self.http.get(path), path).text

    def json(self, path: str) -> Any:
        """What this address answers."""
        answer = self.http.get(path, headers={"Accept": "application/json"})
        return self._accepted(answer, path).json()

    def ask(self, question: str, *, model: str = "", conversation: str = "") -> Reply:
        """Ask in the chat and read the streamed answer to its end."""
        asked = self.try_to_ask(question, model, conversation)
        stream = self._accepted(asked, "/chat/ask").json()["stream"]
        began, first = time.monotonic(), 0.0
        for _, event, data in self.follow(stream):
            if event == "token" and not first:
                first = time.monotonic() - began
            if event == "done":
                return Reply(data["text"], data["state"], first)
        raise InternalError("demo.reply", "A reply's stream ended without its last event.")

    def try_to_ask(self, question: str, model: str = "", conversation: str = "") -> httpx.Response:
        """Put a question in the chat; the answer says where its stream is, or why there is none."""
        fields = {"text": question} | ({"model": model} if model else {})
        fields |= {"conversation": conversation} if conversation else {}
        headers = self._headers() | {"Accept": "application/json"}
        return self.http.post("/chat/ask", data=fields, headers=headers)

    def follow(self, path: str, after: str = "") -> Generator[tuple[str, str, dict[str, str]]]:
        """A stream's events from behind this place: place, name and data of each."""
        headers = {"Last-Event-ID": after} if after else {}
        with self.http.stream("GET", path, headers=headers, timeout=REPLY_SECONDS) as answer:
            place = event = ""
            for line in answer.iter_lines():
                name, _, value = line.partition(":")
                if name == "id":
                    place = value.strip()
                elif name == "event":
                    event = value.strip()
                elif name == "data":
                    yield place, event, json.loads(value)

    def _headers(self) -> dict[str, str]:
        return {
            "X-CSRFToken": self.http.cookies.get("csrftoken") or "",
            "Referer": str(self.http.base_url),
        }

    def _accepted(self, answer: httpx.Response, path: str) -> httpx.Response:
        if answer.status_code >= 400:
            told = f"{path} answered {answer.status_code}."
            raise InternalError("demo.refused", told, path=path, status=answer.status_code)
        return answer
