"""An ensemble as scikit-learn's own, and as one torch module, says the same."""

import io
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from nets import MLP, X_DIGITS, Y_DIGITS, make_classifier, make_regressor
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.ensemble import VotingClassifier, VotingRegressor
from sklearn.exceptions import NotFittedError
from sklearn.preprocessing import scale
from skorch import NeuralNetBinaryClassifier, NeuralNetClassifier
from torch.nn.utils import weight_norm as old_weight_norm

from sklr import SnapshotEnsemble, SnapshotEnsembleRegressor

WORDS = np.array(list("jihgfedcba"))[Y_DIGITS]


class Single(MLP):
    def forward(self, X):
        return super().forward(X).squeeze(1)


@pytest.mark.parametrize("weights", [None, [1, 2, 0.5]], ids=["even", "weighted"])
@pytest.mark.parametrize("how", ["soft", "hard"])
def test_a_real_votingclassifier(how, weights):
    # Two outputs more than there are labels.
    net = make_classifier(module__n_outputs=12)
    ensemble = SnapshotEnsemble(net, n_snapshots=3, voting=how, weights=weights, random_state=0)
    ensemble.fit(X_DIGITS.astype(float), WORDS)
    voting = ensemble.to_voting()
    assert type(voting) is VotingClassifier
    X = X_DIGITS.astype(float)
    np.testing.assert_array_equal(voting.predict(X), ensemble.predict(X))
    np.testing.assert_allclose(voting.transform(X), ensemble.transform(X), rtol=1e-4, atol=1e-7)
    if how == "soft":
        np.testing.assert_allclose(
            voting.predict_proba(X), ensemble.predict_proba(X), rtol=1e-4, atol=1e-7
        )
    assert list(voting.named_estimators_) == list(ensemble.named_estimators_)
    assert voting.score(X, WORDS) == ensemble.score(X, WORDS)
    assert list(voting.classes_) == list(ensemble.classes_)
    again = pickle.loads(pickle.dumps(voting))
    np.testing.assert_array_equal(again.predict(X), voting.predict(X))
    assert list(voting.get_feature_names_out()) == [
        name.replace("snapshotensemble", "votingclassifier")
        for name in ensemble.get_feature_names_out()
    ]


def test_a_real_votingregressor():
    X, y = load_diabetes(return_X_y=True)
    ensemble = SnapshotEnsembleRegressor(make_regressor(), n_snapshots=3, random_state=0)
    ensemble.fit(scale(X), scale(y))
    voting = ensemble.to_voting()
    assert type(voting) is VotingRegressor
    np.testing.assert_allclose(voting.predict(scale(X)), ensemble.predict(scale(X)), rtol=1e-4)
    np.testing.assert_allclose(voting.transform(scale(X)), ensemble.transform(scale(X)), rtol=1e-4)


def test_names_of_features_come_along():
    frame = pd.DataFrame(X_DIGITS, columns=[f"pixel {i}" for i in range(64)])
    ensemble = SnapshotEnsemble(make_classifier(), n_snapshots=2, random_state=0)
    voting = ensemble.fit(frame, WORDS).to_voting()
    assert list(voting.feature_names_in_) == list(frame.columns)
    np.testing.assert_array_equal(voting.predict(frame), ensemble.predict(frame))


@pytest.mark.parametrize("weights", [None, [1, 0, 3]])
def test_one_module_gives_the_probabilities(weights):
    ensemble = SnapshotEnsemble(make_classifier(), n_snapshots=3, weights=weights, random_state=0)
    ensemble.fit(X_DIGITS, WORDS)
    module = ensemble.to_module()
    proba = module(torch.from_numpy(X_DIGITS))
    assert not proba.requires_grad
    assert not module.training
    np.testing.assert_allclose(proba.numpy(), ensemble.predict_proba(X_DIGITS), rtol=1e-4)
    # Its weights can be stored and loaded as any module's.
    stored = io.BytesIO()
    torch.save(module.state_dict(), stored)
    stored.seek(0)
    other = SnapshotEnsemble(make_classifier(), n_snapshots=3, random_state=1)
    fresh = other.fit(X_DIGITS, WORDS).to_module()
    fresh.load_state_dict(torch.load(stored, weights_only=True))
    torch.testing.assert_close(fresh(torch.from_numpy(X_DIGITS)), proba)


