"""A fitted ensemble goes through files, pickle, joblib and skops, and says the same."""

import json
import pickle
from contextlib import suppress
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
import skops.io
import torch
from nets import X_DIGITS, Y_DIGITS, make_classifier, make_regressor
from sklearn.base import clone
from sklearn.datasets import load_diabetes
from sklearn.exceptions import NotFittedError
from sklearn.preprocessing import scale
from skorch.dataset import ValidSplit
from torch import nn

from sklr import SnapshotEnsemble, SnapshotEnsembleRegressor
from sklr._checkpoint import CheckpointError, _files

WORDS = np.array(list("jihgfedcba"))[Y_DIGITS]
COLUMNS = [f"pixel {i}" for i in range(64)]
FRAME = pd.DataFrame(X_DIGITS.astype(float), columns=COLUMNS)


def make(**params):
    net = make_classifier(train_split=ValidSplit(5, stratified=True), **params)
    return SnapshotEnsemble(net, n_snapshots=3, weights="greedy", random_state=0)


def check_members(loaded, saved):
    """Require the same weights; where they lie in memory may change how products are rounded."""
    pairs = zip(loaded.estimators_, saved.estimators_, strict=True)
    for new, old in pairs:
        torch.testing.assert_close(
            new.module_.state_dict(), old.module_.state_dict(), rtol=0, atol=0
        )


@pytest.fixture(scope="module")
def fitted():
    return make().fit(FRAME, WORDS)


@pytest.mark.parametrize("labels", [WORDS, Y_DIGITS + 3, Y_DIGITS % 2 == 0], ids=lambda y: y.dtype)
def test_what_is_loaded_says_the_same(labels, tmp_path):
    saved = make().fit(FRAME, labels)
    saved.save(tmp_path)
    loaded = make().load(tmp_path)
    check_members(loaded, saved)
    np.testing.assert_allclose(
        loaded.predict_proba(FRAME), saved.predict_proba(FRAME), rtol=1e-5, atol=1e-8
    )
    np.testing.assert_array_equal(loaded.predict(FRAME), saved.predict(FRAME))
    assert loaded.predict(FRAME).dtype == saved.predict(FRAME).dtype
    assert list(loaded.feature_names_in_) == COLUMNS
    assert list(loaded.named_estimators_) == list(saved.named_estimators_)
    for name in ("weights_", "member_scores_", "classes_"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(saved, name))
    np.testing.assert_array_equal(loaded.diversity_.correlation, saved.diversity_.correlation)
    assert loaded.history_ == saved.history_
    assert loaded.snapshot_steps_ == saved.snapshot_steps_
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".safetensors"}
    assert loaded.to_voting().score(FRAME, labels) == saved.score(FRAME, labels)


def test_a_regressor(tmp_path):
    X, y = (scale(part) for part in load_diabetes(return_X_y=True))
    ensemble = SnapshotEnsembleRegressor(make_regressor(), n_snapshots=2, random_state=0)
    saved = clone(ensemble).fit(X, y)
    saved.save(tmp_path)
    check_members(ensemble.load(tmp_path), saved)
    np.testing.assert_allclose(ensemble.predict(X), saved.predict(X), rtol=1e-5, atol=1e-6)
    assert ensemble.member_scores_ is None


def test_weights_of_another_module_and_ensembles_of_another_kind_are_refused(fitted, tmp_path):
    fitted.save(tmp_path)
    with pytest.raises(CheckpointError, match="does not fit the module"):
        make(module__n_hidden=17).load(tmp_path)
    with pytest.raises(CheckpointError, match="holds no SnapshotEnsembleRegressor but a Snapshot"):
        SnapshotEnsembleRegressor(make_regressor()).load(tmp_path)
    with pytest.raises(CheckpointError, match=r"manifest.json is missing"):
        make().load(tmp_path / "elsewhere")
    with pytest.raises(NotFittedError):
        make().save(tmp_path)


