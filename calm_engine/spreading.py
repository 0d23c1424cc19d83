"""Work on many items by several processes. Knows no work."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")


def spread(work: Callable[[T], R], items: Sequence[T], workers: int) -> Iterator[R]:
    """The results of all items, in no promised order, from so many processes.

    work   is handed over once, since it may hold much; what one item leaves in it, only the items
           that come to the same process find
    Raises what the work raises.
    """
    if workers == 1 or len(items) < 2:
        yield from map(work, items)
        return
    # Forked where that can be done: a fresh process loads torch before it reads a word.
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("fork" if "fork" in methods else None)
    with ProcessPoolExecutor(workers, context, _start, (work,)) as pool:
        for made in as_completed([pool.submit(_do, one) for one in items]):
            yield made.result()


def _start(work: Callable[[Any], Any]) -> None:
    global _WORK
    # One thread each: the workers are the parallel part.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    _WORK = work


def _do(item: Any) -> Any:
    assert _WORK is not None
    return _WORK(item)


_WORK: Callable[[Any], Any] | None = None
