"""Training and validation rows: the net's own split as its fit splits, else a random fifth."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from nets import X_DIGITS, Y_DIGITS, make_classifier, make_regressor
from sklearn.model_selection import GroupKFold, KFold
from skorch.callbacks import Callback
from skorch.dataset import Dataset, ValidSplit
from skorch.helper import predefined_split
from torch.utils.data import IterableDataset, Subset, TensorDataset

from sklr._training._holdout import FixedSplit, all_agree, own_holdout, random_holdout
from sklr._training._plan import plan_training
from sklr._training._seeding import generator_states

GIVEN = Dataset(X_DIGITS[:60], Y_DIGITS[:60])
GROUPS = np.arange(len(X_DIGITS)) % 10


def reversed_split(dataset, y=None):
    half = len(dataset) // 2
    return Subset(dataset, list(range(half, len(dataset)))), Subset(dataset, list(range(half)))


class Rows(Callback):
    """Notes what a training trains on, by the sum of each sample, and validates on."""

    def on_train_begin(self, net, **kwargs):
        self.seen_ = {True: set(), False: set()}

    def on_batch_begin(self, net, batch=None, training=None, **kwargs):
        self.seen_[training] |= set(map(tuple, batch[0].numpy().tolist()))


def rows_of(X, rows):
    return set(map(tuple, X[rows].tolist()))


@pytest.mark.parametrize(
    ("split", "params"),
    [
        (ValidSplit(5), {}),
        (ValidSplit(5, stratified=True), {}),
        (ValidSplit(0.25, random_state=3), {}),
        (ValidSplit(0.25), {}),
        (ValidSplit(KFold(4, shuffle=True, random_state=1)), {}),
        (ValidSplit(GroupKFold(5)), {"groups": GROUPS}),
        (reversed_split, {}),
        (predefined_split(GIVEN), {}),
        (None, {}),
        (False, {}),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_own_split_is_that_of_the_nets_fit(split, params):
    net = make_classifier(
        module=TakesAnything,
        train_split=split,
        callbacks=[("rows", Rows())],
        max_epochs=1,
        iterator_train__shuffle=False,
    )
    torch.manual_seed(7)
    np.random.seed(7)  # noqa: NPY002
    seen = net.fit(X_DIGITS, Y_DIGITS, **params).callbacks_[-2][1].seen_
    before = generator_states()
    found = own_holdout(net, X_DIGITS, Y_DIGITS, params, seed=7)
    np.testing.assert_array_equal(generator_states().numpy[1], before.numpy[1])
    train = np.arange(len(X_DIGITS)) if found.train_rows is None else found.train_rows
    assert rows_of(X_DIGITS, train) == seen[True]
    data = found.validation_data(X_DIGITS, Y_DIGITS)
    assert (set() if data is None else rows_of(*data[:1], slice(None))) == seen[False]
    assert found.has_validation == bool(seen[False])
    assert found.is_whole == (not split)


class TakesAnything(torch.nn.Linear):
    def __init__(self):
        super().__init__(64, 10)

    def forward(self, X, **kwargs):
        return super().forward(X)


def other_data(dataset, y=None):
    return TensorDataset(torch.zeros(7, 64), torch.zeros(7, dtype=torch.long)), GIVEN


def test_a_split_that_makes_training_data_of_its_own_is_asked_again():
    net = make_classifier(train_split=other_data, batch_size=2)
    found = own_holdout(net, X_DIGITS, Y_DIGITS, seed=0)
    assert (found.train_rows, found.dataset, found.n_train) == (None, GIVEN, 7)
    assert plan_training(net, X_DIGITS, found).steps_per_epoch == 4
    train, valid = FixedSplit(found, validate=True)(Dataset(X_DIGITS, Y_DIGITS), Y_DIGITS)
    assert (len(train), valid) == (7, GIVEN)
    assert FixedSplit(found, validate=False)(Dataset(X_DIGITS, Y_DIGITS))[1] is None


def test_a_split_of_too_few_samples_is_named():
    net = make_classifier(train_split=ValidSplit(5, stratified=True))
    text = (
        r"The 'train_split' parameter of NeuralNetClassifier must be able to split the data "
        r"\(n_splits=5 cannot be greater than the number of members in each class\): .* "
        r"or train_split=None\. Got ValidSplit\(cv=5, stratified=True\) instead\."
    )
    with pytest.raises(ValueError, match=text):
        own_holdout(net, X_DIGITS[:5], Y_DIGITS[:5], seed=0)

    def own(dataset, y=None):
        raise ValueError("in the author's words")

    with pytest.raises(ValueError, match=r"^in the author's words$"):
        own_holdout(make_classifier(train_split=own), X_DIGITS, Y_DIGITS, seed=0)


def test_the_fixed_split_takes_the_rows_of_whatever_it_is_given():
    found = own_holdout(make_classifier(train_split=ValidSplit(5)), X_DIGITS, Y_DIGITS, seed=0)
    other = Dataset(np.arange(500), None)
    train, valid = FixedSplit(found, validate=True)(other)
    assert sorted([*train.indices, *valid.indices]) == list(range(500))
    np.testing.assert_array_equal(valid.indices, found.valid_rows)
    assert all_agree([found, found])
    moved = own_holdout(make_classifier(train_split=ValidSplit(0.2)), X_DIGITS, Y_DIGITS, seed=1)
    assert not all_agree([found, moved])


@given(
    n=st.integers(0, 400),
    batch_size=st.sampled_from([-1, 1, 2, 3, 7, 16, 64, 500]),
    drop_last=st.booleans(),
    n_classes=st.sampled_from([None, 1, 2, 5, 300]),
    seed=st.integers(0, 5),
)
@example(n=802, batch_size=64, drop_last=False, n_classes=10, seed=0)
@example(n=81, batch_size=64, drop_last=False, n_classes=None, seed=0)
@example(n=70, batch_size=64, drop_last=True, n_classes=2, seed=0)
def test_a_random_fifth_leaves_batches_that_can_be_trained_on(
    n, batch_size, drop_last, n_classes, seed
):
    make = make_regressor if n_classes is None else make_classifier
    net = make(batch_size=batch_size, iterator_train__drop_last=drop_last)
    rng = np.random.default_rng(seed)
    y = rng.normal(size=n) if n_classes is None else rng.integers(n_classes, size=n)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = random_holdout(net, np.zeros((n, 1)), y, seed=seed)
    if not found.has_validation:
        assert n < 4 or (drop_last and n <= batch_size)
        return
    train, valid = found.train_rows, found.valid_rows
    assert sorted([*train, *valid]) == list(range(n))
    assert len(valid) > 0
    if drop_last and batch_size > 0:
        assert len(train) >= batch_size
    elif batch_size > 1:
        assert len(train) % batch_size != 1
    if not drop_last:
        assert abs(len(valid) - n / 5) <= 1.5
    again = random_holdout(net, np.zeros((n, 1)), y, seed=seed)
    np.testing.assert_array_equal(again.valid_rows, valid)


def test_a_random_fifth_has_all_labels_in_proportion_and_another_seed_other_rows():
    y = np.repeat([0, 1, 2], [300, 150, 50])
    first, second = (random_holdout(make_classifier(), y, y, seed=seed) for seed in (0, 1))
    assert np.bincount(y[first.valid_rows]).tolist() == [60, 30, 10]
    assert np.bincount(y[second.valid_rows]).tolist() == [60, 30, 10]
    assert set(first.valid_rows) != set(second.valid_rows)


class Stream(IterableDataset):
    def __len__(self):
        return 500

    def __iter__(self):
        raise AssertionError("It need not be read.")


def test_of_a_stream_no_rows_are_chosen():
    assert not random_holdout(make_classifier(), Stream(), None, seed=0).has_validation
