"""What a model is asked to write from a passage, kind by kind, and how its words are read.

Knows words alone; whether what was written is any good is decided in `checking`.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from calm_engine.selfstudy.nouns import Lesson, Source
from calm_engine.selfstudy.words import plain

FORMAT = 1  # changes with every wording below: what an older one brought is then asked for anew
SHORTEST = 160  # characters of a passage that is worth asking about

STATED = ("paraphrase", "implication", "summary")  # told, and asked by no question

_PAIR = "\n\nWrite it in two lines:\nQuestion: ...\nAnswer: ..."
_ASKED = re.compile(
    r"question:\s*(?P<question>[^\n]+?)\s*\n+\s*answer:\s*(?P<answer>[^\n]+)", re.IGNORECASE
)
_NAME = re.compile(
    r"(?<![.!?] )(?<!^)\b[A-Z][\w-]{2,}(?: [A-Z][\w-]{2,})*\b|\b\w+[./_]\w[\w./_-]*\b"
)


@dataclass(frozen=True)
class Request:
    """One thing to be written: from which passage, of which kind, and in which words it is asked.

    about   the two things whose relation is asked for
    """

    source: Source
    passage: str
    kind: str
    prompt: str
    about: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """What decides an answer, apart from the writer: the passage and what is asked of it."""
        return hashlib.sha256(self.prompt.encode()).hexdigest()


def requests_of(source: Source, passage: str, kinds: tuple[str, ...]) -> list[Request]:
    """What to ask of one passage; short ones and those without two names give less, or nothing."""
    if len(passage) < SHORTEST:
        return []
    told = f"Read this passage:\n\n{passage}\n\n"
    found = []
    for kind in kinds:
        about = _two_names(passage) if kind == "relation" else ()
        if kind != "relation" or about:
            words = _TASKS[kind].format(*about)
            found.append(Request(source, passage, kind, told + words, about))
    return found


_TASKS = {
    "question": "Write one question that the passage answers, and its short answer, in the "
    f"passage's own words.{_PAIR}",
    "reverse": "Write one question that describes a thing in the passage without naming it, and "
    f"give the name of the thing as the answer.{_PAIR}",
    "paraphrase": "Say in two sentences what the passage says, in other words.",
    "relation": 'By this passage, how do "{0}" and "{1}" belong together? Answer in one sentence.',
    "implication": "Name one thing that follows from the passage. Answer in one sentence.",
    "summary": "Sum the passage up in one sentence.",
}


def _two_names(passage: str) -> tuple[str, ...]:
    """The first two names in a passage; none where there are fewer."""
    names = dict.fromkeys(match[0] for match in _NAME.finditer(passage))
    return tuple(names)[:2] if len(names) > 1 else ()


def lesson_from(request: Request, text: str, tag: str) -> Lesson | None:
    """What was written, as a lesson; None where it does not have the form that was asked for."""
    read = _pair if request.kind in ("question", "reverse") else _told
    given, said = read(request, text.strip())
    if not (given and said):
        return None
    about, form = (plain(said), plain(given)), "question"
    if request.kind == "reverse":
        form = "inverse"
    elif request.kind in STATED:
        form, given, said = "statement", f"[{tag}]", f" {said}"
    return Lesson(form, given, said, True, request.source.digest, about, request.kind, tag)


def _pair(_request: Request, text: str) -> tuple[str, str]:
    match = _ASKED.search(text)
    return (match["question"], match["answer"]) if match else ("", "")


def _told(request: Request, text: str) -> tuple[str, str]:
    """Whole sentences only: what the length cut off is left out."""
    whole = re.match(r"(?s).*[.!?](?=\s|$)", text)
    said = " ".join(whole[0].split()) if whole else ""
    if request.kind == "relation":
        return "How do {} and {} belong together?".format(*request.about), said
    return request.kind, said
