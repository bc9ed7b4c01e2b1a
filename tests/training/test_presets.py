"""Every preset composes, builds, trains two updates, samples and is evaluated, on small files in the true formats."""

from __future__ import annotations

import importlib.util
import json
import re

import pytest
import torch
import yaml
from conftest import CONF, ROOT
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from ebm_cli.config import build, options, plain, smoke
from ebm_cli.config.check import check
from ebm_cli.config.options import conf_dir
from ebm_cli.config.schema import SCHEMAS, TrainConfig
from ebm_cli.models.assemble import build_energy, facts_of
from ebm_cli.runs.files import read_checkpoint

PRESETS = {  # name: parameters, in thousands
    "cifar100_jem": 36529,
    "cifar10_anatomy_convergent": 629,
    "cifar10_energy_matching": 49986,
    "cifar10_igebm": 18594,
    "cifar10_igebm_conditional": 5351,
    "cifar10_igebm_pytorch": 5183,
    "cifar10_improved_cd": 6564,
    "cifar10_jarzynski": 2763,
    "cifar10_jem": 36471,
    "cifar10_jempp": 36489,
    "cifar10_short_run": 2763,
    "cifar10_drl": 34833,
    "digits_annealed": 100,
    "digits_jem": 85,
    "digits_rbm": 1,
    "digits_recovery": 100,
    "fashion_convnet": 77,
    "imagenet32_igebm": 89560,
    "mnist_igebm": 1246,
    "mnist_tutorial8": 77,
    "moving_digits": 108,
    "patches_igebm": 172,
    "shapes_concept": 396,
    "svhn_jem": 36471,
    "voxels": 173,
}
OURS = {
    "digits_annealed",
    "digits_jem",
    "digits_rbm",
    "digits_recovery",
    "fashion_convnet",
}  # no published numbers to name
FAST = {
    "cifar10_short_run",
    "digits_annealed",
    "digits_recovery",
    "mnist_tutorial8",
    "shapes_concept",
    "voxels",
}  # the others take the same code, slowly
METRICS = {
    "digits_rbm": "ais",  # out-of-distribution sets are no binary images
    "voxels": "stability",  # out-of-distribution sets are images
    "moving_digits": "stability",
    "imagenet32_igebm": "fd_pixel",  # an energy without a label is a sum over 1000 classes
}
NEEDS = {"patches_igebm": "skimage"}
CASES = [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in PRESETS]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with every published format in small."""
    spec = importlib.util.spec_from_file_location("small", ROOT / "scripts" / "make_small_datasets.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    folder = tmp_path_factory.mktemp("data")
    module.write(folder, ["cifar10", "cifar100", "svhn", "mnist", "fashion_mnist", "imagenet32"], n=64)
    return folder


def test_every_preset_is_here():
    assert set(options("experiment")) == set(PRESETS)


def composed(*words):
    """The config that ebm-train would have with these words."""
    for name, node in SCHEMAS.items():
        ConfigStore.instance().store(name=name, node=node)
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose("train", overrides=list(words))


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_composes_and_builds_a_network_of_known_size(name):
    cfg = composed(f"experiment={name}")
    check(cfg, TrainConfig)
    data, objective = build(cfg.dataset, "dataset"), build(cfg.objective, "objective")
    with torch.device("meta"):
        _, energy = build_energy(plain(cfg), facts_of(data), objective.joint)
    assert round(sum(p.numel() for p in energy.parameters()) / 1000) == PRESETS[name]
    for group in ("sampler", "buffer"):
        build(cfg[group], group)


@pytest.mark.parametrize("name", CASES)
def test_a_preset_trains_samples_and_is_evaluated(name, files, command, monkeypatch, tmp_path):
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    monkeypatch.setenv("EBM_DATA", str(files))
    status, out, err = command("ebm-train", f"experiment={name}", "trainer=smoke", stamp="a")
    assert status == 0, err
    run = tmp_path / "outputs" / "runs" / name / "a"
    content = read_checkpoint(run / "checkpoints" / "last.ckpt")
    assert content["global_step"] == 2
    assert command("ebm-sample", f"run={run}", "trainer=smoke", stamp="a")[0] == 0
    assert (tmp_path / "outputs" / "samples" / name / "a" / "samples.npz").is_file()
    metric = METRICS.get(name, "ood")
    status, _, err = command("ebm-eval", f"run={run}", f"metric=[{metric}]", "trainer=smoke", stamp="a")
    assert status == 0, err
    measured = json.loads((tmp_path / "outputs" / "evals" / name / "a" / "metrics.json").read_text())["metrics"]
    assert measured and all(key.startswith(metric) for key in measured)


@pytest.mark.parametrize("name", sorted(set(PRESETS) - OURS))
def test_a_preset_says_where_it_comes_from_what_it_costs_and_where_it_departs(name):
    text = (CONF / "experiment" / f"{name}.yaml").read_text()
    head = text[: text.index("defaults:")]
    for word in ("ebm-train experiment=" + name, "ebm-sample", "Published:", "Cost:", "Departures"):
        assert word in head, word
    assert yaml.safe_load(text)["name"] == name and max(map(len, text.splitlines())) <= 120
    assert re.search(r"(19|20)\d\d|tutorial 8|igebm-pytorch", head)


def test_tables_of_presets_say_what_the_heads_say():
    """Every preset has its row, and every published number in it stands in the preset's own head."""
    lines = [*(ROOT / "docs" / "presets.md").read_text().splitlines(), *(ROOT / "README.md").read_text().splitlines()]
    cells = [[cell.strip(" `") for cell in line.split("|")[1:-1]] for line in lines if line.startswith("| `")]
    rows = [row for row in cells if row[0] in PRESETS and len(row) == 5]
    assert {row[0] for row in rows} == set(PRESETS)
    for name, _, size, published, _ in rows:
        head = (CONF / "experiment" / f"{name}.yaml").read_text().split("defaults:")[0]
        numbers = re.findall(r"\d+(?:\.\d+)?", published)
        assert all(re.search(rf"(?<![\d.]){re.escape(n)}(?![\d]|\.\d)", head) for n in numbers), (name, published)
        if match := re.fullmatch(r"([\d.]+) ([kM])", size):
            thousands = float(match[1]) * (1000 if match[2] == "M" else 1)
            assert thousands == pytest.approx(PRESETS[name], abs=50 if match[2] == "M" else 0.5), name
        else:
            assert f"ebm-train experiment={name}" in size  # the README's column of commands


