"""Diagnostics against laws whose answers are known."""

from __future__ import annotations

import pytest
import torch

from ebm_cli.energies import REAL, GaussianBase, Measured, UniformBox, box
from ebm_cli.energies.energy import Plain
from ebm_cli.samplers import Langevin
from ebm_cli.samplers import diagnostics as d
from ebm_cli.samplers.recorder import Recorder


def autoregression(rho: float, chains: int, steps: int) -> torch.Tensor:
    """Stationary AR(1) of variance 1, ``(chains, steps)``."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(chains, steps, generator=generator, dtype=torch.float64) * (1 - rho**2) ** 0.5
    x = [torch.randn(chains, generator=generator, dtype=torch.float64)]
    for step in range(1, steps):
        x.append(rho * x[-1] + noise[:, step])
    return torch.stack(x, 1)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9, -0.4])
def test_the_autocorrelation_time_of_an_autoregression(rho):
    series = autoregression(rho, 8, 20_000)
    expected = (1 + rho) / (1 - rho)
    assert d.autocorrelation_time(series) == pytest.approx(expected, rel=0.06)
    assert d.effective_sample_size(series) == pytest.approx(series.numel() / expected, rel=0.06)
    assert float(d.autocorrelation(series)[3]) == pytest.approx(rho**3, abs=0.02)


def test_rhat_is_one_for_chains_that_agree_and_not_for_chains_in_two_modes():
    series = autoregression(0.5, 8, 2000)
    assert d.split_rhat(series) < 1.01
    stuck = series + 4.0 * torch.tensor([1, -1] * 4)[:, None]
    assert d.split_rhat(stuck) > 1.5
    assert d.effective_sample_size(stuck) < 20


def test_rhat_sees_chains_that_differ_in_spread_alone():
    scale = torch.tensor([1.0, 4.0] * 4)[:, None]
    assert d.split_rhat(autoregression(0.0, 8, 1000) * scale) > 1.1


def test_rhat_does_not_mind_a_monotone_map():
    series = autoregression(0.3, 4, 500)
    stuck = series + torch.tensor([0.0, 0.0, 1.0, 1.0])[:, None]
    location = d.potential_scale_reduction(d.rank_normalize(d.split_halves(stuck)))
    mapped = d.rank_normalize(d.split_halves(stuck.exp()))
    assert d.potential_scale_reduction(mapped) == pytest.approx(location, abs=1e-12)


def test_arviz_agrees():
    arviz = pytest.importorskip("arviz")
    for rho in (0.0, 0.8, -0.3):
        series = autoregression(rho, 4, 401) + torch.tensor([0.0, 0.0, 0.1, 0.3])[:, None]
        assert d.effective_sample_size(series) == pytest.approx(float(arviz.ess(series.numpy())), rel=1e-6)
        assert d.split_rhat(series) == pytest.approx(float(arviz.rhat(series.numpy())), rel=1e-6)


def test_series_that_say_nothing_are_refused_with_the_reason():
    with pytest.raises(d.Unsuited, match="too few"):
        d.split_rhat(torch.zeros(4, 3))
    with pytest.raises(d.Unsuited, match="constant"):
        d.effective_sample_size(torch.ones(4, 100))


@pytest.mark.parametrize("temperature", [1.0, 0.3])
def test_the_virial_and_the_configurational_temperature_of_a_gaussian(temperature):
    energy = GaussianBase((5,), std=0.7)
    x = energy.sample(20_000, torch.Generator().manual_seed(0)) * temperature**0.5
    assert d.virial(energy, x) == pytest.approx(temperature, rel=0.015)
    assert d.configurational_temperature(energy, x) == pytest.approx(temperature, rel=0.015)


def test_the_virial_in_a_box_needs_its_weight():
    """exp(-3x) on [0, 1], drawn by inversion: the plain virial is wrong there, the weighted one gives T = 1."""
    u = torch.rand(200_000, 1, generator=torch.Generator().manual_seed(0))
    x = -torch.log1p(-u * (1 - torch.exp(torch.tensor(-3.0)))) / 3
    grad = torch.full_like(x, 3.0)
    assert d.virial_temperature(x, grad, box(0, 1)) == pytest.approx(1.0, abs=0.03)
    assert abs(d.virial_temperature(x, grad, REAL) - 1) > 0.1


def test_decoupled_noise_shows_its_temperature():
    """step .02, noise .1: T_eff = .25; on a standard Gaussian Langevin's variance is T_eff / (1 - step / 2)."""
    energy, sampler = GaussianBase((10,)), Langevin(n_steps=400, step_size=0.02, noise_std=0.1)
    assert d.effective_temperature(sampler) == pytest.approx(0.25)
    generator = torch.Generator().manual_seed(1)
    x = sampler.sample(energy, 0.5 * energy.sample(2000, generator), generator=generator).x
    assert d.virial(energy, x) == pytest.approx(0.25 / 0.99, rel=0.03)
    assert d.configurational_temperature(energy, x) == pytest.approx(0.25 / 0.99, rel=0.03)


