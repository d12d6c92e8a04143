"""Using members well and knowing them: greedy weights, averaged parameters, diversity."""

import itertools
import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from nets import MLP, X_DIGITS, Y_DIGITS, Still, make_classifier, make_regressor, weights
from scipy.stats import entropy, ttest_1samp
from sklearn.base import clone
from sklearn.datasets import load_diabetes
from sklearn.metrics import accuracy_score, mean_squared_error, r2_score
from sklearn.metrics import log_loss as sklearns_log_loss
from sklearn.preprocessing import scale
from skorch.callbacks import Callback
from skorch.dataset import Dataset, ValidSplit
from skorch.helper import predefined_split
from torch import nn
from torch.optim.swa_utils import AveragedModel, update_bn

from sklr import SGDR, SnapshotCosine, SnapshotEnsemble, SnapshotEnsembleRegressor
from sklr._averaging import averaged_state, reestimate_batch_norm
from sklr._training._evaluation import log_losses, squared_errors
from sklr.ensemble._diversity import diversity, entropy_parts, spread
from sklr.ensemble._selection import (
    better_stage,
    greedy_weights,
    is_materially_higher,
    normalized,
)

WORDS = np.array(list("jihgfedcba"))[Y_DIGITS]


def probabilities(seed, n_members=3, n_samples=20, n_classes=4):
    rng = np.random.default_rng(seed)
    proba = rng.dirichlet(np.ones(n_classes), (n_members, n_samples))
    return proba, rng.integers(0, n_classes, n_samples)


def log_loss(proba, y):
    return log_losses(proba, y).mean()


@given(seed=st.integers(0, 500), n_members=st.integers(1, 5))
def test_greedy_weights_are_never_worse_than_the_best_member(seed, n_members):
    proba, y = probabilities(seed, n_members)
    found = greedy_weights(proba, lambda mean: log_loss(mean, y))
    assert found.sum() == pytest.approx(1)
    assert (found >= 0).all()
    best = min(log_loss(member, y) for member in proba)
    assert log_loss(np.average(proba, axis=0, weights=found), y) <= best + 1e-12


def test_greedy_selection_goes_on_as_long_as_it_gains():
    # Each of forty members errs in its own way, and the mean of all is right.
    outputs = np.random.default_rng(0).normal(size=(40, 200))
    target = outputs.mean(axis=0)
    found = greedy_weights(outputs, lambda mean: float(((mean - target) ** 2).sum()))
    np.testing.assert_allclose(found, 1 / 40)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_what_is_material_is_a_part_of_the_loss_whatever_its_scale(scale):
    others = np.full(100, scale)
    assert is_materially_higher(1.03 * others, others)
    assert not is_materially_higher(1.01 * others, others)


def test_greedy_selection_is_that_of_a_plain_loop():
    proba, y = probabilities(3, 4)
    taken = []
    while True:
        losses = [log_loss(proba[[*taken, i]].mean(axis=0), y) for i in range(4)]
        if taken and min(losses) >= log_loss(proba[taken].mean(axis=0), y):
            break
        taken.append(int(np.argmin(losses)))
    expected = np.bincount(taken, minlength=4) / len(taken)
    np.testing.assert_allclose(greedy_weights(proba, lambda mean: log_loss(mean, y)), expected)
    assert np.count_nonzero(expected) > 1


def test_greedy_weights_pass_over_what_is_not_finite_and_take_the_first_of_equals():
    proba, y = probabilities(0)
    proba[1] = math.nan
    found = greedy_weights(proba, lambda mean: log_loss(mean, y))
    assert found[1] == 0
    same = np.stack([proba[0]] * 3)
    np.testing.assert_array_equal(greedy_weights(same, lambda mean: log_loss(mean, y)), [1, 0, 0])
    with pytest.raises(FloatingPointError, match="No member's predictions"):
        greedy_weights(np.full((2, 3, 2), math.nan), lambda mean: 0.0)


def test_losses_are_scikit_learns():
    (proba, *_), y = probabilities(1, n_classes=3)
    assert log_loss(proba, y) == pytest.approx(sklearns_log_loss(y, proba, labels=[0, 1, 2]))
    np.testing.assert_array_equal(
        squared_errors(np.array([1.0, 2.0]), np.array([0.0, 4.0])), [1.0, 4.0]
    )


