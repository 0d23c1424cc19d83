"""Shares as people read them: per cent, and percentage points with their sign."""

from __future__ import annotations

from django import template

register = template.Library()


@register.filter
def percent(share: float) -> str:
    return f"{share:.0%}"


@register.filter
def points(share: float) -> str:
    """A difference of shares, such as +4 or \N{MINUS SIGN}12."""
    told = round(share * 100)
    return f"\N{MINUS SIGN}{-told}" if told < 0 else f"+{told}"
