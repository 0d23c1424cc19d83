"""What these tests find on every machine alike."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _no_language_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether a scan can be read must not depend on what the machine has installed."""
    monkeypatch.setenv("TESSDATA_PREFIX", "/nowhere")