def files_of(ensemble):
    """Give what each parameter of the first member lies in: the name of a file, if it is one."""
    places = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
    ranges = [
        (*(int(end, 16) for end in p[0].split("-")), p[5] if len(p) > 5 else "") for p in places
    ]

    def file_of(address):
        return next(Path(file).name for low, high, file in ranges if low <= address < high)

    return [file_of(p.data_ptr()) for p in ensemble.estimators_[0].module_.parameters()]


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="shows mappings as Linux does")
def test_loaded_weights_lie_in_the_files(fitted, tmp_path):
    fitted.save(tmp_path)
    loaded = make().load(tmp_path)
    (file,) = {path.name for path in tmp_path.glob("snapshot_1-*.safetensors")}
    assert files_of(loaded) == [file] * 4
    assert file not in files_of(fitted)


class Tied(nn.Module):
    """Reads and writes with the same weights."""

    def __init__(self):
        super().__init__()
        self.write = nn.Linear(10, 64, bias=False)
        self.read = nn.Linear(10, 64, bias=False)
        self.read.weight = self.write.weight
        self.norm = nn.BatchNorm1d(10)

    def forward(self, X):
        return self.norm(X @ self.read.weight) @ self.write.weight.T[:, :10]


def test_a_loaded_member_trains_on_and_leaves_the_files(tmp_path):
    saved = SnapshotEnsemble(make_classifier(Tied, lr=0.1), n_snapshots=2, random_state=0)
    saved.fit(X_DIGITS, Y_DIGITS).save(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    loaded = clone(saved).load(tmp_path)
    old, new = (ensemble.estimators_[0] for ensemble in (saved, loaded))
    for member in (old, new):
        torch.manual_seed(0)
        member.partial_fit(X_DIGITS, Y_DIGITS)
    module = new.module_
    assert module.read.weight is module.write.weight
    torch.testing.assert_close(module.state_dict(), old.module_.state_dict(), rtol=0, atol=0)
    assert not torch.equal(module.read.weight, loaded.estimators_[1].module_.read.weight)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    again = clone(saved).load(tmp_path)
    assert not torch.equal(again.estimators_[0].module_.read.weight, module.read.weight)


@pytest.mark.parametrize("kind", ["classifier", "regressor"])
def test_skops(fitted, kind):
    ensemble, X = fitted, FRAME
    if kind == "regressor":
        X, y = (scale(part) for part in load_diabetes(return_X_y=True))
        net = make_regressor()
        ensemble = SnapshotEnsembleRegressor(net, n_snapshots=2, random_state=0).fit(X, y)
    written = skops.io.dumps(ensemble)
    again = skops.io.loads(written, trusted=skops.io.get_untrusted_types(data=written))
    np.testing.assert_array_equal(again.predict(X), ensemble.predict(X))
    np.testing.assert_array_equal(again.transform(X), ensemble.transform(X))


@pytest.mark.parametrize("through", [pickle, joblib])
def test_pickle_and_joblib(fitted, through, tmp_path):
    path = tmp_path / "ensemble"
    if through is pickle:
        again = pickle.loads(pickle.dumps(fitted))
    else:
        joblib.dump(fitted, path)
        again = joblib.load(path)
    np.testing.assert_array_equal(again.predict_proba(FRAME), fitted.predict_proba(FRAME))


# --- files that somebody else may have written ---


def labels(items, dtype):
    return {"dtype": dtype, "items": items}


FORGED = {
    "an unknown or missing value": [
        lambda v: v.pop("kind"),
        lambda v: v.update(predict=3),
        lambda v: v["plain"].update(estimator=3),
        lambda v: v["plain"].update(predict=3),
        lambda v: v["plain"].pop("snapshot_steps_"),
        lambda v: v["params"].update(weights=[1, 2, 3]),
    ],
    "weights": [
        lambda v: v.update(weights=None),
        lambda v: v.update(weights=[1.0]),
        lambda v: v.update(weights=[2.0, -1.0, 0.0]),
        lambda v: v.update(weights=["a"] * 3),
        lambda v: v.update(weights=[[1.0], 2.0, 3.0]),
        lambda v: v.update(weights=[float("nan")] * 3),
    ],
    "labels": [
        lambda v: v.update(classes=None),
        lambda v: v.update(classes=labels([{}, {}], "|O")),
        lambda v: v.update(classes=labels(["a", "b"], "<U2000000000")),
        lambda v: v.update(classes=labels([0, 1], "V17179869184")),
        lambda v: v.update(classes=labels([0, 1], "f99")),
        lambda v: v.update(classes=labels(list("badc"), "<U1")),
        lambda v: v.update(features=["a"]),
    ],
    "members": [
        lambda v: v.update(members=[]),
        lambda v: v.update(members=["snapshot_1"] * 3),
        lambda v: v.update(members=["a", "b", "c"]),
        lambda v: v["plain"].update(_members_of_runs=[1, 1]),
    ],
    "histories": [
        lambda v: v.update(histories=[]),
        lambda v: v.update(histories=[[1, 2]]),
        lambda v: v.update(histories=[[{"batches": [1]}]]),
        lambda v: v.update(scores=["a"]),
        lambda v: v.update(diversity={"correlation": [[1], [1, 2]], "disagreement": []}),
        lambda v: v["diversity"].update(more=[1]),
    ],
    "parameters of the net": [
        lambda v: v["adapted"].update(iterator_valid__num_workers=4),
        lambda v: v["adapted"].update(module="os.system"),
        lambda v: v["adapted"].update(module__n_hidden=17),
        lambda v: v["adapted"].update(module__unknown=17),
        lambda v: v["adapted"].update(dataset__dtype=3),
    ],
}


def forge(folder, change):
    """Edit a manifest, and set its checksum as sklr would."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    content = {name: manifest[name] for name in ("files", "parts", "values")}
    manifest["sha256"] = _files._digest(content)
    path.write_text(json.dumps(manifest))


def assert_refused(ensemble, folder):
    """Require an error, and an ensemble that is as it was."""
    before, said = dict(vars(ensemble)), ensemble.predict_proba(FRAME)
    with pytest.raises(CheckpointError):
        ensemble.load(folder)
    assert vars(ensemble) == before
    np.testing.assert_array_equal(ensemble.predict_proba(FRAME), said)


@pytest.fixture(scope="module")
def other():
    """Return another fitted ensemble, of the same parameters."""
    return make().fit(FRAME[:300], WORDS[:300])


@pytest.mark.parametrize("kind", FORGED)
def test_a_forged_manifest_is_refused_and_the_ensemble_stays(kind, fitted, other, tmp_path):
    for change in FORGED[kind]:
        fitted.save(tmp_path)
        forge(tmp_path, lambda manifest, change=change: change(manifest["values"]))
        assert_refused(other, tmp_path)


def state(manifest):
    return manifest["parts"]["snapshot_3"]["dict"]


def test_a_forged_state_is_refused_and_the_ensemble_stays(fitted, other, tmp_path):
    for change in (
        lambda m: m["parts"].update(snapshot_3=3),
        lambda m: m["parts"].pop("snapshot_3"),
        lambda m: state(m).pop(0),
        lambda m: state(m).append([state(m).pop(0)[0], 3]),
        lambda m: state(m).append(["attribute:forward", 3]),
        lambda m: state(m).append(["attribute:layers", 3]),
        lambda m: state(m).append(["attribute:layers.training", 1]),
        lambda m: state(m).append(["attribute:_parameters", 3]),
        lambda m: state(m).append(["attribute:no.where", 3]),
        lambda m: state(m).append(["attribute:more", "text"]),
        lambda m: state(m).append([3, 3]),
    ):
        fitted.save(tmp_path)
        forge(tmp_path, change)
        assert_refused(other, tmp_path)


def changes(value, path=()):
    """Yield every place in nested values."""
    if isinstance(value, dict | list) and path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value[:2])
    for key, item in items:
        if isinstance(item, dict | list):
            yield from changes(item, (*path, key))
        else:
            yield (*path, key)


def test_whatever_is_edited_it_loads_or_is_refused(fitted, tmp_path):
    """Nothing else is raised, and nothing is set but what an ensemble has."""
    fitted.save(tmp_path)
    text = (tmp_path / "manifest.json").read_text()
    manifest = json.loads(text)
    # The batches of one epoch are like those of the others.
    manifest["values"]["histories"][0] = manifest["values"]["histories"][0][:1]
    places = [path for path in changes(manifest) if path[0] in ("values", "parts")]
    assert len(places) > 80
    rng = np.random.default_rng(0)
    attributes = vars(fitted).keys()
    for i in rng.choice(len(places), 80, replace=False):
        edited = json.loads(json.dumps(manifest))
        *path, last = places[i]
        owner = edited
        for key in path:
            owner = owner[key]
        owner[last] = [None, -1, "x", [], {}, [[1]], {"a": 1}, 1e300, True][rng.integers(9)]
        (tmp_path / "manifest.json").write_text(json.dumps(edited))
        forge(tmp_path, lambda _: None)
        loaded = make()
        with suppress(CheckpointError):
            loaded.load(tmp_path)
        assert vars(loaded).keys() <= attributes


def test_a_link_out_of_the_folder_is_refused(fitted, other, tmp_path):
    fitted.save(tmp_path / "a")
    (path,) = (tmp_path / "a").glob("snapshot_2-*")
    path.rename(tmp_path / path.name)
    path.symlink_to(tmp_path / path.name)
    with pytest.raises(CheckpointError, match=f"{path.name} is no plain file"):
        other.load(tmp_path / "a")


# --- modules with a state of other kinds ---


class Scaled(nn.Module):
    """Divides by what it has seen: a buffer that no state_dict has, and a plain number."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(64, 10)
        self.register_buffer("scale", torch.ones(64), persistent=False)
        self.n = 0

    def forward(self, X):
        if self.training:
            self.scale = 0.9 * self.scale + X.abs().mean(0)
            self.n += 1
        return self.layer(X / self.scale) * self.n / 10


class Normed(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.utils.weight_norm(nn.Linear(64, 10))

    def forward(self, X):
        return self.layer(X)


@pytest.mark.parametrize(
    "module",
    [
        Scaled,
        pytest.param(
            Normed,
            marks=pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning"),
        ),
    ],
)
def test_a_state_that_no_state_dict_has(module, tmp_path):
    saved = SnapshotEnsemble(make_classifier(module), n_snapshots=2, random_state=0)
    saved.fit(X_DIGITS, Y_DIGITS).save(tmp_path)
    loaded = clone(saved).load(tmp_path)
    expected = saved.predict_proba(X_DIGITS)
    np.testing.assert_allclose(loaded.predict_proba(X_DIGITS), expected, rtol=1e-5, atol=1e-7)
    for ensemble in (saved, loaded):
        out = ensemble.to_module()(torch.as_tensor(X_DIGITS))
        np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("compiled", ["saved", "loaded"])
def test_a_compiled_nets_ensemble_loads_into_the_plain_net_and_back(compiled, tmp_path):
    def ensemble(is_compiled):
        # No code is made by this backend: the names of the weights are what counts.
        more = {"compile": True, "compile__backend": "eager"} if is_compiled else {}
        return SnapshotEnsemble(make_classifier(**more), n_snapshots=2, random_state=0)

    saved = ensemble(compiled == "saved").fit(X_DIGITS, Y_DIGITS)
    saved.save(tmp_path)
    loaded = ensemble(compiled == "loaded").load(tmp_path)
    np.testing.assert_allclose(
        loaded.predict_proba(X_DIGITS), saved.predict_proba(X_DIGITS), rtol=1e-5, atol=1e-7
    )
