"""Assess members on validation data: scores, losses, diversity, and weights learned from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from skorch import NeuralNet
from skorch.dataset import unpack_data
from skorch.utils import to_numpy
from torch.utils.data import Dataset

from sklr._training._evaluation import weighted_mean as mean_of_samples
from sklr._training._holdout import Holdout
from sklr._training._inputs import n_samples, take_rows
from sklr._warnings import warn
from sklr.ensemble._diversity import diversity
from sklr.ensemble._members import Data
from sklr.ensemble._parameters import given_weights, has_given_weights
from sklr.ensemble._prediction import joined, member_outputs
from sklr.ensemble._selection import (
    Array,
    better_stage,
    greedy_weights,
    is_materially_higher,
    normalized,
    staged_means,
    weighted_mean,
)

if TYPE_CHECKING:
    from sklr.ensemble._base import BaseSnapshotEnsemble


MIN_SAMPLES = 30
"""Of fewer validation samples noise says whether a member is better than a constant prediction."""


@dataclass(frozen=True)
class Sample:
    """Data that members are assessed on.

    Attributes
    ----------
    name : str
        'validation' or 'training', for messages.
    X : object
        Samples, as the net takes them.
    y : ndarray of shape (n_samples,)
        Targets, as the ensemble compares them with predictions.
    weights : ndarray of shape (n_samples,) or None
        Weights of the samples, none of them 0.
    """

    name: str
    X: Any
    y: Array
    weights: Array | None


def read_targets(net: NeuralNet, dataset: Dataset[Any]) -> Array:
    """Return the targets that a torch Dataset holds, read in one pass."""
    # By the net's own iterator, which may read it in several processes.
    batches = net.get_iterator(dataset, training=False)
    return np.concatenate([np.asarray(to_numpy(unpack_data(batch)[1])) for batch in batches])


def validation_sample(
    ensemble: BaseSnapshotEnsemble, holdout: Holdout, data: Data
) -> Sample | None:
    """Return the validation data of a training; None if it has none, or all weights are 0."""
    if holdout.dataset is not None:
        # Weights are those of the samples that fit was given, which these are not.
        targets = ensemble._comparable(read_targets(ensemble.estimator, holdout.dataset))
        return Sample("validation", holdout.dataset, targets, None)
    if holdout.valid_rows is None:
        return None
    return sample_of_rows("validation", ensemble, holdout.valid_rows, data)


def sample_of_rows(
    name: str, ensemble: BaseSnapshotEnsemble, rows: Array | None, data: Data
) -> Sample | None:
    """Return rows of the data (None is all), without those of weight 0; None if none is left."""
    rows, weights = np.arange(n_samples(data.X)) if rows is None else rows, None
    if data.weights is not None:
        # A sample of weight 0 counts for nothing, and a mean over none but such ones is NaN.
        rows = rows[data.weights[rows] > 0]
        weights = data.weights[rows]
    if len(rows) == 0:
        return None
    targets = ensemble._comparable(take_rows(data.y, rows))
    return Sample(name, take_rows(data.X, rows), targets, weights)


def assess_members(ensemble: BaseSnapshotEnsemble, sample: Sample | None) -> None:
    """Set weights, scores and diversity of the members, and warn of weak ones.

    Parameters
    ----------
    ensemble : SnapshotEnsemble or SnapshotEnsembleRegressor
        With members.
    sample : Sample or None
        Validation data of all runs; None if there is none, or each run has its own: what one run
        validates on, another may be trained on.
    """
    ensemble.diversity_, ensemble.member_scores_ = None, None
    weights = np.ones(len(ensemble.estimators_))
    if sample is not None:
        outputs = _outputs(ensemble, ensemble.estimators_, sample)
        ensemble.diversity_ = diversity(outputs, ensemble._decisions(outputs))
        ensemble.member_scores_ = np.array(
            [ensemble._score_of(output, sample.y, sample.weights) for output in outputs]
        )
        in_loss = ensemble._loss_weights(sample.y, sample.weights)
        at_chance = _warn_of_chance(ensemble, outputs, sample.y, in_loss)
        if isinstance(ensemble.weights, str):
            weights = greedy_weights(
                outputs, lambda mean: mean_of_samples(ensemble._losses_of(mean, sample.y), in_loss)
            )
        # Weights that the user gave are their own choice; an average of parameters has a warning of
        # its own.
        elif ensemble.weights is None and ensemble.combine == "predictions" and not at_chance:
            _warn_of_weak_members(ensemble, outputs, sample.y, in_loss)
    if has_given_weights(ensemble):
        weights = given_weights(ensemble, len(ensemble.estimators_))
    ensemble.weights_ = normalized(weights)


def _outputs(ensemble: BaseSnapshotEnsemble, members: list[NeuralNet], sample: Sample) -> Array:
    """Return the members' predictions, shape (n_members, n_samples, ...)."""
    parts = member_outputs(members, sample.X, ensemble._finish, ensemble._method)
    return joined(parts, len(sample.y), axis=1)


