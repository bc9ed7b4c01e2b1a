"""Metrics of samples with known answers: torch-fidelity's plumbing, stand-ins, Stein and mean discrepancies."""

import math

import pytest
import torch
from conftest import subject

from ebm_cli.datasets import Digits, RingOfGaussians, Toy
from ebm_cli.energies import Energy
from ebm_cli.metrics import FDEfficientNet, FDPixel, Fidelity, Points, Skip, Stein
from ebm_cli.metrics import points as points_module
from ebm_cli.metrics.frechet import PixelGaussian, frechet_distance
from ebm_cli.metrics.stein import stein_kernel, u_statistic, wild_bootstrap
from ebm_cli.runs.trained import Samples

# torch-fidelity, with an extractor of ours ---------------------------------------------------------------------------


@pytest.fixture
def extractor():
    """An extractor without weights: 4x4 means of the first channel, and logits that name its brightest row."""
    fidelity = pytest.importorskip("torch_fidelity", reason="needs torch-fidelity: pip install ebm-cli[eval]")
    from torch_fidelity.feature_extractor_base import FeatureExtractorBase

    class Means(FeatureExtractorBase):
        def __init__(self, name, features_list, **_):
            super().__init__(name, features_list)

        @staticmethod
        def get_provided_features_list():
            return ("means", "logits")

        @staticmethod
        def get_default_feature_layer_for_metric(metric):
            return "logits" if metric == "isc" else "means"

        @staticmethod
        def can_be_compiled():
            return False

        def forward(self, x):
            assert x.dtype == torch.uint8 and x.shape[1:] == (3, 8, 8)
            grey = x[:, :1].float() / 255
            means = torch.nn.functional.adaptive_avg_pool2d(grey, 4).flatten(1)
            made = {"means": means, "logits": 40 * grey[:, 0].mean(2)[:, :4]}
            return tuple(made[name] for name in self.features_list)

    if "ours-means" not in fidelity.registry.FEATURE_EXTRACTORS_REGISTRY:
        fidelity.register_feature_extractor("ours-means", Means)
    return "ours-means"


def pooled(x):
    return torch.nn.functional.adaptive_avg_pool2d(((x + 1) * 127.5).round() / 255, 4).flatten(1)


def test_fid_through_torch_fidelity_is_the_frechet_distance_of_the_features(digits, extractor, tmp_path):
    test = digits.split("test").x
    metric = Fidelity(scores=["fid", "kid"], extractor=extractor, reference="train", subset_size=100)
    values = metric(subject(digits, tmp_path, samples=Samples(test)))
    train = torch.cat([digits.split("train").x, digits.split("validation").x])
    assert values["fid"].value == pytest.approx(frechet_distance(pooled(test), pooled(train)), rel=1e-4)
    assert values["fid"].n == 450 and values["fid"].protocol["n_reference"] == len(train) == 1347
    assert values["fid"].protocol["quantization"] == "rounded to 256 levels"
    again = Fidelity(scores=["fid"], extractor=extractor, batch_size=7)(
        subject(digits, tmp_path, samples=Samples(test))
    )
    assert again["fid"].value == pytest.approx(values["fid"].value, abs=1e-5)


def test_identical_sets_have_distance_zero_and_full_precision_and_recall(digits, extractor, tmp_path):
    metric = Fidelity(scores=["fid", "precision_recall"], extractor=extractor, reference="test")
    values = metric(subject(digits, tmp_path, samples=Samples(digits.split("test").x)))
    assert values["fid"].value == pytest.approx(0, abs=1e-6)
    assert values["precision"].value == values["recall"].value == 1.0


def test_kid_is_unbiased(digits, extractor, tmp_path):
    """Halves of one set: the mean over draws is 0 within its error, while the biased estimate is far above it."""
    x = torch.cat([digits.split(part).x for part in ("train", "test")])
    found = []
    for seed in range(12):
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
        half = len(x) // 2

        class Half(Digits):
            def split(self, name, n=None, rows=x[order[half:]]):
                return type(digits.split("test"))(rows if name == "train" else rows[:0], None)

        metric = Fidelity(scores=["kid"], extractor=extractor, subsets=20, subset_size=200)
        given = subject(Half(value_range=[-1, 1]), tmp_path, samples=Samples(x[order[:half]]))
        found.append(metric(given)["kid"])
    values = torch.tensor([value.value for value in found])
    error = float(values.std()) / len(values) ** 0.5
    assert abs(float(values.mean())) < 3.5 * error
    assert float(values.min()) < 0 and max(v.stderr for v in found) < 0.01


