"""Runs a generator in a thread of its own, some steps ahead of the one who uses what it yields."""

from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

T = TypeVar("T")


def run_ahead(
    items: Generator[T, None, None],
    steps: int,
    stop: Callable[[], None],
    cost: Callable[[T], int] = lambda item: 1,
) -> Generator[T, None, None]:
    """Yield what a generator yields; it works on meanwhile.

    :param steps: how many items may wait to be used, and one more.
    :param cost: how many items an item counts as, at least 1.
    :param stop: called when the caller leaves before the end, and before the generator is closed: one that
        waits for something then has to return or raise. The thread is not waited for.
    """
    made: SimpleQueue[tuple[T] | BaseException | None] = SimpleQueue()
    room = threading.Semaphore(steps)
    is_left = threading.Event()

    def steps_of(item: T) -> int:
        return min(steps, cost(item))

    def work() -> None:
        try:
            for item in items:
                made.put((item,))
                for _ in range(steps_of(item)):
                    room.acquire()
                if is_left.is_set():
                    items.close()
                    return
        except BaseException as error:  # it belongs to the caller, whatever it is
            made.put(error)
        else:
            made.put(None)

    thread = threading.Thread(target=work, name="customerly-reading", daemon=True)
    is_over = False
    try:
        thread.start()
        while True:
            found = made.get()
            if not isinstance(found, tuple):
                is_over = True
                if found is not None:
                    raise found
                return
            room.release(steps_of(found[0]))
            yield found[0]
    finally:
        if not is_over:
            try:
                stop()
            finally:
                is_left.set()
                room.release(steps)
