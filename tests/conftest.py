"""What all tests run under: one torch thread, the same seeds, no window."""

import matplotlib as mpl
import numpy as np
import pytest
import torch
from hypothesis import settings

mpl.use("Agg")
torch.set_num_threads(1)
# Timings of a shared machine say nothing about the code.
settings.register_profile("sklr", deadline=None)
settings.load_profile("sklr")


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    import matplotlib.pyplot as plt

    plt.close("all")