def test_greedy_weights_come_from_the_nets_own_held_out_rows():
    net = make_classifier(train_split=ValidSplit(5, stratified=True))
    fitted = SnapshotEnsemble(net, n_snapshots=3, weights="greedy", random_state=0)
    fitted.fit(X_DIGITS, WORDS)
    _, valid = net.train_split(Dataset(X_DIGITS, Y_DIGITS), fitted.le_.transform(WORDS))
    rows = valid.indices
    outputs = np.stack([m.predict_proba(X_DIGITS[rows]) for m in fitted.estimators_])
    codes = fitted.le_.transform(WORDS)[rows]
    expected = greedy_weights(outputs, lambda mean: log_loss(mean, codes))
    np.testing.assert_allclose(fitted.weights_, expected)
    np.testing.assert_allclose(
        fitted.predict_proba(X_DIGITS),
        np.average(
            [m.predict_proba(X_DIGITS) for m in fitted.estimators_], axis=0, weights=expected
        ),
        rtol=1e-5,
    )
    scores = [accuracy_score(codes, output.argmax(axis=1)) for output in outputs]
    np.testing.assert_allclose(fitted.member_scores_, scores)
    np.testing.assert_allclose(
        fitted.diversity_.correlation,
        diversity(outputs, outputs.argmax(axis=2)).correlation,
        atol=1e-5,
    )


def test_a_given_validation_set_serves_too():
    given_set = Dataset(X_DIGITS[:100], Y_DIGITS[:100])
    net = make_classifier(train_split=predefined_split(given_set))
    fitted = SnapshotEnsemble(net, n_snapshots=2, weights="greedy", random_state=0)
    fitted.fit(X_DIGITS[100:], Y_DIGITS[100:])
    members = [m.score(X_DIGITS[:100], Y_DIGITS[:100]) for m in fitted.estimators_]
    np.testing.assert_allclose(fitted.member_scores_, members)


def test_without_held_out_rows_nothing_is_known_and_greedy_is_refused():
    fitted = SnapshotEnsemble(make_classifier(), n_snapshots=2, random_state=0)
    fitted.fit(X_DIGITS, Y_DIGITS)
    assert fitted.diversity_ is None
    assert fitted.member_scores_ is None
    np.testing.assert_array_equal(fitted.weights_, [0.5, 0.5])
    with pytest.raises(ValueError, match=r"The 'weights' parameter .* give it a train_split"):
        clone(fitted).set_params(weights="greedy").fit(X_DIGITS, Y_DIGITS)


class RandomSplit(ValidSplit):
    """Holds out other rows in each run."""

    def __call__(self, dataset, y=None, groups=None):
        order = np.random.permutation(len(dataset))  # noqa: NPY002
        subset = torch.utils.data.Subset
        return subset(dataset, order[100:].tolist()), subset(dataset, order[:100].tolist())


def test_greedy_weights_of_runs_that_hold_out_different_rows_are_refused():
    net = make_classifier(train_split=RandomSplit())
    one = SnapshotEnsemble(net, n_snapshots=2, weights="greedy", random_state=0)
    assert one.fit(X_DIGITS, Y_DIGITS).weights_.sum() == pytest.approx(1)
    with pytest.raises(ValueError, match="runs validate on different samples"):
        clone(one).set_params(n_runs=2).fit(X_DIGITS, Y_DIGITS)


WEAK = make_classifier(lr=0.1, train_split=ValidSplit(5, stratified=True))
"""Begins so slowly that the first third of its training makes a weak member."""
EVEN = SnapshotCosine(n_cycles=3)


