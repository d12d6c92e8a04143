"""Probes: short trainings at candidate rates, of which ever fewer go on; held-out data decides."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import clone
from skorch import NeuralNet
from skorch.callbacks import Callback

from sklr import schedules
from sklr._curves import smooth
from sklr._training._dry_run import begin
from sklr._training._evaluation import Judge
from sklr._training._parallel import Tasks
from sklr._training._seeding import seeded
from sklr.callbacks import Schedule
from sklr.range_search import _budget
from sklr.range_search._preparation import Material

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
OVERFIT = 0.005
"""A held-out loss this part above its least has turned upwards."""
LEARNT = 0.2
"""A net whose held-out loss fell by this part has learned something: one that cannot learn comes
no further than to predicting a mean, or the shares of the classes."""
RATE, CHECKS = "sklr_rate", "sklr_checkpoints"
"""Names of a probe's callbacks, which no callback of the user's is likely to have."""


class ProbeEnd(KeyboardInterrupt):
    """Ends a training at the end of a round, in the way that skorch understands."""


class _Checkpoints(Callback):
    """Judges the net after some steps, and ends the training after the last of them."""

    def initialize(self) -> _Checkpoints:
        """Begin to count; a training that goes on counts on."""
        self.done_ = 0
        self.losses_: list[float] = []
        return self

    def expect(self, steps: tuple[int, ...], judge: Judge | None) -> None:
        """Say after which steps to judge, and how; None lets go of the held-out data."""
        self.steps_ = steps
        self.judge_ = judge

    def on_batch_end(
        self, net: NeuralNet, training: bool | None = None, loss: Any = None, **kwargs: Any
    ) -> None:
        """Judge where it is due."""
        if not training:
            return
        self.done_ += 1
        failed = not math.isfinite(loss.item())
        if failed:
            self.losses_.append(math.inf)
        elif self.judge_ is not None and self.done_ in self.steps_:
            self.losses_.append(self.judge_(net))
        if self.done_ >= self.steps_[-1] or math.inf in self.losses_:
            raise ProbeEnd


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
        Held-out losses, or minus the scores, at the checkpoints.
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


def run_probes(
    tasks: Tasks, material: Material, best_lr: float, left: int, seed: int, *, verbose: bool
) -> list[Probe]:
    """Train the candidates, ever fewer of them; the best of the last round comes first.

    Parameters
    ----------
    tasks : Tasks
        Runs them in parallel.
    material : Material
        What they train on.
    best_lr : float
        The rate of least loss of the averaged curve.
    left : int
        Steps for all of them.
    seed : int
        The same for all: they differ by their rates only.
    verbose : bool
        Whether to print a line a round.
    """
    rounds = _budget.rounds(left)
    marks = checkpoints(rounds[-1][1])
    going = [Probe(lr, 0, [], None) for lr in candidates(best_lr)]
    ended: list[Probe] = []
    for number, (count, steps) in enumerate(rounds):
        ended = [*going[count:], *ended]
        now = tuple(sorted({mark for mark in marks if mark < steps} | {steps}))
        arguments = [(material, probe, now, (seed + number) % 2**32) for probe in going[:count]]
        name = f"probes, round {number + 1} of {len(rounds)}"
        going = sorted(tasks.run(name, train_on, arguments), key=recent)
        if verbose:
            print(
                f"LRRangeSearch: {name}: of {len(going)} rates {going[0].lr:.2g} is best after "
                f"{going[0].steps} steps"
            )
    return [*going, *ended]


def train_on(material: Material, probe: Probe, marks: tuple[int, ...], seed: int) -> Probe:
    """Train a candidate up to the last of the marks, from fresh weights or from where it was."""
    assert material.judge is not None
    if probe.net is None:
        net = clone(material.net)
        rate = Schedule(schedules.Constant(lr=probe.lr))
        watch = _Checkpoints()
        net.callbacks = [*(net.callbacks or []), (RATE, rate), (CHECKS, watch)]
        net.set_params(max_epochs=marks[-1])
        fit = net.fit
    else:
        net, fit = probe.net, probe.net.partial_fit
        watch = dict(net.callbacks_)[CHECKS]
    watch.expect(marks, material.judge)
    with seeded(seed):
        fit(material.X, material.y, **material.fit_params)
    watch = dict(net.callbacks_)[CHECKS]
    ended = watch.done_ >= marks[-1] or math.inf in watch.losses_
    if not ended:
        raise KeyboardInterrupt
    # The net goes from process to process; the data need not.
    watch.expect((), None)
    return Probe(probe.lr, watch.done_, list(watch.losses_), net)


def table(probes: Sequence[Probe], *, scored: bool) -> dict[str, npt.NDArray[Any]]:
    """Give one row a candidate, the best first."""
    judged = np.array([recent(probe) for probe in probes], dtype=float)
    return {
        "lr": np.array([probe.lr for probe in probes], dtype=float),
        "steps": np.array([probe.steps for probe in probes], dtype=int),
        "score" if scored else "loss": -judged if scored else judged,
    }


def recent(probe: Probe) -> float:
    """Give what a candidate is judged by: the mean of its last fifth of checkpoints."""
    return float(np.mean(probe.losses[-max(1, round(len(probe.losses) / 5)) :]))


def have_learned(material: Material, probes: Sequence[Probe], seed: int) -> bool:
    """Tell whether both candidates of the last round have learned something.

    Parameters
    ----------
    material : Material
        What they trained on.
    probes : sequence of Probe
        The best first.
    seed : int
        The one that they began with.
    """
    assert material.judge is not None
    with seeded(seed):
        before = material.judge(begin(clone(material.net), material.X, material.y))
    finalists = probes[: _budget.KEPT[-1]]
    return all(before - recent(probe) > LEARNT * abs(before) for probe in finalists)


def verdict(probe: Probe, training_steps: int) -> float:
    """Give the constant rate for a whole training that the best candidate speaks for.

    Where its held-out loss has turned upwards, a rate that comes to the turn only at the end of
    the training is lower in proportion; half of that, on the log scale, is what is lowered, since
    the loss's least is not known exactly.
    """
    return probe.lr * CAUTION * math.sqrt(horizon(probe, training_steps))


def horizon(probe: Probe, training_steps: int) -> float:
    """Give the part of a whole training after which a held-out loss turns upwards; else 1."""
    losses = smooth(np.array(probe.losses))
    turn = (int(np.argmin(losses)) + 1) / len(losses) * probe.steps
    overfits = losses[-1] > losses.min() + OVERFIT * abs(losses.min())
    return min(1.0, turn / training_steps) if overfits else 1.0
