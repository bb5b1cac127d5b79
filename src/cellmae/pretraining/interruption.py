"""Being stopped politely: finish the step, write a checkpoint, go."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interruption:
    """Whether the process was asked to stop, and how."""

    signal: int | None = None

    def note(self, number: int, frame: FrameType | None) -> None:
        """Take down a signal; a second Ctrl-C strikes at once."""
        self.signal = number
        if number == signal.SIGINT:
            signal.signal(number, signal.SIG_DFL)

    def leave(self) -> None:
        """End the process as the signal would have."""
        if self.signal == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + (self.signal or 0))


@contextmanager
def deferred_interruption() -> Iterator[Interruption]:
    """Hold back SIGTERM and Ctrl-C, so that the block can look for them where it suits; not in side threads."""
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return
    previous = {number: signal.signal(number, interruption.note) for number in SIGNALS}
    try:
        yield interruption
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