def test_members_that_make_the_rest_worse_are_told():
    ensemble = SnapshotEnsemble(WEAK, schedule=EVEN, random_state=0)
    with pytest.warns(UserWarning, match=r"The last 1 of 3 members have a validation loss") as seen:
        ensemble.fit(X_DIGITS, WORDS)
    (text,) = (str(warning.message) for warning in seen)
    _, valid = WEAK.train_split(Dataset(X_DIGITS, Y_DIGITS), Y_DIGITS)
    rows = valid.indices
    losses = [
        sklearns_log_loss(WORDS[rows], proba, labels=ensemble.classes_)
        for proba in ensemble.staged_predict_proba(X_DIGITS[rows])
    ]
    assert f"a validation loss of {losses[0]:.3g}, all together one of {losses[2]:.3g}" in text
    assert "use weights='greedy' or n_members=1, which is the single net." in text
    # What is advised is no reason to warn.
    for advised in ({"n_members": 1}, {"weights": "greedy"}):
        clone(ensemble).set_params(**advised).fit(X_DIGITS, WORDS)


@pytest.mark.parametrize(
    "params",
    [
        pytest.param({"weights": [1, 1, 1]}, id="the user's weights"),
        pytest.param({"estimator__train_split": None}, id="nothing held out"),
        pytest.param(
            {"schedule": None, "estimator__lr": 1.0, "estimator__max_epochs": 40}, id="good members"
        ),
        pytest.param(
            {"n_runs": 2, "estimator__train_split": ValidSplit(0.2)}, id="runs of other splits"
        ),
    ],
)
def test_where_there_is_nothing_to_tell(params):
    ensemble = SnapshotEnsemble(clone(WEAK), schedule=EVEN, random_state=0)
    fitted = ensemble.set_params(**params).fit(X_DIGITS, WORDS)
    assert fitted.weights_ == pytest.approx(1 / len(fitted.estimators_))


def test_weak_members_of_runs_and_of_a_regressor_are_told():
    with pytest.warns(UserWarning, match="The last 1 of 3 members of each run have a validation"):
        SnapshotEnsemble(WEAK, schedule=EVEN, n_runs=2, random_state=0).fit(X_DIGITS, WORDS)
    X, y = load_diabetes(return_X_y=True)
    net = make_regressor(lr=0.01, max_epochs=9, train_split=ValidSplit(5))
    with pytest.warns(UserWarning, match=r"members have a validation loss of .*n_members=1"):
        SnapshotEnsembleRegressor(net, schedule=EVEN, random_state=0).fit(scale(X), scale(y))


@pytest.mark.parametrize("params", [{}, {"weights": "greedy"}, {"n_members": 1}])
def test_members_that_have_learned_nothing_are_told(params):
    net = make_classifier(Still, train_split=ValidSplit(5, stratified=True))
    ensemble = SnapshotEnsemble(net, schedule=EVEN, random_state=0, **params)
    count = "The only member is not" if "n_members" in params else "None of the 3 members is"
    text = f"{count} better on the validation data than always predicting the shares of the classes"
    with pytest.warns(UserWarning, match=text) as seen:
        ensemble.fit(X_DIGITS, WORDS)
    assert len(seen) == 1
    assert "(least loss 2.3, against 2.3): the ensemble is of no use yet" in str(seen[0].message)
    X, y = load_diabetes(return_X_y=True)
    net = make_regressor(lr=1e-6, train_split=ValidSplit(5))
    regressor = SnapshotEnsembleRegressor(net, schedule=EVEN, random_state=0, **params)
    with pytest.warns(UserWarning, match="than always predicting the mean") as seen:
        regressor.fit(scale(X), y / 100)
    assert len(seen) == 1


def test_accurate_members_of_a_high_loss_have_learned():
    class TooSure(MLP):
        def forward(self, X):
            outputs = super().forward(X)
            return outputs if self.training else 1000 * outputs

    net = make_classifier(TooSure, max_epochs=20, train_split=ValidSplit(5, stratified=True))
    schedule = SnapshotCosine(n_cycles=1)
    ensemble = SnapshotEnsemble(net, schedule=schedule, random_state=0).fit(X_DIGITS, WORDS)
    assert ensemble.history_[-1, "valid_loss"] > np.log(10)
    assert ensemble.member_scores_[0] > 0.8


