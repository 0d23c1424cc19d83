"""Objects of North for the walk of strangers: a session opens nothing here, whoever's it is."""

from __future__ import annotations

from tests.apps.chat.making import make_model

OBJECTS = {
    "api:model": lambda cast: {"name": make_model(cast.north, cast.ada).name},
}
