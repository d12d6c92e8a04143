"""Parameter groups with rates of their own are tried, suggested and trained in one proportion."""

import numpy as np
import pytest
from nets import X_DIGITS, Y_DIGITS, make_classifier
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import Callback
from torch import nn

from sklr import CyclicalLR, LRRangeSearch

PARAMS = {"n_repeats": 1, "n_steps": 40, "random_state": 0, "budget": 8}


class BodyAndHead(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Sequential(nn.Linear(64, 16), nn.ReLU()), nn.Linear(16, 10)

    def forward(self, X):
        return self.head(self.body(X))


class Looks(Callback):
    """Notes the groups' rates in every step, relative to the highest."""

    seen: list

    def on_batch_end(self, net, training=None, **kwargs):
        if training:
            rates = np.array([group["lr"] for group in net.optimizer_.param_groups])
            Looks.seen.append(tuple(np.round(rates / rates.max(), 9)))


def grouped(groups, **params):
    params |= {"optimizer__param_groups": groups, "max_epochs": 3}
    return make_classifier(BodyAndHead, callbacks=[("looks", Looks())], **params)


BODY, BOTH = [("body.*", {"lr": 0.01})], [("body.*", {"lr": 0.02}), ("head.*", {"lr": 0.002})]
CASES = [
    pytest.param(grouped(BODY, lr=0.1), {0.1, 1.0}, id="one below the net's own"),
    pytest.param(grouped([("head.*", {"lr": 0.3})], lr=0.1), {1.0, 0.333333333}, id="one above"),
    pytest.param(grouped(BOTH, lr=0.1), {1.0, 0.1}, id="all"),
    pytest.param(grouped(BOTH, lr=0.002), {1.0, 0.1}, id="all, one with the net's own"),
    pytest.param(grouped(BODY, lr=7.0, optimizer__lr=0.1), {0.1, 1.0}, id="optimizer__lr"),
]


@pytest.mark.parametrize(("net", "proportion"), CASES)
@pytest.mark.parametrize("steps", [[], [StandardScaler()]], ids=["net", "pipeline"])
def test_every_training_has_the_same_proportion(net, proportion, steps):
    Looks.seen = []
    estimator = make_pipeline(*steps, net) if steps else net
    fitted = LRRangeSearch(estimator, refit=True, **PARAMS).fit(X_DIGITS, Y_DIGITS)
    assert fitted.trials_["lr"].size > 3
    assert len(set(Looks.seen)) == 1
    assert set(Looks.seen[0]) == proportion
    found = fitted.suggest()
    best = fitted.best_estimator_[-1] if steps else fitted.best_estimator_
    trained = [group["lr"] for group in best.optimizer_.param_groups]
    own = {float(group.get("lr", 0)) for _, group in net.optimizer__param_groups}
    reference = getattr(net, "optimizer__lr", net.lr)
    if reference in own or len(own) < len(trained):
        # The suggestion stands in the place of the net's own rate.
        expected = [rate / reference * found.lr for rate in (*sorted(own), reference)]
        assert set(np.float32(trained)) <= set(np.float32(expected))
    else:
        assert max(trained) == pytest.approx(found.lr, rel=1e-12)


@pytest.mark.parametrize("n", [1, 3])
def test_a_grid_keeps_the_proportion(n):
    Looks.seen = []
    net = grouped(BOTH, lr=0.1)
    found = LRRangeSearch(net, **PARAMS).fit(X_DIGITS, Y_DIGITS).suggest()
    points = found.param_grid(n)
    assert [set(point) for point in points] == [{"lr", "optimizer__param_groups"}] * n
    rates = [point["lr"][0] for point in points]
    expected = found.lr * 10 ** (np.linspace(-0.5, 0.5, n) if n > 1 else np.zeros(1))
    np.testing.assert_allclose(rates, expected, rtol=1e-12)
    for point, lr in zip(points, rates, strict=True):
        (_, body), (_, head) = point["optimizer__param_groups"][0]
        assert (body["lr"], head["lr"]) == pytest.approx((lr, lr / 10))
    GridSearchCV(net, points, cv=2, error_score="raise").fit(X_DIGITS, Y_DIGITS)
    assert len(set(Looks.seen)) == 1
    with pytest.raises(ValueError, match=r"Use param_grid\(n\)"):
        found.param_distributions()


def test_the_users_groups_stay_as_they_are_and_other_options_are_kept():
    groups = [("body.*", {"lr": 0.01, "weight_decay": 0.1})]
    net = make_classifier(BodyAndHead, optimizer__param_groups=groups, lr=0.1, max_epochs=3)
    found = LRRangeSearch(net, **PARAMS).fit(X_DIGITS, Y_DIGITS).suggest()
    ((pattern, options),) = found.params["optimizer__param_groups"]
    assert (pattern, options["weight_decay"]) == ("body.*", 0.1)
    assert options["lr"] == pytest.approx(found.lr / 10)
    assert groups == [("body.*", {"lr": 0.01, "weight_decay": 0.1})]
    assert "body.*" in str(found)


@pytest.mark.parametrize(
    ("params", "names"),
    [
        ({"optimizer__param_groups": [("body.*", {"weight_decay": 0.1})]}, {"lr"}),
        (
            {"optimizer__param_groups": BODY, "callbacks": [("lr", CyclicalLR())]},
            {"callbacks__lr__base_lr", "callbacks__lr__max_lr"},
        ),
    ],
    ids=["no rates", "a schedule scales all groups"],
)
def test_groups_that_need_no_setting_are_not_set(params, names):
    net = make_classifier(BodyAndHead, **params)
    found = LRRangeSearch(net, **(PARAMS | {"verify": False, "n_steps": 60})).fit(
        X_DIGITS, Y_DIGITS
    )
    assert set(found.suggest().params) == names