@given(seed=st.integers(0, 200))
def test_noise_is_no_better_stage(seed):
    losses = np.random.default_rng(seed).exponential(size=(2, 50))
    found = better_stage([losses[0], losses[1]])
    excess = losses[1] - losses[0]
    surely = ttest_1samp(excess, 0).statistic > 2.0 * math.sqrt(49 / 50)
    assert found == (1 if surely else None)
    assert better_stage([losses[0], losses[0]]) is None
    assert better_stage([losses[0], losses[0] + 1]) == 1
    # By a hundredth, however surely, is not worth a word; by three it is.
    assert better_stage([losses[0], losses[0] * 1.01]) is None
    assert better_stage([losses[0], losses[0] + 0.03 * losses[0].mean()]) == 1


@given(seed=st.integers(0, 200))
def test_a_weight_is_as_many_samples_in_a_mean_but_not_in_its_noise(seed):
    rng = np.random.default_rng(seed)
    losses, counts = rng.exponential(size=(2, 30)), rng.integers(0, 4, 30)
    counts[0] = 1
    kept = counts > 0
    # Those of weight 0 might as well not be there.
    assert is_materially_higher(*losses, counts) == is_materially_higher(
        *losses[:, kept], counts[kept]
    )
    # The scale of weights is nothing.
    assert is_materially_higher(*losses, counts) == is_materially_higher(*losses, counts * 7.5)


def test_losses_that_are_not_finite_are_higher():
    fine, broken = np.ones(5), np.array([1, 1, np.nan, np.inf, 1])
    assert is_materially_higher(broken, fine)
    assert not is_materially_higher(broken, broken)
    assert better_stage([broken, fine]) is None
    assert better_stage([fine, broken]) == 1


@given(
    weights=st.lists(st.floats(0, allow_nan=False, allow_infinity=False), min_size=1).filter(any)
)
def test_weights_of_any_size_are_normalized(weights):
    found = normalized(weights)
    assert found.sum() == pytest.approx(1)
    largest = max(weights)
    assert found == pytest.approx(np.array([w / largest for w in weights]) * found.max())


NOISE = np.random.default_rng(0).random(len(X_DIGITS)) < 0.4
MISLABELLED = np.where(NOISE, (Y_DIGITS + 1) % 10, Y_DIGITS)
ONLY_TRUE = np.where(NOISE, 0.0, 1.0)


def fitted_on_noise(seed=0, **params):
    """Train with some wrong labels that have no weight."""
    net = make_classifier(train_split=ValidSplit(2, stratified=True), max_epochs=12)
    ensemble = SnapshotEnsemble(net, schedule=SnapshotCosine(n_cycles=4), random_state=seed)
    ensemble.set_params(**params).fit(X_DIGITS, MISLABELLED, sample_weight=ONLY_TRUE)
    _, valid = net.train_split(Dataset(X_DIGITS, MISLABELLED), MISLABELLED)
    rows = np.array([i for i in valid.indices if ONLY_TRUE[i]])
    return ensemble, rows


@pytest.mark.filterwarnings("ignore:The last . of 4 members")
def test_samples_of_no_weight_have_no_say_in_what_is_known_of_members():
    ensemble, rows = fitted_on_noise(weights="greedy")
    outputs = np.stack([m.predict_proba(X_DIGITS[rows]) for m in ensemble.estimators_])
    expected = greedy_weights(outputs, lambda mean: log_loss(mean, MISLABELLED[rows]))
    np.testing.assert_allclose(ensemble.weights_, expected)
    scores = [accuracy_score(Y_DIGITS[rows], output.argmax(axis=1)) for output in outputs]
    np.testing.assert_allclose(ensemble.member_scores_, scores)
    correlation = diversity(outputs, outputs.argmax(axis=2)).correlation
    np.testing.assert_allclose(ensemble.diversity_.correlation, correlation, atol=1e-5)


@pytest.mark.filterwarnings("ignore:The last . of 4 members", "ignore:The averaged weights have")
def test_the_barrier_is_weighed_as_the_loss_is():
    (members, rows), (average, _) = fitted_on_noise(), fitted_on_noise(combine="parameters")
    losses = [
        log_loss(member.predict_proba(X_DIGITS[rows]), Y_DIGITS[rows])
        for member in (*members.estimators_, *average.estimators_)
    ]
    assert average.loss_barrier_ == pytest.approx(losses[4] - np.mean(losses[:4]), rel=1e-4)


