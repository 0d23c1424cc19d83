"""What a person typed: into a field of a form, or to find something."""

from __future__ import annotations

from django.http import HttpRequest

LONGEST = 200  # characters of what somebody looks for


def typed(request: HttpRequest, name: str) -> str:
    """Without the one sign that the database takes none of. Forms of Django's own refuse it."""
    return request.POST.get(name, "").replace("\0", "")


def sought(request: HttpRequest, name: str = "q") -> str:
    """The words that an address looks for, without that sign."""
    return request.GET.get(name, "")[:LONGEST].replace("\0", "").strip()
