"""What a process does with its memory once all that it works with is loaded."""

from __future__ import annotations

import gc


def keep_what_is_loaded() -> None:
    """Look no more for garbage among what is loaded now.

    Libraries bring a million objects that live as long as the process. To walk through them takes
    a quarter of a second, in the middle of somebody's page.
    """
    gc.collect()
    gc.freeze()
