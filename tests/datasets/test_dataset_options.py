# ruff: noqa: F401, F811 (fixtures are arguments)
"""Every option of conf/dataset and conf/recipe."""

import inspect

import pytest
import torch
import yaml
from sets import NAMES, OPTIONS, ROOT, TOYS, files, make

from ebm_cli import datasets, energies
from ebm_cli.config import option_node, options
from ebm_cli.config.schema import RECIPE


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_loads_and_says_what_it_holds(name, files):
    data = make(name, files)
    for split in ("train", "validation", "test"):
        x, y = data.split(split, 30)
        assert x.shape == (min(30, len(data.rows(split))), *data.shape) and x.dtype == torch.float32
        assert (y is None) == (data.n_classes is None)
        if y is not None:
            assert y.dtype == torch.int64 and 0 <= y.min() and y.max() < data.n_classes
        if data.value_range:
            assert x.min() >= data.value_range[0] and x.max() <= data.value_range[1]
    continuous = "box" if data.value_range else "real"
    assert data.support.kind == ("binary" if name == "binary_digits" else continuous)
    assert data.name == NAMES.get(name, name)


@pytest.mark.parametrize("name", OPTIONS)
def test_keys_are_the_keywords_in_their_order(name):
    node = option_node("dataset", name)
    for inner in (node, node.get("density")):
        if inner:
            target = getattr(datasets, inner.pop("_target_").removeprefix("ebm_cli.datasets."))
            assert list(inner) == [key for key in inspect.signature(target).parameters if key != "seed"]


@pytest.mark.parametrize("name", options("recipe"))
def test_every_recipe_has_all_keys_and_one_base(name):
    recipe = option_node("recipe", name)
    assert list(recipe) == list(RECIPE)
    target = getattr(energies, recipe["base"].pop("_target_").removeprefix("ebm_cli.energies."))
    assert set(recipe["base"]) <= set(inspect.signature(target).parameters)


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_chooses_a_recipe(name):
    entries = yaml.safe_load((ROOT / "conf" / "dataset" / f"{name}.yaml").read_text())["defaults"]
    chosen = [next(iter(entry.items())) for entry in entries if isinstance(entry, dict)]
    assert [key for key, _ in chosen] == ["override /recipe@_global_.recipe"] and chosen[0][1] in options("recipe")


@pytest.mark.parametrize("name", TOYS)
def test_toy_steps_respect_the_narrowest_width(name):
    recipe = option_node("recipe", "toy" if name == "8gaussians" else name)
    assert recipe["noise_std"] is None and recipe["step_size"] <= 0.2 * make(name).density.sd_min ** 2 * (1 + 1e-9)
