"""Compare a snapshot ensemble with a single net on handwritten digits, and draw it.

Both train for the same number of epochs; validation data shows which one is better.

Run it with: python examples/ensemble.py [--figure ensemble.png] [--checkpoints FOLDER]
"""

from __future__ import annotations

import argparse

import matplotlib as mpl
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from skorch import NeuralNetClassifier
from skorch.dataset import ValidSplit
from skorch.toy import MLPModule
from torch import nn

from sklr import CosineDecay, SnapshotEnsemble
from sklr.plotting import SnapshotDisplay

SEED = 0


def main() -> None:
    """Train both, compare them, and draw the ensemble."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--figure", default="ensemble.png", help="file to write the figure to")
    parser.add_argument("--checkpoints", help="folder from which an interrupted fit resumes")
    args = parser.parse_args()
    mpl.use("Agg")
    torch.set_num_threads(1)  # more threads only slow a net this small
    torch.manual_seed(SEED)

    X, y = load_digits(return_X_y=True)
    X_train, X_valid, y_train, y_valid = train_test_split(
        (X / 16).astype("float32"), y, test_size=0.4, stratify=y, random_state=SEED
    )
    net = NeuralNetClassifier(
        MLPModule,
        module__input_units=64,
        module__hidden_units=64,
        module__output_units=10,
        criterion=nn.CrossEntropyLoss,
        lr=1.0,
        max_epochs=40,
        batch_size=32,
        iterator_train__shuffle=True,
        train_split=ValidSplit(0.2, stratified=True, random_state=SEED),
        verbose=0,
    )
    ensemble = SnapshotEnsemble(
        net,
        weights="greedy",
        checkpoint_dir=args.checkpoints,
        random_state=SEED,
        verbose=1,
    ).fit(X_train, y_train)
    single = net.set_params(callbacks=[CosineDecay()]).fit(X_train, y_train)

    for name, model in {"single net, cosine": single, "snapshot ensemble": ensemble}.items():
        loss = log_loss(y_valid, model.predict_proba(X_valid))
        print(f"{name}: accuracy {model.score(X_valid, y_valid):.3f}, log-loss {loss:.3f}")
    stages = [np.mean(labels == y_valid) for labels in ensemble.staged_predict(X_valid)]
    print("the last 1, 2, ... members:", ", ".join(f"{stage:.3f}" for stage in stages))

    uncertainty = ensemble.predict_uncertainty(X_valid)
    right = ensemble.predict(X_valid) == y_valid
    print(
        f"mean entropy in nats: {uncertainty.total[right].mean():.2f} of right predictions, "
        f"{uncertainty.total[~right].mean():.2f} of wrong ones"
    )
    display = SnapshotDisplay.from_ensemble(ensemble, X_valid, y_valid).plot()
    display.figure_.savefig(args.figure, dpi=120)
    print(f"Figure in {args.figure}.")


if __name__ == "__main__":
    main()