def test_one_module_of_a_binary_net_and_of_a_regressor():
    X, y = load_breast_cancer(return_X_y=True)
    X = scale(X).astype(np.float32)
    net = NeuralNetBinaryClassifier(
        Single, module__n_inputs=30, module__n_outputs=1, train_split=None, verbose=0
    )
    ensemble = SnapshotEnsemble(net, n_snapshots=2, random_state=0).fit(X, y)
    module = ensemble.to_module()
    np.testing.assert_allclose(
        module(torch.from_numpy(X)).numpy(), ensemble.predict_proba(X), rtol=1e-4, atol=1e-6
    )
    X, y = (scale(part).astype(np.float32) for part in load_diabetes(return_X_y=True))
    regressor = SnapshotEnsembleRegressor(make_regressor(), n_snapshots=2, random_state=0)
    module = regressor.fit(X, y).to_module()
    np.testing.assert_allclose(
        module(torch.from_numpy(X)).numpy().ravel(), regressor.predict(X), rtol=1e-3, atol=1e-5
    )


class OwnInference(NeuralNetClassifier):
    def infer(self, x, **fit_params):
        return super().infer(x * 2, **fit_params)


def test_a_net_that_predicts_in_its_own_way_is_no_module():
    params = make_classifier().get_params(deep=False)
    params = {name: value for name, value in params.items() if not name.startswith("_")}
    ensemble = SnapshotEnsemble(OwnInference(**params), n_snapshots=2, random_state=0)
    with pytest.raises(TypeError, match="'estimator' parameter of SnapshotEnsemble must predict"):
        ensemble.fit(X_DIGITS, WORDS).to_module()
    # The members of a VotingClassifier are the nets, which have their own way.
    voting = ensemble.to_voting()
    np.testing.assert_array_equal(voting.predict(X_DIGITS), ensemble.predict(X_DIGITS))


class Normed(MLP):
    """Has torch's old weight_norm, which keeps tensors that cannot be copied."""

    def __init__(self, **sizes):
        super().__init__(**sizes)
        self.layers[0] = old_weight_norm(self.layers[0])


@pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated:FutureWarning")
def test_modules_that_cannot_be_copied(tmp_path):
    ensemble = SnapshotEnsemble(make_classifier(Normed), n_snapshots=2, random_state=0)
    ensemble.fit(X_DIGITS, WORDS).save(tmp_path)
    for fitted in (ensemble, clone(ensemble).load(tmp_path)):
        proba = fitted.predict_proba(X_DIGITS)
        out = fitted.to_module()(torch.from_numpy(X_DIGITS))
        np.testing.assert_allclose(out, proba, rtol=1e-4, atol=1e-6)


class Halves(MLP):
    def forward(self, left, right):
        return super().forward(torch.cat([left, right], dim=1))


@pytest.mark.parametrize("module", [MLP, Halves])
def test_export_with_batches_of_any_size(module):
    whole = torch.from_numpy(X_DIGITS)
    X = whole if module is MLP else {"left": whole[:, :32], "right": whole[:, 32:]}
    ensemble = SnapshotEnsemble(make_classifier(module), n_snapshots=2, random_state=0)
    n = torch.export.Dim("n")
    shapes = {0: n} if module is MLP else {"left": {0: n}, "right": {0: n}}
    exported = torch.export.export(
        ensemble.fit(X, WORDS).to_module(), (X,), dynamic_shapes=(shapes,)
    )
    few = whole[:7] if module is MLP else {name: part[:7] for name, part in X.items()}
    np.testing.assert_allclose(
        exported.module()(few), ensemble.predict_proba(few), rtol=1e-4, atol=1e-6
    )


def test_before_fit():
    for method in ("to_voting", "to_module"):
        with pytest.raises(NotFittedError):
            getattr(SnapshotEnsemble(make_classifier()), method)()


def test_a_votingclassifier_that_is_cloned_and_fitted_keeps_the_members():
    ensemble = SnapshotEnsemble(make_classifier(), n_snapshots=2, random_state=0)
    voting = ensemble.fit(X_DIGITS, WORDS).to_voting()
    again = clone(voting).fit(X_DIGITS, WORDS)
    np.testing.assert_array_equal(again.predict_proba(X_DIGITS), voting.predict_proba(X_DIGITS))


def test_one_module_leaves_the_members_trainable_and_its_own():
    ensemble = SnapshotEnsemble(make_classifier(), n_snapshots=2, random_state=0)
    module = ensemble.fit(X_DIGITS, WORDS).to_module()
    member = ensemble.estimators_[0].module_
    assert all(parameter.requires_grad for parameter in member.parameters())
    before = module(torch.from_numpy(X_DIGITS))
    with torch.no_grad():
        member.layers[0].weight.zero_()
    assert torch.equal(module(torch.from_numpy(X_DIGITS)), before)
