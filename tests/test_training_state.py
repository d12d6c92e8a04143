"""The whole state of a module, and averages of states."""

import numpy as np
import pytest
import torch
from nets import X_DIGITS, Y_DIGITS, make_classifier
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from sklr._averaging import averaged_state, reestimate_batch_norm
from sklr._module_state import ATTRIBUTE, load_module_state, module_state, state_dict_of


class Holds(nn.Module):
    """Numbers of all kinds, in itself and in a part of it."""

    def __init__(self, depth=1):
        super().__init__()
        self.layer = weight_norm(nn.Linear(64, 10))
        self.register_buffer("kept", torch.zeros(2))
        self.register_buffer("left_out", torch.zeros(2), persistent=False)
        self.tensor, self.array = torch.zeros(2), np.zeros(2)
        self.number, self.flag, self.text = 0, False, "a"
        self.part = Holds(depth - 1) if depth else None

    def parts(self):
        return [self, self.part] if self.part else [self]

    def fill(self, value):
        for part in self.parts():
            for tensor in (part.kept, part.left_out, part.tensor):
                tensor.fill_(value)
            part.array[:] = part.number = value
            part.flag = bool(value)
            nn.init.constant_(part.layer.bias, value)

    def values(self):
        return [
            (*p.kept.tolist(), *p.left_out.tolist(), *p.tensor.tolist(), *p.array, p.number, p.flag)
            for p in self.parts()
        ]

    def forward(self, X):
        return self.layer(X)


def test_a_state_is_a_copy_of_all_numbers():
    module, other = Holds(), Holds()
    module.fill(3)
    state = module_state(module)
    module.fill(5)
    module.text = other.text = "b"
    load_module_state(other, state)
    assert other.values() == [(3, 3, 3, 3, 3, 3, 3, 3, 3, True)] * 2
    assert other.text == "b"
    X = torch.randn(4, 64)
    nn.init.constant_(module.layer.bias, 3)
    assert torch.equal(other(X), module(X))
    # The state stays what it is, whatever becomes of the module.
    other.fill(7)
    load_module_state(module, state)
    assert module.values()[0][0] == 3
    assert set(state_dict_of(state)) == set(module.state_dict())
    assert f"{ATTRIBUTE}part.left_out" in state
    assert "training" not in "".join(state)


def test_a_compiled_modules_state_fits_the_plain_one():
    module, plain = nn.Linear(3, 2), nn.Linear(3, 2)
    load_module_state(plain, module_state(torch.compile(module, backend="eager")))
    assert torch.equal(plain.weight, module.weight)
    compiled = torch.compile(nn.Linear(3, 2), backend="eager")
    load_module_state(compiled, module_state(module))
    assert torch.equal(compiled._orig_mod.weight, module.weight)


def test_a_state_that_does_not_fit_raises():
    with pytest.raises(RuntimeError, match="size mismatch"):
        load_module_state(nn.Linear(3, 2), module_state(nn.Linear(4, 2)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_average_is_weighted_and_counters_are_the_lasts(dtype):
    states = [
        {"w": torch.full((2,), v, dtype=dtype), "n": torch.tensor(int(v))} for v in (1.0, 4.0)
    ]
    mean = averaged_state(states, [3, 1])
    assert (mean["w"].tolist(), mean["w"].dtype, mean["n"]) == ([1.75] * 2, dtype, 4)
    assert averaged_state(states)["w"].tolist() == [2.5, 2.5]
    assert states[1]["n"] is not mean["n"]


class Normed(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.layer = nn.BatchNorm1d(64), nn.Linear(64, 10)

    def forward(self, X):
        return self.layer(self.norm(X))


def test_batch_norm_gets_the_statistics_of_all_samples():
    net = make_classifier(Normed, max_epochs=1).fit(X_DIGITS, Y_DIGITS)
    # Batches of 50 and a last one of one sample, which has no variance of its own.
    batches = net.get_iterator(net.get_dataset(X_DIGITS[:151], Y_DIGITS[:151]), training=False)
    reestimate_batch_norm(net, batches)
    norm, expected = net.module_.norm, X_DIGITS[:150].astype(float)
    np.testing.assert_allclose(norm.running_mean, expected.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(norm.running_var, expected.var(axis=0, ddof=1), rtol=1e-5, atol=1e-7)
    assert not net.module_.training
