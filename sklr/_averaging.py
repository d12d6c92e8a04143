"""Averages of weights, and the statistics of BatchNorm that belong to them."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from skorch import NeuralNet
from skorch.dataset import get_len, unpack_data
from torch.nn.modules.batchnorm import _BatchNorm

StateDict = dict[str, torch.Tensor]


def averaged_state(states: Sequence[StateDict], weights: Any = None) -> StateDict:
    """Return the weighted mean of state dicts; of what is no float, such as a counter, the last.

    Parameters
    ----------
    states : sequence of dict
        State dicts of one module.
    weights : array-like of shape (n_states,), default=None
        Their weights; None weighs all equally.

    References
    ----------
    Izmailov, Podoprikhin, Garipov, Vetrov, Wilson: Averaging weights leads to wider optima and
    better generalization. UAI 2018.
    """
    parts = np.ones(len(states)) if weights is None else np.asarray(weights, dtype=float)
    parts = parts / parts.sum()
    average = {}
    for name, last in states[-1].items():
        if isinstance(last, torch.Tensor) and torch.is_floating_point(last):
            terms = [state[name].double() * part for state, part in zip(states, parts, strict=True)]
            average[name] = torch.stack(terms).sum(dim=0).to(last.dtype)
        else:
            average[name] = copy.deepcopy(last)
    return average


class TrailingAverage:
    """The average of a module's parameters over about the last tenth of the steps so far.

    The weight of a step grows with the ninth power of its number, so that the average follows a
    training of any length (Shamir and Zhang's polynomial decay averaging). A net at a rate that is
    held has, at its averaged weights, about the loss to which a falling rate would bring it.

    References
    ----------
    Shamir, Zhang: Stochastic gradient descent for non-smooth optimization: convergence results and
    optimal averaging schemes. ICML 2013.
    """

    POWER = 9

    def __init__(self) -> None:
        self.n_steps = 0
        self.parameters: list[torch.Tensor] = []

    @torch.no_grad()
    def update(self, module: torch.nn.Module) -> None:
        """Take the parameters after another step."""
        self.n_steps += 1
        if not self.parameters:
            # Not before the first step, in which lazy layers get theirs.
            self.parameters = [parameter.detach().clone() for parameter in module.parameters()]
        weight = (1 + self.POWER) / (self.n_steps + self.POWER)
        for average, parameter in zip(self.parameters, module.parameters(), strict=True):
            if average.is_floating_point() or average.is_complex():
                average.lerp_(parameter, weight)
            else:
                average.copy_(parameter)

    @contextmanager
    def applied(self, net: NeuralNet, batches: Iterable[Any]) -> Iterator[None]:
        """Give the net the average, with its own statistics of BatchNorm, for a while.

        Parameters
        ----------
        net : NeuralNet
            The net whose module is averaged.
        batches : iterable
            Of its training data; read only if it has BatchNorm layers.
        """
        module = net.module_
        before = [parameter.detach().clone() for parameter in module.parameters()]
        buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
        _set_parameters(module, self.parameters)
        try:
            reestimate_batch_norm(net, batches)
            yield
        finally:
            _set_parameters(module, before)
            with torch.no_grad():
                for name, buffer in module.named_buffers():
                    buffer.copy_(buffers[name])


@torch.no_grad()
def _set_parameters(module: torch.nn.Module, values: Sequence[torch.Tensor]) -> None:
    for parameter, value in zip(module.parameters(), values, strict=True):
        parameter.copy_(value)


def reestimate_batch_norm(net: NeuralNet, batches: Iterable[Any]) -> None:
    """Set the running statistics of a net's BatchNorm layers to those of all samples.

    One pass with layers that normalize by each batch's own statistics, as in training. Every
    sample counts alike, whatever the size of its batch: torch's cumulative average and
    `torch.optim.swa_utils.update_bn` weigh a short last batch as much as the others. A batch of
    one sample that has no variance is left out; where all are, the statistics stay. Layers that
    the module itself keeps from training keep theirs.

    Parameters
    ----------
    net : NeuralNet
        A fitted net; left in evaluation mode.
    batches : iterable
        Of its training data, as its DataLoader gives them.
    """
    net._set_training(True)
    layers = [
        layer
        for layer in net.module_.modules()
        if isinstance(layer, _BatchNorm) and layer.track_running_stats and layer.training
    ]
    net._set_training(False)
    if not layers:
        return
    moments = {layer: _Moments() for layer in layers}
    with _training_only(net, layers), _watched(moments), torch.no_grad():
        for batch in batches:
            inputs, _ = unpack_data(batch)
            try:
                net.infer(inputs)
            except ValueError:
                # A sample alone, of one value a channel: BatchNorm refuses it.
                if get_len(inputs) > 1:
                    raise
    for layer, moment in moments.items():
        # Both are there, since the layer tracks its statistics.
        if moment.count < 2 or layer.running_mean is None or layer.running_var is None:
            continue
        mean, variance = moment.result()
        layer.running_mean.copy_(mean)
        layer.running_var.copy_(variance)


class _Moments:
    """Mean and unbiased variance of each channel over all batches (Chan et al. 1983)."""

    def __init__(self) -> None:
        self.count = 0
        self.mean: Any = 0.0
        self.squares: Any = 0.0

    def add(self, inputs: torch.Tensor) -> None:
        """Add a batch, of shape (n, channels, ...)."""
        channels = inputs.detach().double().transpose(0, 1).flatten(1)
        count = channels.shape[1]
        if count < 2:
            return
        mean = channels.mean(dim=1)
        distance = mean - self.mean
        total = self.count + count
        self.squares = (
            self.squares
            + ((channels - mean[:, None]) ** 2).sum(dim=1)
            + distance**2 * (self.count * count / total)
        )
        self.mean = self.mean + distance * (count / total)
        self.count = total

    def result(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean and variance, each of shape (channels,)."""
        return self.mean, self.squares / max(self.count - 1, 1)


@contextmanager
def _training_only(net: NeuralNet, layers: Sequence[_BatchNorm]) -> Iterator[None]:
    """Put some layers in training mode, and all others in evaluation mode."""
    net._set_training(False)
    kept = [
        (layer, layer.running_mean, layer.running_var, layer.num_batches_tracked)
        for layer in layers
    ]
    for layer, mean, variance, count in kept:
        # In training a layer moves its statistics: these are copies.
        layer.running_mean = None if mean is None else mean.clone()
        layer.running_var = None if variance is None else variance.clone()
        layer.num_batches_tracked = None if count is None else count.clone()
        layer.train()
    try:
        yield
    finally:
        for layer, mean, variance, count in kept:
            layer.running_mean, layer.running_var = mean, variance
            layer.num_batches_tracked = count
            layer.eval()


@contextmanager
def _watched(moments: dict[Any, _Moments]) -> Iterator[None]:
    """Add what comes to each layer to its moments."""
    handles = [
        layer.register_forward_pre_hook(
            lambda _, args, kwargs, moment=moment: moment.add(*args, *kwargs.values()),
            with_kwargs=True,
        )
        for layer, moment in moments.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
