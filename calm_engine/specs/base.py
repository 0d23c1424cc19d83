"""What every spec can do: come from JSON, go to JSON, and name what is wrong with it."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from calm_engine.errors import InputError


def refuse(first: str, second: str, why: str) -> InputError:
    return InputError(
        "spec.clash", f"`{first}` and `{second}` clash: {why}", fields=f"{first}, {second}"
    )


def bad(name: str, why: str) -> InputError:
    return InputError("spec.value", f"`{name}` {why}", fields=name)


def tuples(value: Any) -> Any:
    """Lists become tuples, all the way down: JSON has no tuples, frozen specs have no lists."""
    return tuple(tuples(item) for item in value) if isinstance(value, list | tuple) else value


def _spec_in(hint: Any) -> type[Spec] | None:
    """The spec inside a hint such as `BridgeSpec | None`, if there is one."""
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    return next((o for o in options if isinstance(o, type) and issubclass(o, Spec)), None)


@dataclass(frozen=True)
class Spec:
    """JSON in, JSON out; unknown keys are refused by name."""

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Build from plain JSON values. Raises InputError("spec.unknown") naming the stray keys."""
        known = {f.name for f in dataclasses.fields(cls)}
        stray = sorted(set(values) - known)
        if stray:
            raise InputError(
                "spec.unknown", f"unknown fields: {', '.join(stray)}", fields=", ".join(stray)
            )
        hints = typing.get_type_hints(cls)
        ready: dict[str, Any] = {}
        for name, value in values.items():
            inner = _spec_in(hints[name])
            is_nested = inner is not None and isinstance(value, dict)
            ready[name] = inner.from_dict(value) if is_nested and inner else tuples(value)
        try:
            return cls(**ready)
        except TypeError as error:
            raise InputError("spec.missing", str(error)) from error

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Parse JSON text. Raises InputError("spec.json") when it is no JSON object."""
        try:
            values = json.loads(text)
        except ValueError as error:
            raise InputError("spec.json", f"not JSON: {error}") from error
        if not isinstance(values, dict):
            raise InputError("spec.json", "the spec must be one JSON object")
        return cls.from_dict(values)

    @classmethod
    def from_file(cls, path: str | Path) -> Self:
        try:
            return cls.from_json(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(
                "spec.file", f"cannot read {path}: {error.strerror}", path=str(path)
            ) from error

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), indent=2, sort_keys=True)
