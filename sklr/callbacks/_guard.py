"""Hand an exception that is raised within a training step to a callback.

skorch has no hook for it: an exception of the module, the criterion or the optimizer ends fit. For
as long as one training lasts, `guard_steps` gives the net a class derived from its own, whose
`train_step` catches. Nothing is stored on the net, so that its parameters, clones and pickles stay
as they are; a pickle or deep copy made in mid-training is one of the net's own class.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from skorch import NeuralNet

Handler = Callable[[Exception], None]
"""Takes the exception of a step; if it returns, the exception goes on its way.

To end the training instead, it raises a KeyboardInterrupt, as skorch's callbacks do.
"""


def guard_steps(net: NeuralNet, handler: Handler) -> None:
    """Hand the exceptions of this training's steps to a handler, in place of any before.

    To be called in `on_train_begin`; the end of the training undoes it, however it comes.

    Parameters
    ----------
    net : NeuralNet
        The net that trains.
    handler : callable
        Takes the exception. If it returns, the exception is raised again.
    """
    _handlers[net] = handler
    if not isinstance(net, _GuardedNet):
        own = type(net)
        names = {"__module__": own.__module__, "__qualname__": own.__qualname__, "_own": own}
        net.__class__ = type(own.__name__, (_GuardedNet, own), names)


def _release(net: NeuralNet) -> None:
    _handlers.pop(net, None)
    if isinstance(net, _GuardedNet):
        net.__class__ = net._own


class _GuardedNet(NeuralNet):
    """Base put before a net's own class while its steps are guarded."""

    _own: type[NeuralNet]

    def train_step(self, batch: Any, **fit_params: Any) -> Any:
        try:
            return super().train_step(batch, **fit_params)
        except Exception as error:
            handler = _handlers.get(self)  # None in a clone
            if handler is not None:
                handler(error)
            _release(self)
            raise

    # skorch calls these methods of the net before those of its callbacks.

    def on_train_begin(self, net: NeuralNet, *args: Any, **kwargs: Any) -> Any:
        # An exception elsewhere, as in validation, has left the guard of the training before.
        _release(self)
        return self.on_train_begin(net, *args, **kwargs)

    def on_train_end(self, net: NeuralNet, *args: Any, **kwargs: Any) -> Any:
        _release(self)
        return self.on_train_end(net, *args, **kwargs)

    def __reduce_ex__(self, protocol: Any) -> Any:
        _, _, *state = super().__reduce_ex__(protocol)
        return _new, (self._own,), *state


def _new(kind: type[NeuralNet]) -> NeuralNet:
    """Return a net without its state, for pickle and copy."""
    return object.__new__(kind)


_handlers: WeakKeyDictionary[NeuralNet, Handler] = WeakKeyDictionary()
"""The handlers of the trainings under way."""
