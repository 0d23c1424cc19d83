"""The web door: Django with streamed replies, and the built assets beside it."""

from __future__ import annotations

import os

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.db import connections
from servestatic import ServeStaticASGI

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "counterpoint.settings")

django = get_asgi_application()

from calm_engine import traces  # noqa: E402  as above
from counterpoint.checks import refuse_a_dangerous_start  # noqa: E402  needs the apps
from counterpoint.database import pool  # noqa: E402  as above
from counterpoint.memory import keep_what_is_loaded  # noqa: E402  as above
from counterpoint.watch.offer import offer  # noqa: E402  as above

pool.share(settings.DATABASE_POOL, settings.DATABASE_POOL_SECONDS)
refuse_a_dangerous_start()
connections.close_all()  # what the checks used goes back: no request could have it
keep_what_is_loaded()
offer()
traces.begin("counterpoint-web", settings.RELEASE)
application = ServeStaticASGI(
    django,
    root=settings.FRONTEND_DIST if settings.FRONTEND_DIST.is_dir() else None,
    prefix=settings.STATIC_URL,
    allow_all_origins=False,
    add_headers_function=lambda headers, _path, _url: headers.add_header(
        "X-Content-Type-Options", "nosniff"
    ),
    # Vite writes a digest into the names of what it builds: those may be kept for ever.
    immutable_file_test=r"^.+[.-][0-9A-Za-z_-]{8,12}\.(js|css|woff2|svg|png)$",
)