def test_samples_count_as_often_as_they_weigh():
    weights = 1.0 + (Y_DIGITS < 3)
    net = make_classifier(train_split=ValidSplit(2, stratified=True), max_epochs=12)
    ensemble = SnapshotEnsemble(net, schedule=EVEN, weights="greedy", random_state=0)
    ensemble.fit(X_DIGITS, Y_DIGITS, sample_weight=weights)
    _, valid = net.train_split(Dataset(X_DIGITS, Y_DIGITS), Y_DIGITS)
    X, y, w = X_DIGITS[valid.indices], Y_DIGITS[valid.indices], weights[valid.indices]
    scores = [accuracy_score(y, m.predict(X), sample_weight=w) for m in ensemble.estimators_]
    np.testing.assert_allclose(ensemble.member_scores_, scores)


@pytest.mark.filterwarnings("ignore:The last . of 3 members")
@pytest.mark.parametrize("weight", [[1.0] * 9 + [30.0], [30.0] + [1.0] * 9])
def test_the_criterions_class_weights_count_in_greedy_weights(weight):
    net = make_classifier(
        criterion__weight=torch.tensor(weight), lr=0.1, train_split=ValidSplit(2, stratified=True)
    )
    ensemble = SnapshotEnsemble(net, schedule=EVEN, weights="greedy", random_state=0)
    ensemble.fit(X_DIGITS, WORDS)
    codes = ensemble.le_.transform(WORDS)
    _, valid = net.train_split(Dataset(X_DIGITS, codes), codes)
    y, w = codes[valid.indices], np.array(weight)[codes[valid.indices]]
    outputs = np.stack([m.predict_proba(X_DIGITS[valid.indices]) for m in ensemble.estimators_])
    expected = greedy_weights(outputs, lambda p: np.average(log_losses(p, y), weights=w))
    np.testing.assert_allclose(ensemble.weights_, expected)
    # Scores are accuracies, as those of scikit-learn.
    scores = [accuracy_score(y, output.argmax(axis=1)) for output in outputs]
    np.testing.assert_allclose(ensemble.member_scores_, scores)


def test_validation_data_without_weight_is_none():
    net = make_classifier(train_split=predefined_half)
    weight = np.repeat([1.0, 0.0], 250)
    ensemble = SnapshotEnsemble(net, schedule=EVEN, random_state=0)
    assert ensemble.fit(X_DIGITS, Y_DIGITS, sample_weight=weight).member_scores_ is None
    with pytest.raises(ValueError, match=r"'weights' parameter .* validation data"):
        ensemble.set_params(weights="greedy").fit(X_DIGITS, Y_DIGITS, sample_weight=weight)


def predefined_half(dataset, y=None, groups=None):
    subset = torch.utils.data.Subset
    return subset(dataset, range(250)), subset(dataset, range(250, 500))


def test_a_regressors_weights_scores_and_uncertainty():
    X, y = load_diabetes(return_X_y=True)
    X, y = scale(X), scale(y)
    net = make_regressor(train_split=ValidSplit(5))
    fitted = SnapshotEnsembleRegressor(net, n_snapshots=3, weights="greedy", random_state=0)
    fitted.fit(X, y)
    _, valid = net.train_split(Dataset(X, y), y)
    outputs = np.stack([m.predict(X[valid.indices]).ravel() for m in fitted.estimators_])
    np.testing.assert_allclose(
        fitted.member_scores_, [r2_score(y[valid.indices], o) for o in outputs], rtol=1e-5
    )
    expected = greedy_weights(outputs, lambda mean: mean_squared_error(y[valid.indices], mean))
    np.testing.assert_allclose(fitted.weights_, expected)
    parts = fitted.predict_uncertainty(X)
    assert parts.epistemic.shape == y.shape
    assert np.isnan(parts.aleatoric).all()


@given(seed=st.integers(0, 200))
def test_entropy_is_split_without_rest(seed):
    proba, _ = probabilities(seed)
    proba[0, 0] = [1, 0, 0, 0]
    parts = entropy_parts(proba, np.array([1.0, 2.0, 3.0]))
    mean = np.average(proba, axis=0, weights=[1, 2, 3])
    np.testing.assert_allclose(parts.total, entropy(mean, axis=1), atol=1e-12)
    single = np.average(entropy(proba, axis=2), axis=0, weights=[1, 2, 3])
    np.testing.assert_allclose(parts.aleatoric, single, atol=1e-12)
    np.testing.assert_allclose(parts.epistemic, parts.total - parts.aleatoric, atol=1e-12)
    assert (parts.epistemic >= 0).all()


