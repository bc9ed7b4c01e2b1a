"""A trained model is one class, whichever way it is made; the public names are there without a price."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import SMALL
from omegaconf import OmegaConf

import ebm_cli
from ebm_cli.config import ConfigError
from ebm_cli.runs.files import checkpoint_of, read_checkpoint
from ebm_cli.runs.trained import TrainedModel, energy_from, frozen_copies_of


@pytest.mark.parametrize("name", ebm_cli.PUBLIC)
def test_public_names_are_classes_or_functions_of_the_package(name):
    assert callable(getattr(ebm_cli, name)) and name in dir(ebm_cli)


def test_importing_the_package_imports_no_torch():
    code = "import sys, ebm_cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    with pytest.raises(ImportError):
        from ebm_cli import nothing_of_the_kind  # noqa: F401


def test_a_run_and_its_module_give_the_same_samples(command, tmp_path):
    assert command("ebm-train", *SMALL, stamp="a")[0] == 0
    run = tmp_path / "outputs" / "runs" / "latest"
    cfg = OmegaConf.merge(OmegaConf.load(run / "config.yaml"), {"run": str(run), "checkpoint": "last"})
    opened = TrainedModel.from_config(cfg, tmp_path, num_samples=4)
    content = read_checkpoint(checkpoint_of(run))
    base, energy = energy_from(content)
    config = content["hyper_parameters"]["config"]
    negatives = SimpleNamespace(frozen=frozen_copies_of(config["frozen_copy"], content))
    module = SimpleNamespace(config=config, energy=energy, base=base, negatives=negatives, device=torch.device("cpu"))
    made = TrainedModel.from_module(module, opened.data, tmp_path, num_samples=4)
    assert (made.n_steps, made.horizon) == (opened.n_steps, opened.horizon)
    assert torch.equal(made.draw().x, opened.draw().x)
    assert not any(p.requires_grad for p in made.energy.parameters())


def test_samples_alone_have_data_and_no_model(tmp_path):
    np.savez(tmp_path / "x.npz", samples=np.zeros((5, 2), np.float32))
    node = {"_target_": "ebm_cli.datasets.Toy", "density": {"_target_": "ebm_cli.datasets.RingOfGaussians"}}
    cfg = OmegaConf.create({"dataset": node, "seed": 0, "samples": str(tmp_path / "x.npz"), "run": None})
    model = TrainedModel.from_samples(cfg, tmp_path)
    assert model.energy is None and model.draw().x.shape == (5, 2)
    with pytest.raises(ConfigError, match="needs a trained model"):
        model.draw(3)
