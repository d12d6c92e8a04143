"""Load the data of the benchmarks: float32 inputs and int64 labels."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import fetch_openml, load_digits

FASHION_DIR = Path("/usr/share/datasets/fashion-mnist")
"""The folder of Fashion-MNIST if no other is given."""
FASHION_FILES = ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz")

Data = tuple[NDArray[np.float32], NDArray[np.int64]]


class Split(NamedTuple):
    """Training and validation data."""

    X_train: NDArray[np.float32]
    y_train: NDArray[np.int64]
    X_valid: NDArray[np.float32]
    y_valid: NDArray[np.int64]


def split(data: Data, n_train: int, n_valid: int) -> Split:
    """Return disjoint training and validation data, the same in every run."""
    X, y = data
    order = np.random.default_rng(0).permutation(len(X))
    train, valid = order[:n_train], order[n_train : n_train + n_valid]
    return Split(X[train], y[train], X[valid], y[valid])


def digits() -> Data:
    """Load scikit-learn's 1,797 digits of 8 x 8 pixels, scaled to 0..1."""
    X, y = load_digits(return_X_y=True)
    return (X / 16).astype(np.float32), y.astype(np.int64)


def fashion_mnist(data_dir: Path | None = None) -> Data:
    """Load the 60,000 training images of Fashion-MNIST, scaled to 0..1; its test set is not read.

    Parameters
    ----------
    data_dir : Path, default=None
        Folder of the original files; None is `FASHION_DIR` if it is there, else the data is
        fetched from OpenML.

    Raises
    ------
    FileNotFoundError
        If the folder lacks a file, or there is no folder and nothing can be fetched.
    """
    if data_dir is None and not FASHION_DIR.is_dir():
        return _fetched_fashion_mnist()
    folder = FASHION_DIR if data_dir is None else data_dir
    for name in FASHION_FILES:
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"The '--data-dir' folder must hold {' and '.join(FASHION_FILES)}. "
                f"Got {str(folder)!r} without {name} instead."
            )
    images, labels = (_read_idx(folder / name) for name in FASHION_FILES)
    return _scaled(images.reshape(len(images), -1), labels)


def _fetched_fashion_mnist() -> Data:
    try:
        X, y = fetch_openml("Fashion-MNIST", version=1, return_X_y=True, as_frame=False)
    except Exception as error:
        raise FileNotFoundError(
            f"Fashion-MNIST is not in {FASHION_DIR} and could not be fetched from OpenML. Pass "
            f"the folder with {' and '.join(FASHION_FILES)} as --data-dir, or leave this "
            "benchmark out with --only."
        ) from error
    return _scaled(X[:60_000], y[:60_000])  # OpenML appends the test set


def _scaled(X: NDArray[np.generic], y: NDArray[np.generic]) -> Data:
    return X.astype(np.float32) / np.float32(255), y.astype(np.int64)


def _read_idx(path: Path) -> NDArray[np.uint8]:
    """Read a gzipped IDX file of bytes: a magic number, the sizes of the axes, the values."""
    raw = gzip.decompress(path.read_bytes())
    n_axes = raw[3]
    shape = np.frombuffer(raw, ">i4", count=n_axes, offset=4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * n_axes).reshape(shape)