def test_members_of_one_mind_leave_nothing_open():
    proba, _ = probabilities(0)
    same = np.stack([proba[0]] * 3)
    np.testing.assert_allclose(entropy_parts(same, None).epistemic, 0, atol=1e-12)
    np.testing.assert_allclose(spread(np.ones((3, 5)), None).epistemic, 0)
    np.testing.assert_allclose(spread(np.array([[0.0], [2.0]]), None).epistemic, 1)


def test_uncertainty_is_higher_if_data_are_strange():
    fitted = SnapshotEnsemble(make_classifier(max_epochs=20), n_snapshots=4, random_state=0)
    fitted.fit(X_DIGITS, Y_DIGITS)
    noise = np.random.default_rng(0).random(X_DIGITS.shape).astype(np.float32)
    known, strange = fitted.predict_uncertainty(X_DIGITS), fitted.predict_uncertainty(noise)
    assert strange.total.mean() > known.total.mean()


def test_diversity_is_that_of_plain_loops():
    proba, _ = probabilities(5)
    found = diversity(proba, proba.argmax(axis=2))
    for i, j in itertools.product(range(3), repeat=2):
        correlation = np.corrcoef(proba[i].ravel(), proba[j].ravel())[0, 1]
        assert found.correlation[i, j] == pytest.approx(correlation)
        differs = np.mean(proba[i].argmax(axis=1) != proba[j].argmax(axis=1))
        assert found.disagreement[i, j] == differs
    values = np.array([[0.0, 0.0], [3.0, 4.0]])
    found = diversity(values, None)
    assert found.disagreement[0, 1] == pytest.approx(math.sqrt(12.5))
    # A member that says the same of everything is correlated with none.
    assert found.correlation[0, 1] == 0


def test_averaged_parameters_are_torchs():
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    averaged = AveragedModel(module)
    states = []
    for seed in range(3):
        torch.manual_seed(seed)
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.normal_()
        states.append({name: value.clone() for name, value in module.state_dict().items()})
        averaged.update_parameters(module)
    ours = averaged_state(states)
    for name, parameter in averaged.module.named_parameters():
        torch.testing.assert_close(ours[name], parameter.detach())
    weighted = averaged_state(states, [1, 0, 3])
    torch.testing.assert_close(
        weighted["0.weight"], (states[0]["0.weight"] + 3 * states[2]["0.weight"]) / 4
    )
    assert weighted["1.num_batches_tracked"] == states[-1]["1.num_batches_tracked"]


