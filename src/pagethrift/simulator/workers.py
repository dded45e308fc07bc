"""Work on Dask: processes of this machine or a cluster, with tasks that survive the loss of workers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from importlib import import_module
from typing import Any, TypeVar

from pagethrift.errors import PagethriftError, UsageError

CONNECT = "10s"
LOST_WORKERS = 10
"""how many workers may die on a task before the task counts as failed"""
T = TypeVar("T")
R = TypeVar("R")


@contextmanager
def at_work(scheduler: str | None, workers: int | None, tasks: int) -> Iterator[Any]:
    """Yield a Dask client; its workers end with the block.

    ``scheduler``: address of a running one; default: a worker process on this machine for each core, at most
    one for each of ``tasks``. Raises UsageError when the scheduler does not answer, ModuleNotFoundError
    without Dask (the sweep extra).
    """
    dask: Any = import_module("dask")
    distributed: Any = import_module("distributed")
    dask.config.set({"distributed.scheduler.allowed-failures": LOST_WORKERS})
    if scheduler is not None:
        try:
            with closing(distributed.Client(scheduler, timeout=CONNECT)) as client:
                yield client
        except (OSError, TimeoutError) as error:
            raise UsageError(f"--scheduler {scheduler}: no answer ({error}); is it running?") from error
        return
    count = min(workers or len(os.sched_getaffinity(0)), tasks)
    with (
        distributed.LocalCluster(
            n_workers=count,
            threads_per_worker=1,
            processes=True,
            silence_logs=50,
            dashboard_address=None,
            scheduler_kwargs={"dashboard": False},
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def finished(
    client: Any, function: Callable[[T], R], tasks: Mapping[str, T]
) -> Iterator[tuple[T, R | None, str]]:
    """Yield (argument, result, error) of tasks as they finish, in any order; None: it failed.

    ``tasks``: by keys that are equal for equal work.
    """
    as_completed: Any = import_module("distributed").as_completed
    futures = {client.submit(function, task, key=key, pure=True): task for key, task in tasks.items()}
    for future in as_completed(list(futures)):
        task = futures[future]
        try:
            yield task, future.result(), ""
        except PagethriftError as error:
            yield task, None, str(error)
        except Exception as error:  # an error in a worker concerns only its task
            yield task, None, f"{type(error).__name__}: {error}"
        future.release()
