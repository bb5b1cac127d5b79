"""Who works on the fields of a plate: threads of this process, or the workers of a Dask cluster that runs elsewhere."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import dask

from cellmae.errors import ConfigError, DataError
from cellmae.logging import logger

if TYPE_CHECKING:
    from distributed import Client, Future

LOCAL = "local"
KEY = "dask.scheduler"
TASKS_PER_THREAD = 16
"""Fields that a thread is given at a time: enough to keep it busy, few enough to show progress."""
PATIENCE = 60.0
"""Seconds to wait for a scheduler, for its first worker, and for another one when all are gone."""

Item = TypeVar("Item")
Result = TypeVar("Result")


class LostFieldError(DataError):
    """A field that cannot be used; the message is the reason that the tile table gives."""


class Workers(Protocol):
    """Applies a function to many fields, several at a time."""

    @property
    def is_local(self) -> bool:
        """Whether what the function does to objects of this process is seen here."""

    def map(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result | LostFieldError]:
        """Yield results in order, lost fields as their error; another error is raised when nobody works any more.

        Only a few fields for each thread are under way at a time, so that memory does not grow with the plate.
        """


@dataclass(frozen=True)
class Threads:
    """Dask's threads in this process."""

    count: int
    is_local: bool = True

    def map(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result | LostFieldError]:
        """See :meth:`Workers.map`."""
        task = dask.delayed(_attempt, pure=False, traverse=False)
        step = self.count * TASKS_PER_THREAD
        for start in range(0, len(items), step):
            tasks = [task(function, item) for item in items[start : start + step]]
            for outcome in dask.compute(*tasks, scheduler="threads", num_workers=self.count, traverse=False):
                yield _raised(outcome)


@dataclass(frozen=True)
class Cluster:
    """Workers of a ``dask.distributed`` scheduler that share this process's file system.

    The fields of a worker that dies go to the others.
    """

    address: str
    client: "Client"
    is_local: bool = False

    def map(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result | LostFieldError]:
        """See :meth:`Workers.map`."""
        # As the result of a task, unlike as scattered data, a function outlives the worker that holds it.
        shared = self.client.submit(_same, function, pure=False)
        under_way: deque[Future] = deque()
        try:
            for item in items:
                under_way.append(self.client.submit(_attempt, shared, item, pure=False))
                if len(under_way) >= TASKS_PER_THREAD * max(1, self._threads()):
                    yield _raised(self._outcome(under_way.popleft()))
            while under_way:
                yield _raised(self._outcome(under_way.popleft()))
        finally:
            self.client.cancel(list(under_way))  # those that run end by themselves

    def _threads(self) -> int:
        return sum(self.client.nthreads().values())

    def _outcome(self, future: "Future") -> Any:
        while True:
            try:
                return future.result(timeout=PATIENCE)
            except TimeoutError:
                if not self._threads():
                    raise DataError(
                        f"{KEY}: all workers of {self.address} are gone: start others and run again"
                    ) from None


@contextmanager
def field_workers(threads: int, scheduler: str = LOCAL) -> Iterator[Workers]:
    """Give who works on fields.

    Parameters
    ----------
    threads
        Fields that are worked on at the same time in this process.
    scheduler
        Address of a ``dask.distributed`` scheduler to leave the work to instead; ``local`` for none.

    Raises
    ------
    ConfigError
        ``distributed`` is not installed, no scheduler answers at the address, or it has no workers.
    """
    if scheduler == LOCAL:
        yield Threads(threads)
        return
    try:
        from distributed import Client
    except ImportError as error:
        raise ConfigError(f"{KEY}: found {scheduler!r}, which needs pip install 'cellmae[dask]' ({error})") from None
    try:
        client = Client(scheduler, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{KEY}: no scheduler answers at {scheduler} ({error}): start one, or set local") from None
    with client:
        try:
            client.wait_for_workers(1, timeout=PATIENCE)
        except TimeoutError:
            raise ConfigError(f"{KEY}: the scheduler {scheduler} has no workers: start some, or set local") from None
        logger.info(
            "%d threads of %d workers of %s", sum(client.nthreads().values()), len(client.nthreads()), scheduler
        )
        yield Cluster(scheduler, client)


def _attempt(function: Callable[[Item], Result], item: Item) -> Result | Exception:
    try:
        return function(item)
    except Exception as error:
        return error


def _raised(outcome: Any) -> Any:
    """Return an outcome, raise it if it is an error other than that of a lost field."""
    if isinstance(outcome, Exception) and not isinstance(outcome, LostFieldError):
        raise outcome
    return outcome


def _same(value: Item) -> Item:
    return value
