"""Every warning of sklr names the user's own line, whatever stands between it and the warning."""

import ast
import warnings
from pathlib import Path

import numpy as np
import pytest
from nets import MLP, X_DIGITS, Y_DIGITS, Still, make_classifier
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import sklr
from sklr import CosineDecay, LRRangeSearch, SnapshotEnsemble

PACKAGE = Path(sklr.__file__).parent


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_all_warnings_go_through_the_one_helper(path):
    if path.name == "_warnings.py":
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in ("warnings.warn", "warnings.warn_explicit"), called


def past_its_end():
    net = make_classifier(callbacks=[CosineDecay()], max_epochs=1)
    return net.fit(X_DIGITS, Y_DIGITS), lambda net: net.partial_fit(X_DIGITS, Y_DIGITS)


def without_an_answer():
    search = LRRangeSearch(
        make_classifier(Still), n_repeats=1, n_steps=20, extend=False, verify=False, refit=True
    )
    return search, lambda search: search.fit(X_DIGITS, Y_DIGITS)


class Logits(MLP):
    """Logits that skorch takes for probabilities, since the criterion is not torch's."""


def no_probabilities():
    class Loss(make_classifier().criterion):
        pass

    net = make_classifier(Logits, criterion=Loss, predict_nonlinearity=None)
    return SnapshotEnsemble(net, n_snapshots=1), lambda e: e.fit(X_DIGITS, Y_DIGITS)


def in_a_pipeline():
    ensemble, _ = no_probabilities()
    return make_pipeline(StandardScaler(), ensemble), lambda e: e.fit(X_DIGITS, Y_DIGITS)


def in_cross_validation():
    ensemble, _ = no_probabilities()
    return ensemble, lambda e: cross_val_score(e, X_DIGITS, Y_DIGITS, cv=2, n_jobs=1)


@pytest.mark.parametrize(
    "case", [past_its_end, without_an_answer, no_probabilities, in_a_pipeline, in_cross_validation]
)
def test_warnings_name_the_users_line(case):
    made, call = case()
    np.random.seed(0)  # noqa: NPY002
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call(made)
    assert caught
    assert {warning.filename for warning in caught} == {__file__}
