"""Find a learning rate, schedule it and ensemble the snapshots, for a net on handwritten digits.

A range test is run on a Pipeline of StandardScaler and a skorch net; GridSearchCV refines the peak
that it suggests for a cyclical schedule; one more training gives a snapshot ensemble. Validation
data decides which of the four models is chosen, and each is scored on the test data once.

Run it with: python examples/quickstart.py [--figure quickstart.png]
"""

from __future__ import annotations

import argparse
import time

import matplotlib as mpl
import torch
from rich.console import Console
from rich.table import Table
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetClassifier
from torch import nn

from sklr import CyclicalLR, LRRangeSearch, SnapshotEnsemble
from sklr.data import ArrayDataset
from sklr.plotting import SnapshotDisplay

MAX_EPOCHS = 30
SEED = 0


class MLP(nn.Module):
    """A multilayer perceptron with two hidden layers of 64 units."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)
        )

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        return self.layers(X)


def make_net(**params: object) -> NeuralNetClassifier:
    """Return a net with the default learning rate of skorch, 0.01."""
    return NeuralNetClassifier(
        MLP,
        criterion=nn.CrossEntropyLoss,
        max_epochs=MAX_EPOCHS,
        batch_size=64,
        iterator_train__shuffle=True,
        dataset=ArrayDataset,
        train_split=None,
        verbose=0,
        **params,
    )


def main() -> None:
    """Run all steps."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--figure", default="quickstart.png", help="file to write the figure to")
    args = parser.parse_args()
    console, start = Console(), time.perf_counter()

    X, y = load_digits(return_X_y=True)
    split = {"random_state": SEED}
    X_rest, X_test, y_rest, y_test = train_test_split(X, y, test_size=0.25, stratify=y, **split)
    X_train, X_valid, y_train, y_valid = train_test_split(
        X_rest, y_rest, test_size=0.25, stratify=y_rest, **split
    )
    torch.manual_seed(SEED)
    torch.set_num_threads(1)  # more threads only slow a net this small

    console.print("1 of 4: a net with skorch's default rate")
    default = make_pipeline(StandardScaler(), make_net()).fit(X_train, y_train)

    console.print("2 of 4: range test")
    cyclical = make_pipeline(
        StandardScaler(), make_net(callbacks=[("lr", CyclicalLR(step_size=MAX_EPOCHS / 6))])
    )
    search = LRRangeSearch(cyclical, random_state=SEED, verbose=1).fit(X_train, y_train)
    found = search.suggest()
    suggested = clone(default).set_params(neuralnetclassifier__lr=found.lr)
    suggested.fit(X_train, y_train)
    console.print(
        f"Range test ({found.status}, {found.cost_steps} steps, {found.seconds:.1f} s): constant "
        f"rate {found.lr:.2g}, cycle from {found.base_lr:.2g} to {found.max_lr:.2g}"
    )

    console.print("3 of 4: bounds of the cycle in GridSearchCV")
    cyclical.set_params(**found.params)
    grid = GridSearchCV(cyclical, found.param_grid(n=3), cv=3).fit(X_train, y_train)
    (best,) = grid.best_params_.values()
    console.print(f"GridSearchCV: max_lr {best:.2g}, cross-validated {grid.best_score_:.3f}")

    console.print("4 of 4: snapshot ensemble")
    ensemble = make_pipeline(
        StandardScaler(),
        SnapshotEnsemble(make_net(lr=best), random_state=SEED, verbose=1),
    ).fit(X_train, y_train)

    candidates = {
        "default rate (0.01)": default,
        f"suggested rate ({found.lr:.2g})": suggested,
        f"cyclical ({found.base_lr:.2g} to {best:.2g})": grid.best_estimator_,
        "snapshot ensemble (5 members)": ensemble,
    }
    scores = {
        name: (model.score(X_valid, y_valid), model.score(X_test, y_test))
        for name, model in candidates.items()
    }
    chosen = max(scores, key=lambda name: scores[name][0])
    table = Table("learning rate", "validation", "test", "", title="Accuracy on digits")
    for name, (valid, test) in scores.items():
        table.add_row(name, f"{valid:.3f}", f"{test:.3f}", "chosen" if name == chosen else "")
    console.print(table)

    draw(search, grid.best_estimator_[-1], ensemble[-1], args.figure)
    console.print(f"Figure in {args.figure}; {time.perf_counter() - start:.0f} s in all.")


def draw(
    search: LRRangeSearch, net: NeuralNetClassifier, ensemble: SnapshotEnsemble, path: str
) -> None:
    """Draw the range test, the cyclical rate and the ensemble's training."""
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(16, 5), layout="constrained")
    search.plot(ax=left)
    rates = [batch["lr"] for epoch in net.history for batch in epoch["batches"]]
    middle.plot([i / len(rates) * MAX_EPOCHS for i in range(len(rates))], rates)
    middle.set(xlabel="epoch", ylabel="learning rate", title="cyclical rate, as used")
    SnapshotDisplay.from_ensemble(ensemble).plot(ax=right)
    right.set_title("snapshot ensemble")
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
