"""torch's own schedulers, driving a plain loop over the same batches, as the oracle."""

import numpy as np
import pytest
import torch
from callback_helpers import BATCH, EPOCHS, LR, STEPS, Linear, X, Y, make_net, rates, weights
from skorch.callbacks import Callback
from torch.optim import lr_scheduler as oracle

from sklr import callbacks

TOTAL = EPOCHS * STEPS
DOUBLE = X.astype(np.float64)


class Double(Linear):
    """In double precision, so that weights tell more."""

    def __init__(self):
        super().__init__()
        self.double()


class Watch(Callback):
    """Records the groups' settings in each closure."""

    def on_train_begin(self, net, **kwargs):
        self.momenta_ = []

    def on_grad_computed(self, net, **kwargs):
        self.momenta_.append(momentum_of(net.optimizer_))


def momentum_of(optimizer):
    group = optimizer.param_groups[0]
    return group["betas"][0] if "betas" in group else group.get("momentum")


def plain_loop(optimizer, make_scheduler, **settings):
    """Return rates, momenta and final weights of torch alone."""
    module = Double()
    optimizer = optimizer(module.parameters(), lr=LR, **settings)
    scheduler = make_scheduler(optimizer)
    inputs, targets = torch.from_numpy(DOUBLE), torch.from_numpy(Y)
    used, momenta = [], []
    for step in range(TOTAL):
        rows = slice(step % STEPS * BATCH, (step % STEPS + 1) * BATCH)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(module(inputs[rows]), targets[rows]).backward()
        used.append(optimizer.param_groups[0]["lr"])
        momenta.append(momentum_of(optimizer))
        optimizer.step()
        if step < TOTAL - 1:
            scheduler.step()
    final = np.concatenate([p.detach().numpy().ravel() for p in module.parameters()])
    return used, momenta, final


def trained(callback, optimizer, **settings):
    settings = {f"optimizer__{key}": value for key, value in settings.items()}
    net = make_net(callbacks=[("lr", callback), ("watch", Watch())], module=Double,
                   optimizer=optimizer, **settings)  # fmt: skip
    net.fit(DOUBLE, Y)
    return rates(net), dict(net.callbacks_)["watch"].momenta_, weights(net)


def assert_agree(callback, scheduler, optimizer=torch.optim.SGD, **settings):
    ours = trained(callback, optimizer, **settings)
    theirs = plain_loop(optimizer, scheduler, **settings)
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-12, atol=1e-15)
    if theirs[1][0] is not None:
        np.testing.assert_allclose(ours[1], theirs[1], rtol=1e-12)
    np.testing.assert_allclose(ours[2], theirs[2], rtol=1e-12)
    return ours


