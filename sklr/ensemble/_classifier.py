"""The snapshot ensemble of classifier nets, with the interface of a VotingClassifier."""

from __future__ import annotations

from collections.abc import Iterator
from os import PathLike
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import ClassifierMixin
from sklearn.ensemble import VotingClassifier
from sklearn.preprocessing import LabelEncoder
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted
from skorch import NeuralNet
from torch.utils.data import Dataset

from sklr._training._dry_run import DryRun
from sklr._training._evaluation import class_weights, log_losses
from sklr._training._inputs import check_inputs
from sklr._training._labels import Labels, chosen_indices
from sklr._validation import ParameterValueError, check_flag, check_option
from sklr._warnings import warn
from sklr.callbacks._base import ScheduleCallback
from sklr.ensemble._base import BaseSnapshotEnsemble
from sklr.ensemble._diversity import Uncertainty, entropy_parts
from sklr.ensemble._export import ClassifierMember, fitted_voting
from sklr.ensemble._prediction import is_skorchs
from sklr.ensemble._selection import Array

VOTING = ("soft", "hard")


def _is_soft(ensemble: SnapshotEnsemble) -> bool:
    if ensemble.voting == "hard":
        raise AttributeError(f"predict_proba is not available when voting={ensemble.voting!r}")
    return True


