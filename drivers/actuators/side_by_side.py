"""One job for each instrument, all at once: wires of different instruments do not wait."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

__all__ = ["Retry", "no_retry", "side_by_side"]

T = TypeVar("T")


class Retry(Protocol):
    """Runs an absolute action on one instrument, again after a recovery where that helps."""

    def __call__(self, instrument: str, action: Callable[[], T], /) -> T:
        """Run ``action``; raise what cannot be recovered from."""


def no_retry(instrument: str, action: Callable[[], T], /) -> T:
    """Run ``action`` once."""
    del instrument
    return action()


def side_by_side(jobs: Mapping[str, Callable[[], T]]) -> dict[str, T]:
    """Run all jobs, one thread each, and join them; one job alone runs in this thread.

    Raises
    ------
    BaseException
        What the first job (in the order of ``jobs``) raised, after all have ended.
    """
    if len(jobs) <= 1:
        return {name: job() for name, job in jobs.items()}
    results: dict[str, T] = {}
    errors: dict[str, BaseException] = {}

    def run(name: str, job: Callable[[], T]) -> None:
        try:
            results[name] = job()
        except BaseException as error:  # noqa: BLE001 - carried over to the caller's thread
            errors[name] = error

    first, *others = jobs.items()
    threads = [threading.Thread(target=run, args=item, daemon=True) for item in others]
    for thread in threads:
        thread.start()
    run(*first)
    for thread in threads:
        thread.join()
    for name in jobs:
        if name in errors:
            raise errors[name]
    return results
