"""Walks lists as a person does: by the links that their pages give."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from urllib.parse import urljoin

from django.test import Client


def walked(client: Client, address: str) -> Iterator[str]:
    """Every page of a list, by its own links."""
    while True:
        page = client.get(address).content.decode()
        yield page
        onward = re.search(r'rel="next" href="([^"]+)"', page)
        if onward is None:
            return
        address = urljoin(address, html.unescape(onward[1]))