def test_inception_score_of_balanced_one_hot_predictions_is_their_number(digits, extractor, tmp_path):
    rows = torch.full((400, 1, 8, 8), -1.0)
    rows[torch.arange(400), 0, torch.arange(400) % 4] = 1.0
    metric = Fidelity(scores=["inception_score"], extractor=extractor, splits=1)
    assert metric(subject(digits, tmp_path, samples=Samples(rows)))["inception_score"].value == pytest.approx(4)
    same = rows[:1].expand(400, -1, -1, -1)
    assert metric(subject(digits, tmp_path, samples=Samples(same)))["inception_score"].value == pytest.approx(1)


def test_missing_and_foreign_weights_are_told_before_anything_is_sampled(digits, tmp_path, monkeypatch):
    pytest.importorskip("torch_fidelity")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(Skip, match="put weights-inception-2015-12-05-6726825d.pth .* at .*checkpoints"):
        Fidelity().check(subject(digits, tmp_path))
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    (tmp_path / "hub" / "checkpoints" / "weights-inception-2015-12-05-6726825d.pth").write_bytes(b"no weights")
    with pytest.raises(Skip, match="damaged"):
        Fidelity().check(subject(digits, tmp_path))
    (tmp_path / "mine.pth").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(Skip, match="holds more than tensors"):
        Fidelity(weights=str(tmp_path / "mine.pth")).check(subject(digits, tmp_path))


# Stand-ins ---------------------------------------------------------------------------------------------------------


def test_fd_pixel_of_a_constant_shift_is_its_square_and_that_of_test_images_the_floor(digits, tmp_path):
    train = digits.split("train").x
    shifted = Samples((train + 0.2)[:450])
    metric = FDPixel()
    floor = metric(subject(digits, tmp_path, samples=Samples(train[:450])))["fd_pixel"].value
    assert metric(subject(digits, tmp_path, samples=shifted))["fd_pixel"].value - floor == pytest.approx(
        64 * 0.1**2 + 2 * 0.1 * float((train[:450].mean(0) - train.mean(0)).sum()) / 2, abs=1e-5
    )
    values = metric(subject(digits, tmp_path, samples=Samples(digits.split("test").x)))
    assert values["fd_pixel"].value == pytest.approx(values["fd_pixel/test"].value, rel=1e-9)


def test_fd_efficientnet_ranks_test_images_below_noisy_ones(digits, tmp_path):
    pytest.importorskip("efficientnet_lite_pytorch", reason="needs EfficientNet-Lite: pip install ebm-cli[eval]")
    metric = FDEfficientNet(n=100, n_reference=150, size=32)
    test = digits.split("test", 100).x
    noisy = test + 0.5 * torch.randn(test.shape, generator=torch.Generator().manual_seed(0))
    values = metric(subject(digits, tmp_path, samples=Samples(test)))
    assert values["fd_efficientnet"].value == pytest.approx(values["fd_efficientnet/test"].value, rel=1e-6)
    worse = metric(subject(digits, tmp_path, samples=Samples(noisy.clamp(-1, 1))))["fd_efficientnet"].value
    assert worse > 2 * values["fd_efficientnet"].value
    assert len(values["fd_efficientnet"].protocol["weights_sha256"]) == 64


# Kernel Stein discrepancy --------------------------------------------------------------------------------------------


