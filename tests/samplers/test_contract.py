"""The contract that every option of conf/sampler keeps."""

from __future__ import annotations

import math

import pytest
import torch
from conftest import CONF
from torch import nn

from ebm_cli.config import ConfigError, build, option_node
from ebm_cli.energies import Support
from ebm_cli.energies.energy import Energy
from ebm_cli.samplers import AIS, MALA, AnnealedLangevin, DivergenceError, Sampler
from ebm_cli.samplers.adjusted import Adjusted
from ebm_cli.samplers.discrete import Proposing

RECIPE = {"n_steps": 5, "step_size": 0.01, "noise_std": None, "noise_first": False, "grad_clip": None, "boundary": None}
OPTIONS = sorted(f.stem for f in (CONF / "sampler").glob("*.yaml"))
NOISELESS = ("gradient_descent", "energy_matching")  # the latter in its first steps
POPULATIONS = ("ais", "smc")  # start from their own base, whatever the starting points


def filled(value):
    """An option's node with a recipe's values put in."""
    if isinstance(value, dict):
        return {k: filled(v) for k, v in value.items()}
    wanted = isinstance(value, str) and value.startswith("${")
    return RECIPE[value.split(".")[-1].rstrip("}")] if wanted else value


def option(name):
    """A sampler as its option builds it, with a few steps."""
    return build(filled(option_node("sampler", name)) | {"n_steps": 6 if name == "recovery" else 5}, "sampler")


class Learned(Energy):
    """A network with everything that sampling must leave alone, defined where the sampler moves."""

    def __init__(self, kind: str, dtype=torch.float32):
        super().__init__((3,), Support(kind))
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Tanh(), nn.Linear(8, 1))
        self.shift = 0.0
        self.to(dtype)

    def forward(self, x, t=None):
        return self.net(x)[:, 0] + 0.5 * x.square().sum(1) + self.shift


def setting(name, n=6, dtype=torch.float32):
    """A sampler, an energy that suits it, and starting points."""
    sampler = option(name)
    kind = "real" if "real" in sampler.supports else "binary"
    x = torch.randn(n, 3, generator=torch.Generator().manual_seed(1), dtype=dtype)
    return sampler, Learned(kind, dtype), x if kind == "real" else (x > 0).to(dtype)


