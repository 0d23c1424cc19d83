"""What can go wrong, and whose fault it is. Knows no torch, no Django, no wording for people.

A code (`bridge.width`) is stable and documented in `docs/reference/errors.md`; the sentence that a
person reads is made from the code and the facts, in one place (`sentence`).
"""

from __future__ import annotations

from collections.abc import Callable


class EngineError(Exception):
    """A refusal or a fault with a stable code and the facts that explain it.

    code   dotted and stable: `corpus.empty`, `artifact.digest`
    facts  what the sentence is filled with: names, numbers, never document text
    """

    def __init__(self, code: str, message: str = "", **facts: object) -> None:
        self.code = code
        self.message = message
        self.facts = facts
        super().__init__(code, message, facts)

    def __reduce__(self) -> tuple[Callable[..., EngineError], tuple[object, ...]]:
        """So that it comes from a process of a pool as what it was."""
        return _again, (type(self), self.code, self.message, self.facts)

    def __str__(self) -> str:
        told = ", ".join(f"{name}={value}" for name, value in self.facts.items())
        cause = f" (because: {self.__cause__})" if self.__cause__ else ""
        words = self.message or "no further words"
        return f"{self.code}: {words}{f' [{told}]' if told else ''}{cause}"


def _again(
    kind: type[EngineError], code: str, message: str, facts: dict[str, object]
) -> EngineError:
    error = kind.__new__(kind)
    EngineError.__init__(error, code, message, **facts)
    return error


class InputError(EngineError):
    """Whoever gave the input can mend it: a bad file, a bad spec, a parent that changed."""


class InternalError(EngineError):
    """We must mend it: a promise of our own was broken."""


class Cancelled(EngineError):  # noqa: N818  an ending, not an error
    """The work was asked to stop and did. An ending, not a fault."""

    def __init__(self, **facts: object) -> None:
        super().__init__("run.cancelled", "The run was asked to stop, and stopped.", **facts)
