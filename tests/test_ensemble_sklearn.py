"""The ensembles keep scikit-learn's contract, by scikit-learn's own checks."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks
from test_range_sklearn import lazy_classifier, lazy_regressor
from torch.optim import Adam

from sklr import SnapshotEnsemble, SnapshotEnsembleRegressor

MINI_BATCHES = "mini-batches of repeated samples are others than of weighted ones"


@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature:UserWarning")
@parametrize_with_checks(
    [
        SnapshotEnsemble(
            lazy_classifier().set_params(lr=0.1, batch_size=10, max_epochs=20), n_snapshots=2
        ),
        # Adam does not diverge on the checks' unscaled data.
        SnapshotEnsembleRegressor(
            lazy_regressor().set_params(optimizer=Adam, lr=0.1, batch_size=10, max_epochs=20),
            n_snapshots=2,
        ),
    ],
    expected_failed_checks=lambda estimator: {
        "check_sample_weight_equivalence_on_dense_data": MINI_BATCHES,
        "check_sample_weight_equivalence_on_sparse_data": MINI_BATCHES,
    },
)
def test_scikit_learns_checks(estimator, check):
    check(estimator)
