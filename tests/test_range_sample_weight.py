"""Sample weights: in the loss of ramps, trials and the refit, and in what trials are judged by."""

import numpy as np
import pytest
from nets import X_DIGITS, Y_DIGITS, make_classifier, make_regressor, weights
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNet
from skorch.dataset import ValidSplit

from sklr import LRRangeSearch
from sklr._training._target import fitted_part

PARAMS = {"n_repeats": 1, "n_steps": 60, "random_state": 0, "budget": 8}
COUNTS = np.arange(len(X_DIGITS)) % 3 != 0
WEIGHT = np.where(COUNTS, np.linspace(0.5, 2, len(X_DIGITS)), 0)


def fit(estimator, y, name="sample_weight", **params):
    search = LRRangeSearch(estimator, **(PARAMS | params))
    return search.fit(X_DIGITS, y, **{name: WEIGHT})


@pytest.mark.parametrize(
    ("steps", "name", "n_jobs"),
    [
        ([], "sample_weight", 2),
        ([StandardScaler()], "neuralnetclassifier__sample_weight", 1),
        ([StandardScaler()], "sample_weight", 1),
    ],
)
def test_rows_of_no_weight_count_for_nothing(steps, name, n_jobs):
    net = make_classifier(train_split=ValidSplit(5))
    estimator = make_pipeline(*steps, net) if steps else net
    # Whatever their labels are.
    wrong = np.where(COUNTS, Y_DIGITS, (Y_DIGITS + 3) % 10)
    first, second = (fit(estimator, y, name, refit=True, n_jobs=n_jobs) for y in (Y_DIGITS, wrong))
    assert first.trials_["lr"].size > 3
    # But for rounding: what the criterion divides by comes from its loss of all rows.
    beginning = slice(0, 40)
    for column, values in first.results_.items():
        other = second.results_[column][beginning]
        np.testing.assert_allclose(values[beginning], other, rtol=1e-4)
    np.testing.assert_array_equal(first.trials_["steps"], second.trials_["steps"])
    np.testing.assert_allclose(first.trials_["loss"][0], second.trials_["loss"][0], rtol=0.01)
    nets = [fitted_part(fitted.best_estimator_, NeuralNet) for fitted in (first, second)]
    np.testing.assert_allclose(weights(nets[0]), weights(nets[1]), atol=1e-3)
    assert first.score(X_DIGITS[COUNTS], Y_DIGITS[COUNTS]) > 0.9
    # The data's weights stay with the search.
    assert not hasattr(nets[0], "dataset__sample_weight")
    assert type(nets[0]) is type(net)


@pytest.mark.parametrize("make", [make_classifier, make_regressor])
def test_weights_of_0_and_1_are_as_if_the_others_were_not_there(make):
    if make is make_classifier:
        X, y, net = X_DIGITS, Y_DIGITS, make(batch_size=-1, max_epochs=60)
    else:
        X, y = X_DIGITS[:, 20:30], X_DIGITS[:, 36:37]
        net = make(batch_size=-1, max_epochs=60)
    # All rows in one batch: then the loss is the mean of those that count.
    search = LRRangeSearch(net, **(PARAMS | {"verify": False, "max_lr": 0.1, "extend": False}))
    found = search.fit(X, y, sample_weight=COUNTS * 7.0).results_["loss"]
    expected = search.fit(X[COUNTS], y[COUNTS]).results_["loss"]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("weight", "text"),
    [
        (-WEIGHT, "sample_weight"),
        (WEIGHT * 0, "sample_weight"),
        (WEIGHT[:-1], "sample_weight"),
        (np.where(COUNTS, np.nan, 1), "sample_weight contains NaN"),
    ],
    ids=["negative", "all 0", "too few", "NaN"],
)
def test_weights_that_cannot_be_used(weight, text):
    with pytest.raises(ValueError, match=text):
        LRRangeSearch(make_classifier()).fit(X_DIGITS, Y_DIGITS, sample_weight=weight)
