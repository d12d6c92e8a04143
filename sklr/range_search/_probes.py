"""Probes: short trainings at candidate rates, of which ever fewer go on; held-out loss decides."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.base import clone
from skorch import NeuralNet
from skorch.callbacks import Callback
from skorch.dataset import get_len

from sklr import schedules
from sklr._curves import smooth
from sklr._nets import seeded
from sklr.callbacks import Schedule
from sklr.range_search._material import Material

OFFSETS = tuple(step / 3 for step in range(-6, 2))
"""Candidates in decades from the rate of least loss: the best of most tasks lies below it, of some
two decades below."""
CHECKPOINTS = 14
"""Validations of a candidate that comes to the last round."""
CAUTION = 10**-0.1
"""What the best probe's rate is multiplied by: a rate too high costs more than one too low, and a
high rate looks better in a training that ends before it overfits."""
PEAK = 2.0
"""The peak of a cycle over the best constant rate."""
OVERFIT = 1.005
"""A held-out loss this much above its least has turned upwards."""


class ProbeEnd(KeyboardInterrupt):
    """Ends a training at the end of a round, in the way that skorch understands."""


class _Checkpoints(Callback):
    """Validates the net after some steps, and ends the training after the last of them."""

    def __init__(self, held_out: Any, steps: tuple[int, ...]) -> None:
        self.held_out = held_out
        self.steps = steps

    def initialize(self) -> _Checkpoints:
        """Begin to count; a training that goes on counts on."""
        self.done_ = 0
        self.losses_: list[float] = []
        return self

    def on_batch_end(
        self, net: NeuralNet, training: bool | None = None, loss: Any = None, **kwargs: Any
    ) -> None:
        """Validate where it is due."""
        if not training:
            return
        self.done_ += 1
        failed = not math.isfinite(loss.item())
        if failed or self.done_ in self.steps:
            self.losses_.append(math.inf if failed else held_out_loss(net, self.held_out(net)))
        if self.done_ >= self.steps[-1] or math.inf in self.losses_:
            raise ProbeEnd


def held_out_loss(net: NeuralNet, dataset: Any) -> float:
    """Give the mean loss on a data set; infinite where it is no finite number."""
    total, count = 0.0, 0
    with torch.no_grad():
        for batch in net.get_iterator(dataset, training=False):
            n = get_len(batch[0])
            total += net.validation_step(batch)["loss"].item() * n
            count += n
    return total / count if math.isfinite(total) else math.inf


@dataclass
class Probe:
    """A candidate and how it has done so far.

    Attributes
    ----------
    lr : float
        Its constant rate.
    steps : int
        Training batches so far.
    losses : list of float
        Held-out losses at the checkpoints.
    net : NeuralNet or None
        The net in training.
    """

    lr: float
    steps: int
    losses: list[float]
    net: NeuralNet | None


def candidates(best_lr: float) -> list[float]:
    """Give the rates to probe around the rate of least loss of the averaged curve."""
    return [best_lr * 10**offset for offset in OFFSETS]


def checkpoints(last: int) -> tuple[int, ...]:
    """Give the steps after which to validate, of a training of `last` steps at most."""
    return tuple(sorted({math.ceil(last * i / CHECKPOINTS) for i in range(1, CHECKPOINTS + 1)}))


def train_on(material: Material, probe: Probe, marks: tuple[int, ...], seed: int) -> Probe:
    """Train a candidate up to the last of the marks, from fresh weights or from where it was."""
    if probe.net is None:
        net = clone(material.net)
        net.callbacks = [
            *(net.callbacks or []),
            ("sklr_rate", Schedule(schedules.Constant(lr=probe.lr))),
            ("sklr_checkpoints", _Checkpoints(material.held_out, marks)),
        ]
        net.set_params(max_epochs=marks[-1])
        fit = net.fit
    else:
        net, fit = probe.net, probe.net.partial_fit
        dict(net.callbacks_)["sklr_checkpoints"].steps = marks
    with seeded(seed):
        fit(material.X, material.y, **material.fit_params)
    watch = dict(net.callbacks_)["sklr_checkpoints"]
    ended = watch.done_ >= marks[-1] or math.inf in watch.losses_
    if not ended:
        raise KeyboardInterrupt
    return Probe(probe.lr, watch.done_, list(watch.losses_), net)


def recent(probe: Probe) -> float:
    """Give the loss that a candidate is judged by: the mean of its last fifth of checkpoints."""
    return float(np.mean(probe.losses[-max(1, round(len(probe.losses) / 5)) :]))


def verdict(probe: Probe, training_steps: int) -> float:
    """Give the constant rate for a whole training that the best candidate speaks for.

    Where its held-out loss has turned upwards, a rate that comes to the turn only at the end of
    the training is lower in proportion; half of that, on the log scale, is what is lowered, since
    the loss's least is not known exactly.
    """
    losses = smooth(np.array(probe.losses))
    turn = (int(np.argmin(losses)) + 1) / len(losses) * probe.steps
    overfits = losses[-1] > OVERFIT * losses.min()
    shorter = math.sqrt(min(1.0, turn / training_steps)) if overfits else 1.0
    return probe.lr * CAUTION * shorter