PAIRS = {
    "StepLR per batch": (
        callbacks.StepDecay(every=7, factor=0.3, unit="batch"),
        lambda opt: oracle.StepLR(opt, step_size=7, gamma=0.3),
    ),
    "StepLR per epoch": (
        callbacks.StepDecay(every=2, factor=0.3),
        lambda opt: oracle.StepLR(opt, step_size=2 * STEPS, gamma=0.3),
    ),
    "MultiStepLR": (
        callbacks.StepDecay(milestones=[3, 4, 19], factor=0.3, unit="batch"),
        lambda opt: oracle.MultiStepLR(opt, milestones=[3, 4, 19], gamma=0.3),
    ),
    "ExponentialLR": (
        callbacks.ExponentialDecay(gamma=0.9, unit="batch"),
        lambda opt: oracle.ExponentialLR(opt, gamma=0.9),
    ),
    "LambdaLR": (
        callbacks.InverseTimeDecay(decay_rate=0.2, unit="batch"),
        lambda opt: oracle.LambdaLR(opt, lambda step: 1 / (1 + 0.2 * step)),
    ),
    "CosineAnnealingLR": (
        callbacks.CosineDecay(),
        lambda opt: oracle.CosineAnnealingLR(opt, T_max=TOTAL),
    ),
    "CosineAnnealingLR with a floor": (
        callbacks.CosineDecay(min_lr=0.01),
        lambda opt: oracle.CosineAnnealingLR(opt, T_max=TOTAL, eta_min=0.01),
    ),
    "CosineAnnealingWarmRestarts": (
        callbacks.SGDR(min_lr=0.01, cycle_length=3, cycle_mult=2, unit="batch"),
        lambda opt: oracle.CosineAnnealingWarmRestarts(opt, T_0=3, T_mult=2, eta_min=0.01),
    ),
    "OneCycleLR": (
        callbacks.OneCycle(max_lr=0.5),
        lambda opt: oracle.OneCycleLR(opt, 0.5, TOTAL, cycle_momentum=False),
    ),
    "OneCycleLR linear": (
        callbacks.OneCycle(
            max_lr=0.5, pct_start=0.25, div_factor=10, final_div_factor=100, anneal="linear"
        ),
        lambda opt: oracle.OneCycleLR(
            opt,
            0.5,
            epochs=EPOCHS,
            steps_per_epoch=STEPS,
            pct_start=0.25,
            div_factor=10,
            final_div_factor=100,
            anneal_strategy="linear",
            cycle_momentum=False,
        ),
    ),
    "CyclicLR": (
        callbacks.CyclicalLR(base_lr=0.02, max_lr=0.3, step_size=4, unit="batch"),
        lambda opt: oracle.CyclicLR(opt, 0.02, 0.3, step_size_up=4, cycle_momentum=False),
    ),
    "CyclicLR triangular2": (
        callbacks.CyclicalLR(
            base_lr=0.02, max_lr=0.3, step_size=3, mode="triangular2", unit="batch"
        ),
        lambda opt: oracle.CyclicLR(
            opt, 0.02, 0.3, step_size_up=3, mode="triangular2", cycle_momentum=False
        ),
    ),
    "CyclicLR exp_range": (
        callbacks.CyclicalLR(
            base_lr=0.02, max_lr=0.3, step_size=3, mode="exp_range", gamma=0.9, unit="batch"
        ),
        lambda opt: oracle.CyclicLR(
            opt, 0.02, 0.3, step_size_up=3, mode="exp_range", gamma=0.9, cycle_momentum=False
        ),
    ),
}


@pytest.mark.parametrize("pair", PAIRS)
def test_rates_and_weights_are_torchs(pair):
    used, _, _ = assert_agree(*PAIRS[pair])
    assert len(set(used)) > 2


OPTIMIZERS = {
    "SGD": (torch.optim.SGD, {"momentum": 0.9}),
    "Adam": (torch.optim.Adam, {"betas": (0.9, 0.99)}),
    "AdamW": (torch.optim.AdamW, {}),
    "RMSprop": (torch.optim.RMSprop, {"momentum": 0.9}),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("mode", ["triangular", "triangular2", "exp_range"])
def test_momentum_of_cyclic_lr(optimizer, mode):
    cls, settings = OPTIMIZERS[optimizer]
    callback = callbacks.CyclicalLR(
        base_lr=0.02, max_lr=0.3, step_size=4, mode=mode, gamma=0.95, min_momentum=0.8,
        max_momentum=0.95, unit="batch",
    )  # fmt: skip
    _, momenta, _ = assert_agree(
        callback,
        lambda opt: oracle.CyclicLR(opt, 0.02, 0.3, step_size_up=4, mode=mode, gamma=0.95,
                                    base_momentum=0.8, max_momentum=0.95),
        cls, **settings,
    )  # fmt: skip
    assert min(momenta) < 0.84
    assert max(momenta) == 0.95


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("anneal", ["cos", "linear"])
def test_momentum_of_one_cycle_lr(optimizer, anneal):
    cls, settings = OPTIMIZERS[optimizer]
    callback = callbacks.OneCycle(
        max_lr=0.3, min_momentum=0.8, max_momentum=0.95, anneal=anneal, pct_start=0.4
    )
    _, momenta, _ = assert_agree(
        callback,
        lambda opt: oracle.OneCycleLR(opt, 0.3, TOTAL, base_momentum=0.8, max_momentum=0.95,
                                      anneal_strategy=anneal, pct_start=0.4),
        cls, **settings,
    )  # fmt: skip
    assert min(momenta) == 0.8
    assert momenta[0] == momenta[-1] == 0.95
