"""Running the trainings of a fit in parallel, each reported to scikit-learn's callbacks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from joblib import parallel_config
from joblib.parallel import get_active_backend
from sklearn.utils.parallel import delayed
from skorch import NeuralNet
from skorch.callbacks import Callback


@contextmanager
def sent_once(data: Iterable[Any]) -> Iterator[None]:
    """Let joblib's dask backend send data once to each worker, for all calls within.

    By itself it sends arguments anew with each call of a `Parallel`, and a search makes several.
    Other backends share memory, or keep files of large arrays, as they are.

    Parameters
    ----------
    data : iterable
        Arguments of tasks; those that are arrays are sent ahead.
    """
    backend, n_jobs = get_active_backend()
    client = getattr(backend, "client", None)
    arrays = [value for value in data if isinstance(value, np.ndarray)]
    if client is None or not arrays:
        yield
        return
    with parallel_config(backend="dask", client=client, n_jobs=n_jobs, scatter=arrays):
        yield


class Tasks:
    """Run functions in parallel on behalf of an estimator.

    Parameters
    ----------
    owner : estimator
        The estimator whose callbacks follow the progress.
    context : CallbackContext
        Of the owner's fit; tasks become its subtasks.
    parallel : joblib.Parallel
        What runs them.

    Attributes
    ----------
    verbose : bool
        Whether the owner prints its progress.
    """

    def __init__(self, owner: Any, context: Any, parallel: Any) -> None:
        self.owner = owner
        self.context = context
        self.parallel = parallel
        self.verbose = bool(owner.verbose)

    def run(
        self,
        name: str,
        function: Callable[..., Any],
        arguments: Sequence[tuple[Any, ...]],
        *,
        n_epochs: int | None = None,
        **options: Any,
    ) -> list[Any]:
        """Call a function with each of several tuples of arguments; return the results in order.

        Parameters
        ----------
        name : str
            Of all together, such as 'ramps'.
        function : callable
            To call.
        arguments : sequence of tuple
            One a call. Large data stands in it as such: joblib's dask backend sends each argument
            once to each worker, and takes an object that holds data for a small one.
        n_epochs : int, default=None
            If given, each call has so many epochs to report, and gets a skorch callback that
            reports them, as `callback`, if the estimator has callbacks.
        **options
            The same for each call.
        """
        if not self._is_followed():
            return list(self.parallel(delayed(function)(*args, **options) for args in arguments))
        group = self.context.subcontext(
            name, max_subtasks=len(arguments), sequential_subtasks=False
        ).call_on_fit_task_begin(estimator=self.owner)
        # Made ahead: they must not change while a worker's copy of the owner is being made.
        contexts = [
            group.subcontext(f"{name}, each", task_id=i, max_subtasks=n_epochs or 0)
            for i in range(len(arguments))
        ]
        results = self.parallel(
            delayed(_reported)(
                Progress(self.owner, context), bool(n_epochs), function, options, *args
            )
            for context, args in zip(contexts, arguments, strict=True)
        )
        group.call_on_fit_task_end(estimator=self.owner)
        return list(results)

    def _is_followed(self) -> bool:
        # Private, and the only sign of whether `set_callbacks` was called; without callbacks
        # nothing is reported, so that workers need no copy of the owner.
        return bool(getattr(self.owner, "_skl_callbacks", None))


@dataclass(frozen=True)
class Progress:
    """Reports a task's progress to the estimator's callbacks."""

    owner: Any
    context: Any


class EpochReporter(Callback):
    """Reports each epoch of a training to scikit-learn's callbacks.

    Parameters
    ----------
    progress : Progress
        The task of which epochs are parts.
    """

    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    def on_epoch_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        """Begin a subtask."""
        owner, context = self.progress.owner, self.progress.context
        self.epoch_ = context.subcontext("epoch").call_on_fit_task_begin(estimator=owner)

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        """End it."""
        self.epoch_.call_on_fit_task_end(estimator=self.progress.owner)


def _reported(
    progress: Progress,
    of_epochs: bool,
    function: Callable[..., Any],
    options: dict[str, Any],
    *args: Any,
) -> Any:
    if of_epochs:
        options = options | {"callback": EpochReporter(progress)}
    progress.context.call_on_fit_task_begin(estimator=progress.owner)
    result = function(*args, **options)
    progress.context.call_on_fit_task_end(estimator=progress.owner)
    return result
