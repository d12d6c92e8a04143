"""Run a learning-rate range test on handwritten digits, and draw it.

Run it with: python examples/range_test.py [--figure range_test.png] [--scoring accuracy]
"""

from __future__ import annotations

import argparse

import matplotlib as mpl
import torch
from sklearn.datasets import load_digits
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetClassifier
from skorch.toy import MLPModule
from torch import nn

from sklr import LRRangeSearch


def main() -> None:
    """Find a learning rate, print the suggestion and draw the test."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--figure", default="range_test.png", help="file to write the figure to")
    parser.add_argument("--scoring", help="a scikit-learn metric in place of the loss")
    args = parser.parse_args()
    mpl.use("Agg")
    torch.set_num_threads(1)  # more threads only slow a net this small

    X, y = load_digits(return_X_y=True)
    net = NeuralNetClassifier(
        MLPModule,
        module__input_units=64,
        module__hidden_units=64,
        module__output_units=10,
        criterion=nn.CrossEntropyLoss,
        max_epochs=30,
        batch_size=32,
    )
    search = LRRangeSearch(
        make_pipeline(StandardScaler(), net), scoring=args.scoring, random_state=0, verbose=1
    )
    found = search.fit(X, y).suggest()
    print(f"{found.status}: {found.message}")
    print(f"constant rate {found.lr:.2g}, cycle from {found.base_lr:.2g} to {found.max_lr:.2g}")
    print(f"{found.cost_steps} steps, {found.seconds:.1f} s; set_params(**{found.params})")
    search.plot().figure_.savefig(args.figure, dpi=120)
    print(f"Figure in {args.figure}.")


if __name__ == "__main__":
    main()