def test_assumptions_that_fail_are_named():
    with pytest.raises(d.Unsuited, match="border"):
        d.virial_temperature(torch.tensor([[0.0], [0.5]]), torch.ones(2, 1), box(0, 1))
    with pytest.raises(d.Unsuited, match="box"):
        d.configurational_temperature(UniformBox((2,), low=0, high=1), torch.rand(3, 2))
    relu = Plain(torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.ReLU()), (2,))
    with pytest.raises(d.Unsuited, match="ReLU"):
        d.configurational_temperature(relu, torch.rand(3, 2))


def test_chains_of_several_laws_are_not_compared():
    """Rows bound to far observations disagree for good; only chains of one observation are compared."""
    laws = torch.arange(64) % 4
    b = torch.linspace(-8, 8, 4)[laws][:, None].expand(64, 2)
    energy, sampler = Measured(GaussianBase((2,)), lambda x: x, b, 1.0), Langevin(n_steps=400, step_size=0.2)
    recorders = Recorder(400, laws=laws), Recorder(400), Recorder(400, laws=torch.arange(64))

    def record(*step):
        for recorder in recorders:
            recorder(*step)

    generator = torch.Generator().manual_seed(0)
    chain = sampler.sample(energy, torch.zeros(64, 2), generator=generator, callback=record)
    for recorder in recorders:
        recorder.finish(energy, chain, 1.0)
    (grouped, _), (careless, _), (alone, skipped) = (d.compute_diagnostics(r, sampler) for r in recorders)
    assert grouped["rhat/x0"] < 1.05 and careless["rhat/x0"] > 1.3
    rho = 1 - 0.2 * 2  # precision 2
    assert grouped["ess_per_gradient"] == pytest.approx((1 - rho) / (1 + rho), rel=0.15)
    assert "rhat/x0" not in alone and "no two" in skipped["rhat/x0"] and alone["ess/x0"] > 0


def test_recorded_chains_are_summarized_in_one_report():
    energy, sampler = GaussianBase((2,)), Langevin(n_steps=800, step_size=0.4)
    recorder, generator = Recorder(800), torch.Generator().manual_seed(0)
    chain = sampler.sample(energy, energy.sample(64, generator), generator=generator, callback=recorder)
    recorder.finish(energy, chain, 1.0)
    values, skipped = d.compute_diagnostics(recorder, sampler)
    assert values["rhat/x0"] < 1.03 and not skipped
    rho = 0.6  # x <- (1 - step) x + noise
    assert values["autocorrelation_time/x1"] == pytest.approx((1 + rho) / (1 - rho), rel=0.1)
    assert values["ess_per_gradient"] == pytest.approx((1 - rho) / (1 + rho), rel=0.15)
    assert len(recorder.frames) == 41 and recorder.frames[0].shape == (16, 2)


def test_a_record_is_bounded_however_long_the_chains_are():
    energy, n = GaussianBase((2,)), 9000
    recorder = Recorder(n)
    Langevin(n_steps=n, step_size=0.4).sample(energy, torch.zeros(100, 2), callback=recorder)
    assert recorder.thin == 3 and recorder.whole()["x0"].shape == (64, 3000) and len(recorder.frames) <= 42
    assert all(value.untyped_storage().size() == 64 * 4 for value in recorder.series["x0"])