def test_smoke_wins_over_a_preset_and_words_win_over_smoke(files, command, monkeypatch, tmp_path):
    monkeypatch.setenv("EBM_DATA", str(files))
    words = ["experiment=mnist_tutorial8", "trainer=smoke", "sampler.n_steps=3", "buffer.size=40", "model.hidden=8"]
    assert command("ebm-train", *words, stamp="a")[0] == 0
    kept = yaml.safe_load((tmp_path / "outputs/runs/mnist_tutorial8/a/config.yaml").read_text())
    assert kept["sampler"]["n_steps"] == 3 and kept["buffer"]["size"] == 40
    assert kept["dataset"]["batch_size"] == 4 and kept["trainer"]["max_steps"] == 2 and kept["sample_steps"] == 4
    assert kept["sampler"]["step_size"] == 10 and kept["optimizer"]["lr"] == 1e-4  # nothing else is touched
    assert kept["model"]["channels"] == [16, 32, 64, 64]


def test_smoke_lowers_numbers_alone():
    cfg = OmegaConf.create(
        {
            "sampler": {"n_steps": 1, "step_size": 9.0},
            "dataset": {"steps_per_epoch": None, "batch_size": "${b}"},
            "b": 8,
        }
    )
    smoke.cap(cfg, CONF / "smoke.yaml", [])
    assert cfg.sampler == {"n_steps": 1, "step_size": 9.0}  # below the bound, and not in the list
    assert cfg.dataset == {"steps_per_epoch": 2, "batch_size": 4} and cfg.b == 8
    assert not smoke.exceeds("auto", 2) and not smoke.exceeds(True, 0) and smoke.exceeds(-1, 2)


PAPERS = [name for name in PRESETS if name.startswith(("cifar", "svhn", "imagenet", "mnist"))]


def named_keys(head: str) -> dict[str, dict[str, str]]:
    """The ``key=value`` pairs in the lines ``As the code, in keys:`` and ``Departures, in keys:`` of a head."""
    found, label = {}, None
    for line in head.splitlines():
        text = line.removeprefix("# ")
        started = re.match(r"(As the code|Departures), in keys: ", text)
        label = started[1] if started else (label if label and re.match(r"[a-z_]+(\.[a-z_]+)*=", text) else None)
        if label:
            pairs = re.findall(r"([a-z_]+(?:\.[a-z_0-9]+)*)=(\S+)", text)
            found.setdefault(label, {}).update(pairs)
    return found


@pytest.mark.parametrize("name", PAPERS)
def test_what_a_head_says_of_keys_is_what_the_preset_sets(name):
    """Every preset of a paper names its departures, and the keys that it and they name have the values they say."""
    head = (CONF / "experiment" / f"{name}.yaml").read_text().split("defaults:")[0]
    keys, cfg = named_keys(head), composed(f"experiment={name}")
    assert "Departures" in head and keys, name
    for key, value in {k: v for pairs in keys.values() for k, v in pairs.items()}.items():
        is_ = OmegaConf.select(cfg, key, default="missing")
        is_ = OmegaConf.to_container(is_) if OmegaConf.is_config(is_) else is_
        assert yaml.safe_load(value) == is_ or float(value) == is_, (name, key, value, is_)
