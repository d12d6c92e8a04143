"""Running the parts of a fit in parallel, each a task that scikit-learn's callbacks see."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sklearn.utils.parallel import delayed
from skorch import NeuralNet
from skorch.callbacks import Callback


class Tasks:
    """Runs functions in parallel, in the name of an estimator.

    Parameters
    ----------
    owner : estimator
        Whose callbacks are told.
    context : CallbackContext
        Of the owner's fit; tasks become its subtasks.
    parallel : joblib.Parallel
        What runs them.
    """

    def __init__(self, owner: Any, context: Any, parallel: Any) -> None:
        self.owner = owner
        self.context = context
        self.parallel = parallel

    def run(
        self,
        name: str,
        function: Callable[..., Any],
        arguments: Sequence[tuple[Any, ...]],
        *,
        n_epochs: int | None = None,
        **options: Any,
    ) -> list[Any]:
        """Call a function with each of several tuples of arguments; give what it gives, in order.

        Parameters
        ----------
        name : str
            Of all together, such as 'ramps'.
        function : callable
            To call.
        arguments : sequence of tuple
            One a call.
        n_epochs : int, default=None
            Where it is given, each call has so many epochs to tell of, and where there is somebody
            to be told it gets a skorch callback that does, as `callback`.
        **options
            The same for each call.
        """
        if not getattr(self.owner, "_skl_callbacks", None):
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
            delayed(_told)(Told(self.owner, context), bool(n_epochs), function, args, options)
            for context, args in zip(contexts, arguments, strict=True)
        )
        group.call_on_fit_task_end(estimator=self.owner)
        return list(results)


@dataclass(frozen=True)
class Told:
    """Who is told of what: an estimator's callbacks of a task."""

    owner: Any
    context: Any


class TellsEpochs(Callback):
    """Tells scikit-learn's callbacks of each epoch of a training.

    Parameters
    ----------
    told : Told
        Who is told, and of which task epochs are parts.
    """

    def __init__(self, told: Told) -> None:
        self.told = told

    def on_epoch_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        """Begin a task."""
        owner = self.told.owner
        self.epoch_ = self.told.context.subcontext("epoch").call_on_fit_task_begin(estimator=owner)

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        """End it."""
        self.epoch_.call_on_fit_task_end(estimator=self.told.owner)


def _told(
    told: Told,
    of_epochs: bool,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    options: dict[str, Any],
) -> Any:
    if of_epochs:
        options = options | {"callback": TellsEpochs(told)}
    told.context.call_on_fit_task_begin(estimator=told.owner)
    result = function(*args, **options)
    told.context.call_on_fit_task_end(estimator=told.owner)
    return result
