"""Small nets and data that several test files train."""

import numpy as np
import torch
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.datasets import load_digits
from skorch import NeuralNetClassifier, NeuralNetRegressor
from torch import nn

X_DIGITS, Y_DIGITS = load_digits(return_X_y=True)
X_DIGITS = (X_DIGITS[:500] / 16).astype(np.float32)
Y_DIGITS = Y_DIGITS[:500]


class MLP(nn.Module):
    """One hidden layer; logits, or one output a target."""

    def __init__(self, n_inputs=64, n_outputs=10, n_hidden=16):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(n_inputs, n_hidden), nn.ReLU(), nn.Linear(n_hidden, n_outputs)
        )

    def forward(self, X):
        return self.layers(X)


class Still(MLP):
    """Says the same of everything, whatever it is trained on."""

    def forward(self, X):
        return super().forward(X) * 0


class Recorder(TransformerMixin, BaseEstimator):
    """Notes on how many samples it was fitted; the list is to be made anew by each test."""

    fitted_on: list

    def fit(self, X, y=None):
        Recorder.fitted_on.append(len(X))
        self.fitted_ = True
        return self

    def transform(self, X):
        return X


def make_classifier(module=MLP, **params):
    defaults = {
        "criterion": nn.CrossEntropyLoss,
        "max_epochs": 6,
        "batch_size": 50,
        "lr": 0.5,
        "train_split": None,
        "iterator_train__shuffle": True,
        "verbose": 0,
    }
    return NeuralNetClassifier(module, **(defaults | params))


def make_regressor(module=MLP, **params):
    defaults = {"module__n_inputs": 10, "module__n_outputs": 1, "max_epochs": 10, "lr": 0.05}
    defaults |= {"batch_size": 50, "train_split": None, "verbose": 0}
    return NeuralNetRegressor(module, **(defaults | params))


def weights(net):
    """Give the module's parameters as one vector."""
    return torch.cat([p.detach().ravel() for p in net.module_.parameters()])
