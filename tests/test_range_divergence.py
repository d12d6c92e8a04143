"""An exception in a training step: after good steps a divergence, before them the user's."""

import math

import numpy as np
import pytest
import torch
from nets import MLP, X_DIGITS, Y_DIGITS, make_classifier, make_regressor
from sklearn.datasets import load_diabetes
from sklearn.preprocessing import scale
from torch import nn

from sklr import LRRangeSearch
from sklr._training._target import find_target
from sklr.range_search import _trials
from sklr.range_search._preparation import Request, prepare

PARAMS = {"n_repeats": 2, "n_steps": 40, "random_state": 0, "budget": 11}


def small(module=MLP, **params):
    return make_classifier(module, max_epochs=3, **params)


class StrictCriterion(nn.CrossEntropyLoss):
    """Takes no extreme outputs, as many likelihoods do."""

    def forward(self, input, target):
        if not torch.isfinite(input).all() or input.abs().max() > 15:
            raise ValueError("extreme outputs")
        return super().forward(input, target)


class StrictModule(MLP):
    def forward(self, X):
        if max(p.detach().abs().max() for p in self.parameters()) > 20:
            raise RuntimeError("extreme weights")
        return super().forward(X)


class StrictOptimizer(torch.optim.SGD):
    def step(self, closure=None):
        super().step(closure)
        if max(p.detach().abs().max() for p in self.param_groups[0]["params"]) > 20:
            raise FloatingPointError("extreme step")


class Probabilistic(MLP):
    """torch.distributions raise a ValueError at NaN."""

    def forward(self, X):
        return torch.distributions.Categorical(logits=super().forward(X)).logits


NETS = {
    "criterion": lambda: small(criterion=StrictCriterion),
    "module": lambda: small(StrictModule),
    "optimizer": lambda: small(optimizer=StrictOptimizer),
    "distribution": lambda: small(Probabilistic),
}


@pytest.mark.parametrize(
    ("kind", "n_jobs", "scoring"),
    [
        ("criterion", 1, None),
        ("module", 2, None),
        ("optimizer", 1, None),
        ("distribution", 1, None),
        ("criterion", 1, "accuracy"),
    ],
)
def test_of_a_ramp_it_ends_the_ramp_only_and_is_named(kind, n_jobs, scoring):
    search = LRRangeSearch(NETS[kind](), n_jobs=n_jobs, scoring=scoring, max_lr=1e4, **PARAMS)
    found = search.fit(X_DIGITS, Y_DIGITS).suggest()
    assert found.status == "ok"
    assert found.verified
    assert 0.01 < found.lr < 3
    if kind != "distribution":  # its NaN may come by the loss first
        assert "2 of 2 ramps ended in an exception (" in found.message
        assert "extreme" in found.message


@pytest.mark.parametrize("kind", NETS)
def test_of_a_trial_it_is_a_loss_without_end(kind):
    net = NETS[kind]()
    owner = LRRangeSearch(net)
    request = Request(owner, net, find_target(owner, net), X_DIGITS, Y_DIGITS)
    prepared, data = prepare(request, 0)
    high = _trials.run_trial(prepared, _trials.Trial(1e30), (10, 40), 0, *data)
    assert high.losses[-1] == math.inf
    assert high.steps < 40
    low = _trials.run_trial(prepared, _trials.Trial(0.1), (10, 40), 0, *data)
    assert low.steps == 40
    assert np.isfinite(low.losses).all()


class Broken(MLP):
    def forward(self, X):
        if self.training:
            raise ValueError("never works")
        return super().forward(X)


class BrokenCriterion(nn.CrossEntropyLoss):
    def forward(self, input, target):
        raise ValueError("never works")


# That it comes out of workers, which it ends, is tested with that of a callback.
@pytest.mark.parametrize("params", [{"module": Broken}, {"criterion": BrokenCriterion}])
def test_in_the_first_step_it_is_the_users(params):
    with pytest.raises(ValueError, match="never works"):
        LRRangeSearch(small(**params), **PARAMS).fit(X_DIGITS, Y_DIGITS)


class NormalLoss(nn.Module):
    """The negative log-likelihood of a normal distribution of unit width."""

    def forward(self, input, target):
        return -torch.distributions.Normal(input, 1.0).log_prob(target).mean()


def test_a_likelihood_that_raises_at_nan():
    X, y = load_diabetes(return_X_y=True)
    X, y = scale(X).astype(np.float32), scale(y).astype(np.float32).reshape(-1, 1)
    net = make_regressor(criterion=NormalLoss, max_epochs=6)
    found = LRRangeSearch(net, max_lr=1e4, **(PARAMS | {"n_steps": 60})).fit(X, y).suggest()
    assert found.status == "ok"
    assert found.verified
