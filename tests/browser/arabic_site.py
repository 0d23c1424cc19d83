"""The site with Arabic beside its languages; uvicorn serves it in a process of its own."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path

from django.conf import settings

PLACE = "ARABIC_CATALOGUE"  # names the folder with the catalogue

if PLACE in os.environ:  # before the site is set up; elsewhere only the name is wanted
    settings.LANGUAGES = [*settings.LANGUAGES, ("ar", "العربية")]
    settings.LOCALE_PATHS = [Path(os.environ[PLACE]), *settings.LOCALE_PATHS]
    application = import_module("counterpoint.asgi").application
