"""Released checkpoints: every tensor has its place, and the imported network is the authors' network."""

from __future__ import annotations

import importlib.util
import json

import numpy as np
import pytest
import torch
from conftest import ROOT
from torch.nn.functional import conv2d, leaky_relu

from ebm_cli.config import ConfigError
from ebm_cli.models import WideResNet
from ebm_cli.runs.files import read_checkpoint
from ebm_cli.runs.released import KeyMap, read_map, translated
from ebm_cli.runs.trained import load_energy

NAMES = json.loads((ROOT / "tests" / "runs" / "jem_wrn28_10.json").read_text())  # as in the authors' file
JEM = ROOT / "scripts" / "released" / "jem.yaml"


def script(name):
    """A module of scripts/, which is no package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """A folder with a file as the JEM authors publish it, random inside, and the run made of it."""
    folder = tmp_path_factory.mktemp("jem")
    torch.manual_seed(0)
    tensors = {name: torch.randn(shape) * 2 / max(1, np.prod(shape[1:])) ** 0.5 for name, shape in NAMES.items()}
    buffer = 2 * torch.rand(20, 3, 32, 32) - 1
    torch.save({"model_state_dict": tensors, "replay_buffer": buffer}, folder / "CIFAR10_MODEL.pt")
    importer = script("import_checkpoint")
    script("make_small_datasets").write(folder / "data", ["cifar10"], n=40)
    words = [f"dataset.root={folder / 'data'}"]
    importer.import_run(JEM, folder / "CIFAR10_MODEL.pt", folder / "runs" / "jem" / "a", words)
    return folder, tensors, buffer


def logits_of(x, tensors):
    """The authors' forward pass, written out with their names: pre-activation blocks, mean over positions."""
    act = lambda h: leaky_relu(h, 0.2)  # noqa: E731
    p = {name: tensor.double() for name, tensor in tensors.items()}
    layer = lambda h, name, *more: conv2d(h, p[f"{name}.weight"], p[f"{name}.bias"], *more)  # noqa: E731
    h = layer(x, "f.conv1", 1, 1)
    for stage in (1, 2, 3):
        for block in range(4):
            name, stride = f"f.layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            out = layer(act(layer(act(h), f"{name}.conv1", 1, 1)), f"{name}.conv2", stride, 1)
            h = out + (layer(h, f"{name}.shortcut.0", stride) if f"{name}.shortcut.0.weight" in p else h)
    return act(h).mean((2, 3)) @ p["class_output.weight"].T + p["class_output.bias"]


def test_logits_are_those_of_the_authors_forward_pass(released):
    folder, tensors, _ = released
    energy = load_energy(folder / "runs" / "jem" / "a").double()
    x = 2 * torch.rand(2, 3, 32, 32, dtype=torch.float64) - 1
    expected = logits_of(x, tensors)
    assert float((-energy.class_energies(x) - expected).abs().max()) < 1e-5 * float(expected.abs().max())
    assert torch.allclose(energy(x), -torch.logsumexp(expected, 1))
    assert energy.support.as_dict() == {"kind": "box", "low": -1.0, "high": 1.0}


def test_the_replay_buffer_comes_along_as_chains(released):
    folder, _, buffer = released
    content = read_checkpoint(folder / "runs" / "jem" / "a" / "checkpoints" / "last.ckpt")
    entries = content["ranks"][0]["negatives"]["population"]
    assert torch.equal(entries["x"], buffer) and set(entries["y"].tolist()) == {-1}


@pytest.mark.slow
def test_sample_and_eval_take_the_run_as_any_other(released, command):
    run = released[0] / "runs" / "jem" / "a"
    assert command("ebm-sample", f"run={run}", "trainer=smoke", stamp="a")[0] == 0
    status, out, err = command("ebm-eval", f"run={run}", "metric=[classifier]", "trainer=smoke", stamp="a")
    assert status == 0 and "classifier/accuracy" in out, err


# Refusals, on a network small enough to list ------------------------------------------------------------------------

SMALL = KeyMap("p", {"head": "out", "stem": "f.conv1"}, negated=["head"], ignored=["f.linear"])


def small(**changes):
    tensors = {"out.weight": torch.ones(2, 3), "out.bias": torch.ones(2), "f.conv1.weight": torch.ones(3, 1)}
    tensors |= {"f.conv1.bias": torch.ones(3), "f.linear.weight": torch.ones(5)}
    return {k: v for k, v in (tensors | changes).items() if v is not None}


WANTED = {
    "head.weight": torch.zeros(2, 3),
    "head.bias": torch.zeros(2),
    "stem.weight": torch.zeros(3, 1),
    "stem.bias": torch.zeros(3),
}


def test_weights_take_their_places_and_logits_change_sign():
    found = translated(small(), SMALL, WANTED)
    assert list(found) == list(WANTED)
    assert {name: float(v.mean()) for name, v in found.items()} == {
        "head.weight": -1, "head.bias": -1, "stem.weight": 1, "stem.bias": 1
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"out.bias": None}, "the file lacks out.bias"),
        ({"f.conv2.weight": torch.ones(1)}, "holds what this network has no place for: f.conv2.weight"),
        ({"f.conv1.weight": torch.ones(1, 3)}, r"other shapes: f.conv1.weight \(1, 3\) instead of \(3, 1\)"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(changes, message):
    with pytest.raises(ConfigError, match=message) as caught:
        translated(small(**changes), SMALL, WANTED)
    assert "\n" not in str(caught.value)


def test_the_map_names_every_module_of_the_network_once():
    keys = read_map(JEM)
    with torch.device("meta"):
        net = WideResNet((3, 32, 32), n_classes=10, joint=True)
    assert {name.rsplit(".", 1)[0] for name in net.state_dict()} == set(keys.modules)
    assert len(set(keys.modules.values())) == len(keys.modules)


def test_foreign_files_and_maps_are_refused(tmp_path):
    importer, file = script("import_checkpoint"), tmp_path / "x.pt"
    file.write_bytes(b"no checkpoint")
    with pytest.raises(ConfigError, match="x.pt: holds more than tensors and plain values, or is no file"):
        importer.import_run(JEM, file, tmp_path / "run", [])
    torch.save({"weights": {}}, file)
    with pytest.raises(ConfigError, match="has no model_state_dict; it holds weights"):
        importer.import_run(JEM, file, tmp_path / "run", [])
    (tmp_path / "map.yaml").write_text("preset: cifar10_jem\nmodels: {}\n")
    with pytest.raises(ConfigError, match="models.*a map has preset, modules"):
        read_map(tmp_path / "map.yaml")
    assert not (tmp_path / "run").exists()