class Normed(nn.Module):
    """Two layers of BatchNorm, and dropout between them."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(64, 16),
            nn.BatchNorm1d(16),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(16, 10),
            nn.BatchNorm1d(10),
        )

    def forward(self, X):
        return self.layers(X)


def test_batch_norm_is_estimated_from_all_samples_alike():
    net = make_classifier(Normed).fit(X_DIGITS, Y_DIGITS)
    before = {name: value.clone() for name, value in net.module_.state_dict().items()}
    # Batches of 192, 192 and 116.
    batches = [(torch.from_numpy(X_DIGITS[i : i + 192]), None) for i in range(0, 500, 192)]
    reestimate_batch_norm(net, batches)
    first = net.module_.layers[1]
    inputs = net.module_.layers[0](torch.from_numpy(X_DIGITS)).detach()
    torch.testing.assert_close(first.running_mean, inputs.mean(dim=0))
    torch.testing.assert_close(first.running_var, inputs.var(dim=0))
    # torch's own gives the short batch the weight of a long one.
    update_bn([X for X, _ in batches], net.module_)
    assert (first.running_mean - inputs.mean(dim=0)).abs().max() > 1e-4
    reestimate_batch_norm(net, batches)
    assert not net.module_.training
    assert not any(module.training for module in net.module_.modules())
    for name, value in net.module_.state_dict().items():
        if "running" not in name and "num_batches" not in name:
            assert torch.equal(value, before[name])


def test_a_net_without_batch_norm_is_left_alone():
    net = make_classifier().fit(X_DIGITS, Y_DIGITS)
    before = weights(net).clone()
    reestimate_batch_norm(net, iter(()))
    assert torch.equal(before, weights(net))


def test_averaged_parameters_make_one_member():
    net = make_classifier(Normed, max_epochs=12, train_split=ValidSplit(5, stratified=True), lr=0.1)
    schedule = SGDR(cycle_length=3)
    with warnings.catch_warnings():
        # Neither the members nor their average are good.
        warnings.simplefilter("ignore")
        members = SnapshotEnsemble(net, schedule=schedule, random_state=0).fit(X_DIGITS, WORDS)
        average = clone(members).set_params(combine="parameters").fit(X_DIGITS, WORDS)
    assert list(average.named_estimators_) == ["average"]
    expected = torch.stack([weights(member) for member in members.estimators_]).mean(dim=0)
    torch.testing.assert_close(weights(average.estimators_[0]), expected)
    assert average.transform(X_DIGITS).shape == (500, 10)
    assert len(list(average.staged_predict(X_DIGITS))) == 1
    assert average.weights_.tolist() == [1.0]
    # The members themselves were judged.
    assert average.member_scores_.shape == (4,)
    assert math.isfinite(average.loss_barrier_)


class Reorders(Callback):
    """Turns the order of the hidden units around: the same function, from another basin."""

    def on_epoch_begin(self, net, **kwargs):
        if len(net.history) == 7:
            hidden, _, output = net.module_.layers
            with torch.no_grad():
                hidden.weight.copy_(hidden.weight.flip(0))
                hidden.bias.copy_(hidden.bias.flip(0))
                output.weight.copy_(output.weight.flip(1))


def test_averages_that_hurt_are_told():
    net = make_classifier(max_epochs=12, callbacks=[Reorders()])
    cycles = SnapshotCosine(n_cycles=2)
    ensemble = SnapshotEnsemble(net, schedule=cycles, combine="parameters", random_state=0)
    with pytest.warns(UserWarning, match=r"different basins. Use combine='predictions'"):
        fitted = ensemble.fit(X_DIGITS, Y_DIGITS)
    assert fitted.loss_barrier_ > 0


def test_an_average_that_is_hardly_worse_is_not_told():
    """A barrier above 0, but within a fiftieth of the loss."""
    net = make_classifier(max_epochs=12, lr=0.05, train_split=ValidSplit(5, stratified=True))
    cycles = SGDR(cycle_length=3)
    for seed in range(4):
        ensemble = SnapshotEnsemble(net, schedule=cycles, combine="parameters", random_state=seed)
        fitted = ensemble.fit(X_DIGITS, Y_DIGITS)
        assert -0.02 < fitted.loss_barrier_ < 0.02


@pytest.mark.parametrize("combine", ["weights", None, 1])
def test_impossible_combinations(combine):
    with pytest.raises((TypeError, ValueError), match="The 'combine' parameter of Snapshot"):
        SnapshotEnsemble(make_classifier(), combine=combine).fit(X_DIGITS, Y_DIGITS)


def test_runs_are_not_averaged():
    ensemble = SnapshotEnsemble(make_classifier(), combine="parameters", n_runs=2)
    with pytest.raises(ValueError, match=r"The 'n_runs' parameter .* different basins"):
        ensemble.fit(X_DIGITS, Y_DIGITS)


def test_a_sample_alone_in_its_batch_counts_where_it_can():
    net = make_classifier(Normed).fit(X_DIGITS, Y_DIGITS)
    first = net.module_.layers[1]
    rows = torch.from_numpy(X_DIGITS[:101])
    reestimate_batch_norm(net, [(rows[:50], None), (rows[50:100], None), (rows[100:], None)])
    inputs = net.module_.layers[0](rows[:100]).detach()
    torch.testing.assert_close(first.running_mean, inputs.mean(dim=0))
    before = first.running_mean.clone()
    reestimate_batch_norm(net, [(row[None], None) for row in rows[:3]])
    assert torch.equal(first.running_mean, before)