def noise(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("context", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_sampling_works_in_any_context_and_leaves_nothing_behind(name, context):
    sampler, energy, x = setting(name)
    energy.train()
    before, start = {k: v.clone() for k, v in energy.state_dict().items()}, x.clone()
    with context():
        chain = sampler.sample(energy, x, generator=noise())
    assert torch.equal(x, start) and chain.x.shape == x.shape and not chain.x.requires_grad
    assert all(p.grad is None and p.requires_grad for p in energy.parameters())
    assert all(m.training for m in energy.modules())
    assert all(torch.equal(v, before[k]) for k, v in energy.state_dict().items())  # batch statistics too
    assert not any(v.requires_grad for v in chain.stats.values()) and {"energy", "evaluations"} <= set(chain.stats)
    assert {v.shape for name, v in chain.stats.items() if name != "grad_norm"} == {(sampler.n_steps,)}


def test_norms_of_gradients_are_those_of_all_steps_where_a_callback_watches():
    sampler, energy, x = setting("langevin")
    seen = []
    watched = sampler.sample(energy, x, generator=noise(), callback=lambda i, state, info: seen.append(info.grad))
    alone = sampler.sample(energy, x, generator=noise())
    expected = torch.stack([grad.flatten(1).norm(dim=1).mean() for grad in seen])
    torch.testing.assert_close(watched.stats["grad_norm"], expected)
    torch.testing.assert_close(alone.stats["grad_norm"], expected[-1:])


@pytest.mark.parametrize("name", OPTIONS)
def test_randomness_comes_from_the_generator_alone(name):
    ends = []
    for seed in (0, 0, 1):
        sampler, energy, x = setting(name, n=20)
        torch.manual_seed(len(ends))
        ends.append(sampler.sample(energy, x, generator=noise(seed)).x)
    assert torch.equal(ends[0], ends[1])
    assert name in NOISELESS or not torch.equal(ends[0], ends[2])


@pytest.mark.parametrize("name", [name for name in OPTIONS if name != "simulated_tempering"])  # its weights absorb it
def test_a_constant_added_to_the_energy_changes_nothing(name):
    sampler, energy, x = setting(name, dtype=torch.float64)
    plain = sampler.sample(energy, x, generator=noise()).x
    energy.shift = 3.0
    torch.testing.assert_close(sampler.sample(energy, x, generator=noise()).x, plain, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", OPTIONS)
def test_not_a_number_stops_the_chain(name):
    sampler, energy, x = setting(name)
    energy.shift = math.nan
    with pytest.raises(DivergenceError, match="not finite"):
        sampler.sample(energy, x, generator=noise())


@pytest.mark.parametrize("name", OPTIONS)
def test_no_steps_are_refused(name):
    sampler, energy, x = setting(name)
    with pytest.raises(ValueError, match="n_steps"):
        sampler.sample(energy, x, n_steps=0)


@pytest.mark.parametrize("name", OPTIONS)
def test_energies_of_another_kind_are_refused(name):
    sampler, _, x = setting(name)
    other = "one_hot" if "real" in sampler.supports and "one_hot" not in sampler.supports else "real"
    if other in sampler.supports:
        pytest.skip(f"{name} takes every kind of input")
    with pytest.raises(ValueError, match="samples"):
        sampler.sample(Learned(other), x)


@pytest.mark.parametrize("name", [name for name in OPTIONS if name not in POPULATIONS])
def test_rows_are_moved_under_what_is_bound_to_them(name):
    """Chains whose energies differ by row keep their own: permuting rows permutes chains, in law."""

    class Tilt(Energy):
        def __init__(self, kind, slope):
            super().__init__((3,), Support(kind))
            self.slope = slope

        def forward(self, x, t=None):
            return 0.5 * x.square().sum(1) - self.slope * x.sum(1)

        def rows(self, index):
            return Tilt(self.support.kind, self.slope[index])

    sampler, energy, x = setting(name, n=400)
    slope = torch.cat([torch.full((200,), -4.0), torch.full((200,), 4.0)])
    n_steps = 300 if sampler.step_size is not None else 20
    end = sampler.sample(Tilt(energy.support.kind, slope), x, n_steps=n_steps, generator=noise()).x
    assert end[:200].mean() < end[200:].mean() - 0.5


@pytest.mark.parametrize("name", OPTIONS)
def test_chunks_change_nothing_but_how_many_chains_are_evaluated_at_once(name):
    class Watched(Learned):
        seen = 0

        def forward(self, x, t=None):
            self.seen = max(self.seen, len(x))
            return super().forward(x, t)

    sampler, energy, x = setting(name, dtype=torch.float64)
    whole = sampler.sample(energy, x, generator=noise())
    watched = Watched(energy.support.kind, torch.float64)
    chunked = sampler.with_options(chunk_size=4).sample(watched, x, generator=noise())
    torch.testing.assert_close(chunked.x, whole.x, rtol=0, atol=1e-9)
    torch.testing.assert_close(chunked.stats["energy"], whole.stats["energy"], rtol=0, atol=1e-9)
    assert 0 < watched.seen <= 4


@pytest.mark.parametrize("name", OPTIONS)
def test_keywords_that_are_inherited_are_checked_like_own_ones(name):
    node = filled(option_node("sampler", name))
    with pytest.raises(ConfigError, match="sampler.n_steps=many: expected"):
        build(node | {"n_steps": "many"}, "sampler")


@pytest.mark.parametrize(
    ("base", "missing"), [(Sampler, "step"), (Adjusted, "propose"), (Proposing, "log_proposal, log_rates, propose")]
)
def test_a_class_without_its_methods_fails_when_it_is_built_and_names_them(base, missing):
    class Unfinished(base):
        pass

    with pytest.raises(TypeError, match=f"Unfinished with abstract methods? {missing}$"):
        Unfinished(n_steps=3)


def test_a_sampler_is_shown_by_what_was_chosen_and_tensors_by_their_shape():
    sampler = MALA(step_size=torch.full((1000,), 0.1), grad_clip=1.0)
    assert repr(sampler) == "MALA(step_size=Tensor(1000,), grad_clip=1.0)"
    assert repr(sampler.with_options(step_size=0.01)) == "MALA(grad_clip=1.0)"
    assert "betas" not in repr(AIS(n_steps=3).with_options(betas=torch.zeros(1000)))


def test_a_copy_with_other_options_leaves_the_sampler_alone():
    sampler = MALA(step_size=0.1)
    assert sampler.with_options(step_size=0.2).step_size == 0.2 and sampler.step_size == 0.1
    with pytest.raises(TypeError, match="noise_std"):
        AnnealedLangevin(noise_std=0.1)  # settled by the class, so no keyword of it
