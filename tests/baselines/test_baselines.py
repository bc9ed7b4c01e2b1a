"""Other generative models: exact densities are normalized, samples have the data's moments."""

import json
import math
import time

import numpy as np
import pytest
import torch

from ebm_cli.baselines import GAN, VAE, Budget, Flow, Gaussian
from ebm_cli.baselines.__main__ import Fitted, main
from ebm_cli.baselines.vae import mixture
from ebm_cli.datasets import RingOfGaussians, Toy


def toy():
    return Toy(density=RingOfGaussians(n_modes=2, radius=1.0, std=0.5), n_train=3000, n_validation=10, n_test=500)


def fitted(kind, steps, data=None):
    torch.manual_seed(0)
    model = Fitted(kind, data or toy())
    model.fit(Budget(steps))
    return model


def log_z(model, half=8.0, n=400):
    """By the midpoint rule: 0 for a normalized density."""
    line = ((torch.arange(n) + 0.5) / n * 2 - 1) * half
    with torch.no_grad():
        values = -model(torch.cartesian_prod(line, line)).double()
    return float(torch.logsumexp(values, 0)) + 2 * math.log(2 * half / n)


@pytest.mark.parametrize("kind, steps", [(Gaussian, 1), (Flow, 40)])
def test_exact_densities_are_normalized_and_fit_the_data(kind, steps):
    if kind is Flow:
        pytest.importorskip("zuko", reason="needs zuko: pip install ebm-cli[baselines]")
    model = fitted(kind, steps)
    assert log_z(model) == pytest.approx(0, abs=0.01)
    x = model.data.split("test").x
    with torch.no_grad():
        likelihood = -float(model(x).mean())
    entropy = model.data.density.entropy
    assert -entropy - 0.5 < likelihood < -entropy + 0.1
    drawn = model.sample(4000)
    assert torch.allclose(torch.cov(drawn.T), torch.cov(x.T), atol=0.25)


def test_likelihood_of_the_gaussian_is_that_of_its_covariance():
    model = fitted(Gaussian, 1)
    x = model.data.split("train").x
    covariance = torch.cov(x.T.double())
    expected = 0.5 * float(torch.logdet(2 * math.pi * math.e * covariance))
    with torch.no_grad():
        assert float(model(x).mean()) == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize("kind, options", [(VAE, {}), (GAN, {"average": 0.95})])
def test_samples_have_the_moments_of_the_data(kind, options):
    model = fitted(lambda shape: kind(shape, width=32, **options), steps=1000)
    x, drawn = model.data.split("test").x, model.sample(2000)
    assert torch.allclose(drawn.mean(0), x.mean(0), atol=0.35)
    assert torch.allclose(drawn.std(0), x.std(0), rtol=0.4)


def test_the_command_writes_samples_and_exact_divergences(tmp_path, capsys):
    words = ["--dataset", "8gaussians", "--set", "n_train=2000", "n_test=300", "--directory"]
    main(["gaussian", *words, str(tmp_path / "a")])
    found = json.loads((tmp_path / "a" / "metrics.json").read_text())["metrics"]
    assert found["density/kl"]["value"] > 0.1 and found["seconds"]["value"] > 0
    assert found["density/log_z"]["value"] == pytest.approx(0, abs=1e-3)
    twice = []
    for name in "bc":
        main(["vae", "--steps", "5", *words, str(tmp_path / name)])
        twice.append(np.load(tmp_path / name / "samples.npz")["samples"])
    assert twice[0].shape == (300, 2) and np.array_equal(*twice)
    assert "no density" in json.loads((tmp_path / "c" / "metrics.json").read_text())["skipped"]["density"]


def test_a_budget_of_processor_time_is_used_up_and_its_share_rises():
    since = time.process_time()
    shares = list(Budget(cpu_time=0.05))
    assert 0.05 <= time.process_time() - since < 0.5
    assert 0 <= shares[0] < 0.2 and 0.8 < shares[-1] < 1 and shares == sorted(shares)
    assert list(Budget(4)) == [0, 0.25, 0.5, 0.75]


def test_the_command_trains_for_its_processor_time(tmp_path, capsys):
    words = ["vae", "--dataset", "8gaussians", "--set", "n_train=500", "n_test=50", "--directory", str(tmp_path)]
    main([*words, "--cpu-time", "0.3"])
    found = json.loads((tmp_path / "metrics.json").read_text())["metrics"]
    assert found["updates"]["value"] > 3 and 0.3 <= found["seconds"]["value"] < 5
    with pytest.raises(SystemExit, match="--cpu-time must be above 0, got 0"):
        main([*words, "--cpu-time", "0"])
    with pytest.raises(SystemExit):
        main([*words, "--cpu-time", "1", "--steps", "1"])
    assert "not allowed with argument" in capsys.readouterr().err


def test_the_prior_that_is_fitted_after_training_is_where_the_codes_are():
    """Codes in two far clusters: a standard normal would fall between them."""
    g = torch.Generator().manual_seed(0)
    codes = (
        torch.randn(2000, 3, generator=g) * 0.1 + torch.tensor([3.0, 0, 0]) * (torch.arange(2000) % 2 * 2 - 1)[:, None]
    )
    torch.manual_seed(1)
    drawn = mixture(codes, components=2).sample((1000,))
    assert (drawn[:, 0].abs() - 3).abs().max() < 0.6
    assert float((drawn[:, 0] > 0).double().mean()) == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 30, 27)])
def test_networks_take_images_of_any_size(shape):
    torch.manual_seed(0)
    for kind in (VAE, GAN):
        model = kind(shape, width=16)
        assert model.fit(lambda model=model: torch.randn(model.batch_size, *shape), Budget(2)) == 2
        assert model.sample(3).shape == (3, *shape)


def test_images_stay_in_their_range_and_wrong_words_are_one_line(tmp_path, digits):
    drawn = fitted(Gaussian, 1, digits).sample(50)
    assert drawn.shape == (50, 1, 8, 8) and drawn.min() >= -1 and drawn.max() <= 1
    with pytest.raises(SystemExit, match="dataset=nowhere: no such option"):
        main(["gaussian", "--dataset", "nowhere", "--directory", str(tmp_path)])