class SnapshotEnsemble(ClassifierMixin, BaseSnapshotEnsemble):
    """Train one net, get M members for free, and let them vote.

    The net is trained once, with a cyclic schedule; the weights at the moments that the schedule
    names (the ends of its cycles; for FastGeometric their middles) make the members. The interface
    is that of scikit-learn's VotingClassifier, with soft voting by default.

    Parameters
    ----------
    estimator : NeuralNetClassifier or NeuralNetBinaryClassifier
        The net to train; it is cloned.
    n_snapshots : int, default=None
        Number of cycles of the default schedule; None is 5. With any other schedule it must be
        None or equal to the number of its cycles.
    schedule : schedule callback, default=None
        Any callback of `sklr.callbacks` with a schedule of its own; None is the net's own schedule
        if it has one, else ``FastGeometric(pretrain_fraction=0.5)``, which did best on validation
        data.
    n_members : int, default=None
        Keep the last so many snapshots; None keeps all.
    voting : {'soft', 'hard'}, default='soft'
        Average the probabilities, or count the votes.
    weights : array-like of shape (n_members,) or 'greedy', default=None
        Weights of the members; None weighs all equally. 'greedy' learns them by ensemble selection
        (Caruana et al. 2004) on the net's validation data, where samples and classes count as they
        do in the loss.
    combine : {'predictions', 'parameters'}, default='predictions'
        Average the members' predictions, or their weights (stochastic weight averaging) into one
        net, whose BatchNorm statistics are estimated anew; warns if that is materially worse than
        the members are on average.
    n_runs : int, default=1
        Independent trainings, each from a seed of its own; their snapshots are members together.
    n_jobs : int, default=None
        Trainings at once, as in joblib.
    flatten_transform : bool, default=True
        Shape of `transform` with soft voting: (n_samples, n_members * n_classes), else
        (n_members, n_samples, n_classes).
    checkpoint_dir : path, default=None
        Folder for what a training needs to go on, written at the end of each epoch. A fit of the
        same estimator, data and `random_state` that was interrupted goes on from there, and ends
        bit for bit as if it had not been; with ``random_state=None`` it takes up the seed. One
        that was finished is taken from there as it is.
        Needs safetensors (``pip install 'sklr[checkpoint]'``). Callbacks with a state of their
        own, which could not be restored, raise an error.
    random_state : int, RandomState instance or None, default=None
        Seeds the training; None draws one seed from numpy's global state.
    verbose : int, default=0
        1 prints a line a snapshot.

    Attributes
    ----------
    estimators_ : list of NeuralNet
        The members, oldest first: the nets, which take arrays and see integer-encoded labels.
    named_estimators_ : Bunch
        The members as snapshot_1, snapshot_2, ...; with several runs as run_1_snapshot_1, ...; with
        ``combine='parameters'`` the one net as average.
    le_ : LabelEncoder
        Of the labels.
    classes_ : ndarray of shape (n_classes,)
        The labels.
    n_features_in_ : int
        Number of features seen in fit.
    weights_ : ndarray of shape (n_members,)
        The members' weights in fit, which sum to 1; `weights` set anew acts at once.
    member_scores_ : ndarray of shape (n_members,) or None
        Each member's accuracy on the net's validation data (its `train_split`), weighted by
        `sample_weight`; None if there is none, or several runs validate on different samples. With
        ``combine='parameters'`` those of the snapshots that were averaged.
    diversity_ : Bunch or None
        `correlation` and `disagreement` of pairs of them on the same data, each of shape
        (n_members, n_members); None likewise.
    snapshot_steps_ : list of int
        The counts of completed steps after which the snapshots of the (first) run were taken.
    loss_barrier_ : float
        With ``combine='parameters'``: by how much the loss (log-loss, or squared error) of the
        averaged weights exceeds the mean of the snapshots', on validation data if there is some,
        else on the training data.
    history_ : History
        skorch's history of the (first) training.
    histories_ : list of History
        Of each run.

    Raises
    ------
    TypeError, ValueError
        At the start of fit, if a parameter is out of range.

    References
    ----------
    Huang, Li, Pleiss, Liu, Hopcroft, Weinberger: Snapshot ensembles: train 1, get M for free.
    ICLR 2017.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skorch import NeuralNetClassifier
    >>> from torch import nn
    >>> from sklr import SnapshotEnsemble
    >>> X, y = load_digits(return_X_y=True)
    >>> net = NeuralNetClassifier(
    ...     nn.Linear(64, 10), criterion=nn.CrossEntropyLoss, max_epochs=10, lr=0.5, verbose=0
    ... )
    >>> ensemble = SnapshotEnsemble(net, weights="greedy", random_state=0).fit(X / 16, y)
    >>> len(ensemble.estimators_)
    5
    >>> ensemble.score(X / 16, y) > 0.9
    True
    """

    _regressor = False

    def __init__(
        self,
        estimator: NeuralNet,
        *,
        n_snapshots: int | None = None,
        schedule: ScheduleCallback | None = None,
        n_members: int | None = None,
        voting: str = "soft",
        weights: npt.ArrayLike | str | None = None,
        combine: str = "predictions",
        n_runs: int = 1,
        n_jobs: int | None = None,
        flatten_transform: bool = True,
        checkpoint_dir: str | PathLike[str] | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        super().__init__(
            estimator,
            n_snapshots=n_snapshots,
            schedule=schedule,
            n_members=n_members,
            weights=weights,
            combine=combine,
            n_runs=n_runs,
            n_jobs=n_jobs,
            checkpoint_dir=checkpoint_dir,
            random_state=random_state,
            verbose=verbose,
        )
        self.voting = voting
        self.flatten_transform = flatten_transform

    def _check_params(self) -> None:
        super()._check_params()
        check_option(self, "voting", self.voting, VOTING)
        check_flag(self, "flatten_transform", self.flatten_transform)

    def _encoded(self, X: Any, y: Any) -> Array:
        labels = Labels.of(self.estimator, y)
        if isinstance(X, Dataset) and not np.array_equal(labels.classes, labels.codes):
            requirement = (
                "be 0, 1, ... if X is a torch Dataset, on whose own labels the net is trained"
            )
            raise ParameterValueError(self, "y", requirement, y)
        self._keep(labels)
        return labels.encode(y)

    def _keep(self, labels: Labels) -> None:
        # `_check_outputs`, which comes later in fit, needs them, as does `_finished`.
        self._labels = labels
        self.le_: LabelEncoder = labels.encoder
        self.classes_ = labels.classes

    def _restore_labels(self, classes: Array) -> None:
        """Keep the labels of an ensemble that is loaded.

        Raises
        ------
        ValueError
            If the net has other labels.
        """
        labels = Labels.of_seen(self.estimator, np.unique(classes))
        if not np.array_equal(labels.classes, classes):
            raise ValueError(f"its labels are {list(classes)}, the net's {list(labels.classes)}")
        self._keep(labels)

    def _check_outputs(self, dry: DryRun) -> None:
        """Check that there are enough outputs; report what is made of surplus ones, and others."""
        labels, output = self._labels, dry.output
        # Not as many as labels: the labels may stand for some of more outputs.
        dry.check_outputs(self, int(labels.codes.max()) + 1)
        if output is None:
            return
        n_classes = len(labels.classes)
        if self.verbose and output.shape[-1] > n_classes:
            print(
                f"The net has {output.shape[-1]} outputs for {n_classes} classes: the others are "
                "dropped, and probabilities made to sum to 1 again."
            )
        if (output < 0).any() or not np.allclose(output.sum(axis=-1), 1, atol=1e-3):
            warn(
                "The net's predict_proba gives no probabilities: they are negative or do not sum "
                "to 1. They are averaged as they are. If its module gives logits, use "
                "criterion=torch.nn.CrossEntropyLoss; with a loss of your own set "
                "predict_nonlinearity=functools.partial(torch.softmax, dim=-1)."
            )

    def _finished(self, member: NeuralNet) -> NeuralNet:
        # skorch's own fit infers these labels; members are loaded with weights and never fitted.
        member.classes_inferred_ = np.sort(self._labels.codes)
        return member

    def _finish(self, output: Array) -> Array:
        return self._labels.select(output)

    def _comparable(self, y: Array) -> Array:
        return self._labels.indices(np.asarray(y).reshape(len(y)))

    def _score_of(self, output: Array, y: Array, weights: Array | None) -> float:
        return float(np.average(chosen_indices(self.estimators_[0], output) == y, weights=weights))

    def _losses_of(self, output: Array, y: Array) -> Array:
        return log_losses(output, y)

    def _loss_weights(self, y: Array, weights: Array | None) -> Array | None:
        of_classes = class_weights(self.estimators_[0], self._labels.codes)
        if of_classes is None:
            return weights
        of_samples = of_classes[y] if weights is None else of_classes[y] * weights
        # A class that counts for nothing may be all that there is.
        return of_samples if of_samples.any() else weights

    def predict(self, X: Any) -> Array:
        """Return the labels with the most votes, or the highest mean probability.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples,)
            Labels. Ties go to the first class.
        """
        if self.voting == "soft":
            proba = self._average(X)
            return self._labels.choose(self.estimators_[0], proba)
        shares = np.average(self._votes(X), axis=0, weights=self._weights_of_members())
        return np.asarray(self.classes_[shares.argmax(axis=1)])

    def _choices(self, X: Any) -> Array:
        """Return the index of the class that each member predicts, shape (n_members, n_samples)."""
        check_is_fitted(self)
        # A net's class may choose labels in a way of its own, which probabilities would not show.
        if not is_skorchs(self.estimators_[0], ("predict",)):
            X = check_inputs(self, X, reset=False)
            own = [self._labels.indices(member.predict(X)) for member in self.estimators_]
            return np.stack(own)
        return self._over_slices(X, self._decisions, axis=1)

    def _decisions(self, outputs: Array) -> Array:
        return np.array([chosen_indices(self.estimators_[0], output) for output in outputs])

    def _votes(self, X: Any) -> Array:
        """Return the members' votes: 1 for a class, shape (n_members, n_samples, n_classes)."""
        chosen = self._choices(X)
        # Rows of the identity matrix have a 1 in the column of the class.
        return np.eye(len(self.classes_))[chosen]

    @available_if(_is_soft)
    def predict_proba(self, X: Any) -> Array:
        """Return the mean of the members' probabilities; only with soft voting.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
        """
        return self._average(X)

    @available_if(_is_soft)
    def staged_predict_proba(self, X: Any) -> Iterator[Array]:
        """Yield the probabilities of the last 1, 2, ... members.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Samples.

        Yields
        ------
        ndarray of shape (n_samples, n_classes)
        """
        yield from self._staged(self._outputs(X))

    def staged_predict(self, X: Any) -> Iterator[Array]:
        """Yield the labels that the last 1, 2, ... members predict.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Samples.

        Yields
        ------
        ndarray of shape (n_samples,)
        """
        if self.voting == "soft":
            for proba in self._staged(self._outputs(X)):
                yield self._labels.choose(self.estimators_[0], proba)
            return
        for shares in self._staged(self._votes(X)):
            yield self.classes_[shares.argmax(axis=1)]

    def predict_uncertainty(self, X: Any) -> Uncertainty:
        """Return the predictive uncertainty of samples, as aleatoric and epistemic uncertainty.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Samples.

        Returns
        -------
        Uncertainty
            `total`, `aleatoric` and `epistemic`, each of shape (n_samples,), in nats: the entropy
            of the mean probabilities, the mean of the members' entropies, and their difference,
            which is high if the members disagree.
        """
        return entropy_parts(self._outputs(X), self._weights_of_members())

    def transform(self, X: Any) -> Array:
        """Return each member's prediction for each sample.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Samples.

        Returns
        -------
        ndarray
            Soft voting: probabilities of shape (n_samples, n_members * n_classes), or (n_members,
            n_samples, n_classes) with ``flatten_transform=False``. Hard voting: encoded labels of
            shape (n_samples, n_members).
        """
        if self.voting == "hard":
            return np.asarray(self._choices(X).T)
        outputs = self._outputs(X)
        # As VotingClassifier: all classes of the first member, then those of the next.
        return np.hstack(list(outputs)) if self.flatten_transform else outputs

    def to_voting(self) -> VotingClassifier:
        """Return scikit-learn's own ensemble of the members.

        Returns
        -------
        VotingClassifier
            Fitted; it makes the same predictions.
        """
        voting = fitted_voting(
            VotingClassifier,
            self,
            lambda net, n_features: ClassifierMember(net, n_features, self._labels),
            voting=self.voting,
            flatten_transform=self.flatten_transform,
        )
        # It decodes what the members predict: the labels as the user knows them.
        voting.le_ = self.le_
        voting.classes_ = self.classes_
        return voting

    def _column_names(self) -> list[str]:
        names = super()._column_names()
        if self.voting == "hard":
            return names
        if not self.flatten_transform:
            raise ValueError(
                "get_feature_names_out is not supported when voting='soft' and "
                "flatten_transform=False."
            )
        return [f"{name}{i}" for name in names for i in range(len(self.classes_))]
