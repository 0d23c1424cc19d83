"""Every address of the site, with an object where it needs one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.urls import NoReverseMatch, URLPattern, URLResolver, get_resolver, reverse

from apps.corpora.models import Corpus

TABS = ("uploads", "sources", "examples", "snapshots", "access")


def named_views(resolver: URLResolver, prefix: str = "") -> Iterator[str]:
    """Every name of the site's map, with its namespace."""
    for each in resolver.url_patterns:
        if isinstance(each, URLResolver):
            inner = f"{prefix}{each.namespace}:" if each.namespace else prefix
            yield from named_views(each, inner)
        elif isinstance(each, URLPattern) and each.name:
            yield f"{prefix}{each.name}"


def addresses(made: list[Any]) -> Iterator[str]:
    """Each address of the site, with each object of the same app where it needs one."""
    for name in named_views(get_resolver()):
        try:
            yield reverse(name)
        except NoReverseMatch:
            app = name.partition(":")[0]
            for each in made:
                if each._meta.app_label == app:
                    yield reverse(name, kwargs={"code": each.pk})
    for each in made:
        if isinstance(each, Corpus):
            yield from (f"{each.get_absolute_url()}?tab={tab}" for tab in TABS)