def shifted_normal(mu, n, seed):
    return mu + torch.randn(n, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_stein_discrepancy_of_a_shifted_normal_has_its_closed_form():
    """p = N(0, 1), q = N(mu, 1), Gaussian kernel: mu^2 h / sqrt(h^2 + 2)."""
    mu, h = 0.7, 1.0
    found = []
    for seed in range(12):
        x = shifted_normal(mu, 1200, seed)
        found.append(u_statistic(stein_kernel(x, -x, h, "rbf")))
    values = torch.tensor([value for value, _ in found])
    error = float(values.std()) / len(values) ** 0.5
    assert abs(float(values.mean()) - mu**2 * h / math.sqrt(h**2 + 2)) < 3.5 * error < 0.05
    claimed = float(torch.tensor([stderr for _, stderr in found]).mean())
    assert claimed == pytest.approx(float(values.std()), rel=0.6)


@pytest.mark.parametrize("kernel", ["rbf", "imq"])
def test_stein_kernel_is_what_automatic_differentiation_gives(kernel):
    g = torch.Generator().manual_seed(0)
    x, y = (torch.randn(3, generator=g, dtype=torch.float64, requires_grad=True) for _ in range(2))
    a, b, h = torch.randn(3, generator=g).double(), torch.randn(3, generator=g).double(), 1.3
    r2 = (x - y).square().sum()
    k = (-r2 / (2 * h**2)).exp() if kernel == "rbf" else (1 + r2 / h**2) ** -0.5
    dx, dy = torch.autograd.grad(k, (x, y), create_graph=True)
    trace = sum(torch.autograd.grad(dx[i], y, retain_graph=True)[0][i] for i in range(3))
    expected = (a @ b) * k + a @ dy + b @ dx + trace
    gram = stein_kernel(torch.stack([x, y]).detach(), torch.stack([a, b]), h, kernel)
    assert float(gram[0, 1]) == pytest.approx(float(expected), rel=1e-9)


def test_p_values_of_true_samples_are_uniform_and_of_shifted_ones_small():
    def p(mu, seed):
        x = shifted_normal(mu, 150, seed)
        return wild_bootstrap(stein_kernel(x, -x, 1.0, "imq"), 200, torch.Generator().manual_seed(seed))

    true = [p(0.0, seed) for seed in range(60)]
    assert 0.35 < sum(true) / 60 < 0.65 and sum(value < 0.1 for value in true) <= 13
    assert max(p(0.7, seed) for seed in range(5)) < 0.02


class Normal(Energy):
    def forward(self, x):
        return 0.5 * x.square().flatten(1).sum(1)


def test_stein_needs_an_energy_on_the_whole_space(digits, tmp_path):
    with pytest.raises(Skip, match="border"):
        Stein()(subject(digits, tmp_path, energy=Normal((1, 8, 8), digits.support)))
    toy = Toy(density=RingOfGaussians(), n_train=100, n_validation=10, n_test=300)
    given = Samples(torch.randn(300, 2, generator=torch.Generator().manual_seed(1)))
    values = Stein()(subject(toy, tmp_path, energy=Normal((2,)), samples=given))
    assert abs(values["stein"].value) < 0.05 < values["stein/data"].value
    assert values["stein/p_value"].value > 0.02 > values["stein/data/p_value"].value


# Points in the plane -------------------------------------------------------------------------------------------------


def test_mean_discrepancy_of_gaussians_has_its_closed_form_and_is_unbiased():
    """k = exp(-r^2 / 2h^2), N(0, 1) against N(mu, 1): 2 h / sqrt(h^2 + 2) (1 - exp(-mu^2 / (2 (h^2 + 2))))."""
    h, mu, n = 0.8, 1.0, 400
    pairs = [(shifted_normal(0, n, seed), shifted_normal(0, n, 100 + seed)) for seed in range(30)]
    expected = 2 * h / math.sqrt(h**2 + 2) * (1 - math.exp(-(mu**2) / (2 * (h**2 + 2))))
    for shift, truth in ((0.0, 0.0), (mu, expected)):
        found = torch.tensor([points_module.mmd(x, y + shift, h) for x, y in pairs])
        assert abs(float(found.mean()) - truth) < 3.5 * float(found.std()) / 30**0.5 < 0.05


def test_points_of_the_truth_have_all_modes_and_a_collapsed_set_has_one(tmp_path):
    toy = Toy(density=RingOfGaussians(), n_train=100, n_validation=10, n_test=2000)
    true = Samples(toy.density.sample(2000, torch.Generator().manual_seed(9)))
    values = Points()(subject(toy, tmp_path, samples=true))
    assert values["points/modes"].value == 8 and abs(values["points/mmd"].value) < 2e-3
    assert values["points/stray"].value < 0.01
    one = Samples(toy.density.modes[:1].float().expand(500, -1) + 0.1)
    values = Points()(subject(toy, tmp_path, samples=one))
    assert values["points/modes"].value == 1 and values["points/mmd"].value > 0.1
    values = Points()(subject(toy, tmp_path, samples=Samples(torch.zeros(500, 2))))
    assert values["points/stray"].value == 1 and values["points/modes"].value == 0


def test_log_density_of_the_pixel_gaussian_is_that_of_its_distribution():
    x = torch.randn(500, 3, generator=torch.Generator().manual_seed(0)) @ torch.randn(3, 3).double().float()
    gaussian = PixelGaussian(x, ridge=0.0)
    known = torch.distributions.MultivariateNormal(gaussian.mean, torch.cov(x.double().T))
    assert torch.allclose(gaussian.log_prob(x[:9]), known.log_prob(x[:9].double()), atol=1e-6)