def _warn_of_weak_members(
    ensemble: BaseSnapshotEnsemble, outputs: Array, y: Array, weights: Array | None
) -> None:
    """Warn if the last members do better without the earlier ones."""
    # Members of one place in all runs are of one stage: dropping early ones drops them in each run.
    stages = staged_means(outputs, None, ensemble._members_of_runs)
    losses = [ensemble._losses_of(mean, y) for mean in stages]
    best = better_stage(losses, weights)
    if best is None:
        return
    each = " of each run" if len(ensemble._members_of_runs) > 1 else ""
    least, whole = (mean_of_samples(losses[i], weights) for i in (best - 1, -1))
    warn(
        f"The last {best} of {len(losses)} members{each} have a validation loss of {least:.3g}, "
        f"all together one of {whole:.3g}: the earlier ones are weak. A higher learning rate (see "
        "LRRangeSearch) or a longer training makes better ones; else use weights='greedy' or "
        f"n_members={best}{', which is the single net' if best == 1 else ''}."
    )


def _warn_of_chance(
    ensemble: BaseSnapshotEnsemble, outputs: Array, y: Array, weights: Array | None
) -> bool:
    """Warn if no member is better than a constant prediction; return whether that is so."""
    counts = np.ones(len(y)) if weights is None else weights
    if np.count_nonzero(counts) < MIN_SAMPLES:
        return False
    decisions = ensemble._decisions(outputs)
    # The constant of least loss: the shares of the classes, or the mean.
    constant = np.average(y, weights=counts)
    if decisions is not None:
        constant = np.bincount(y, counts, minlength=outputs.shape[-1]) / counts.sum()
    least = ensemble._losses_of(np.broadcast_to(constant, outputs[0].shape), y)
    losses = [mean_of_samples(ensemble._losses_of(output, y), weights) for output in outputs]
    known = mean_of_samples(least, weights)
    # Any lower loss has learned something, but for rounding; one that is not finite has not.
    if known == 0 or any(loss < known * (1 - 1e-6) for loss in losses):
        return False
    if decisions is not None:
        # Probabilities that are too sure of themselves have a high loss, however accurate they are.
        wrong = (y != np.argmax(constant)).astype(float)
        if any(is_materially_higher(wrong, (y != own).astype(float), weights) for own in decisions):
            return False
    n_members = len(outputs)
    what = "The only member is not" if n_members == 1 else f"None of the {n_members} members is"
    always = "the mean" if decisions is None else "the shares of the classes"
    warn(
        f"{what} better on the validation data than always predicting {always} (least loss "
        f"{min(losses):.3g}, against {known:.3g}): the ensemble is of no use yet. Find a learning "
        "rate with LRRangeSearch, train longer, and check the data and the net."
    )
    return True


def assess_average(ensemble: BaseSnapshotEnsemble, average: NeuralNet, sample: Sample) -> None:
    """Set `loss_barrier_`, and warn if averaging the weights makes the loss materially higher."""
    weights = ensemble._loss_weights(sample.y, sample.weights)
    (averaged,) = _outputs(ensemble, [average], sample)
    losses = ensemble._losses_of(averaged, sample.y)
    outputs = _outputs(ensemble, ensemble.estimators_, sample)
    of_members = [ensemble._losses_of(output, sample.y) for output in outputs]
    others = weighted_mean(np.stack(of_members), ensemble.weights_)
    loss, mean = mean_of_samples(losses, weights), mean_of_samples(others, weights)
    ensemble.loss_barrier_ = loss - mean
    if is_materially_higher(losses, others, weights):
        warn(
            f"The averaged weights have a {sample.name} loss of {loss:.3g}, the snapshots one of "
            f"{mean:.3g} on average: they lie in different basins. Use combine='predictions', or "
            "shorter cycles at a lower rate."
        )
