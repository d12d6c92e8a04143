"""What all tests run under: one torch thread, no window, bounded hypothesis runs."""

import matplotlib as mpl
import pytest
import torch
from hypothesis import settings

mpl.use("Agg")
torch.set_num_threads(1)
# Timings of a shared machine say nothing about the code.
settings.register_profile("sklr", deadline=None)
settings.load_profile("sklr")


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    import matplotlib.pyplot as plt

    plt.close("all")
