"""The default schedule: as many lengthening cycles as asked for, which fill any training."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nets import X_DIGITS, Y_DIGITS, make_classifier, weights

from sklr import SnapshotEnsemble
from sklr.callbacks import SGDR, SnapshotCosine
from sklr.ensemble._recipe import LengtheningCycles


def steps_of(n_cycles, n_steps):
    value = LengtheningCycles(n_cycles=n_cycles).schedule(n_steps, n_epochs=1, lr=1.0)
    return value.snapshot_steps(n_steps)


@given(st.data())
def test_every_number_of_cycles_that_the_steps_allow(data):
    n_steps = data.draw(st.integers(1, 3_000))
    n_cycles = data.draw(st.integers(1, min(n_steps, 100)))
    steps = steps_of(n_cycles, n_steps)
    assert len(steps) == n_cycles
    assert steps[-1] == n_steps
    lengths = np.diff((0, *steps))
    # Rounded to whole steps.
    assert (np.diff(lengths) >= -1).all()


@pytest.mark.parametrize("n_cycles", [2, 3, 5, 8])
def test_the_last_cycle_is_four_times_as_long_as_the_first(n_cycles):
    lengths = np.diff((0, *steps_of(n_cycles, 1_000_000)))
    assert lengths[-1] / lengths[0] == pytest.approx(4, rel=1e-4)
    np.testing.assert_allclose(lengths[1:] / lengths[:-1], 4 ** (1 / (n_cycles - 1)), rtol=1e-4)


def test_the_default_is_the_sgdr_that_was_measured():
    same = SGDR(unit="fraction", cycle_length=1 / 7, cycle_mult=2)
    ours = SnapshotEnsemble(make_classifier(), random_state=0).fit(X_DIGITS, Y_DIGITS)
    theirs = SnapshotEnsemble(make_classifier(), schedule=same, random_state=0)
    theirs.fit(X_DIGITS, Y_DIGITS)
    assert ours.snapshot_steps_ == theirs.snapshot_steps_ == [9, 26, 60]
    for a, b in zip(ours.estimators_, theirs.estimators_, strict=True):
        np.testing.assert_array_equal(weights(a), weights(b))


def test_as_many_cycles_as_steps_are_even():
    net = make_classifier(max_epochs=1)
    ensemble = SnapshotEnsemble(net, n_snapshots=10, random_state=0).fit(X_DIGITS, Y_DIGITS)
    even = SnapshotEnsemble(net, schedule=SnapshotCosine(n_cycles=10), random_state=0)
    even.fit(X_DIGITS, Y_DIGITS)
    assert ensemble.snapshot_steps_ == even.snapshot_steps_ == list(range(1, 11))
    np.testing.assert_array_equal(ensemble.predict_proba(X_DIGITS), even.predict_proba(X_DIGITS))


def test_a_training_of_fewer_steps_than_the_default_has_cycles():
    net = make_classifier(max_epochs=1, batch_size=-1)
    ensemble = SnapshotEnsemble(net, random_state=0)
    with pytest.raises(ValueError, match=r"'n_snapshots' parameter .* at most n_steps=1"):
        ensemble.fit(X_DIGITS, Y_DIGITS)
    one = ensemble.set_params(n_snapshots=1).fit(X_DIGITS, Y_DIGITS)
    assert one.snapshot_steps_ == [1]
