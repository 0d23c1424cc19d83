"""What a person typed: into a field of a form, or to find something."""

from __future__ import annotations

from django.http import HttpRequest

LONGEST = 200  # characters of what somebody looks for


def storable(text: str) -> str:
    """Without the one sign that PostgreSQL takes none of. Forms of Django's own refuse it."""
    return text.replace("\0", "")


def one_line(text: str) -> str:
    """A name or title as it is kept: its words, with one space between them."""
    return " ".join(storable(text).split())


def typed(request: HttpRequest, name: str) -> str:
    return storable(request.POST.get(name, ""))


def sought(request: HttpRequest, name: str = "q") -> str:
    """The words that an address looks for, without that sign."""
    return to_find(request.GET.get(name, ""))


def to_find(words: object) -> str:
    """What somebody looks for, as it is looked for."""
    return storable(str(words))[:LONGEST].strip()
