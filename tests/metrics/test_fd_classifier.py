"""Frechet distances with known answers, the reference classifier, and what fd_classifier makes of them."""

import math

import pytest
import torch
from conftest import subject

from ebm_cli.energies import GaussianBase
from ebm_cli.metrics import FDClassifier, reference_classifier
from ebm_cli.metrics.frechet import PixelGaussian, frechet_distance
from ebm_cli.runs.trained import Samples, TrainedModel

# Frechet distance --------------------------------------------------------------------------------------------------


def with_moments(mean, covariance, n=500):
    """Points whose sample mean and covariance are exactly those given."""
    z = torch.randn(n, len(mean), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    z = z - z.mean(0)
    z = z @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(z.T))).T
    return torch.tensor(mean, dtype=torch.float64) + z @ torch.linalg.cholesky(torch.as_tensor(covariance).double()).T


def test_frechet_distance_of_gaussians_with_commuting_covariances():
    a = with_moments([0.0, 1.0, 2.0], torch.diag(torch.tensor([1.0, 4.0, 9.0])))
    b = with_moments([1.0, 1.0, 0.0], torch.diag(torch.tensor([4.0, 1.0, 9.0])))
    assert frechet_distance(a, b) == pytest.approx(1 + 4 + (1 - 2) ** 2 + (2 - 1) ** 2, rel=1e-9)


def test_frechet_distance_of_gaussians_with_covariances_that_do_not_commute():
    one, other = torch.tensor([[2.0, 1.0], [1.0, 2.0]]), torch.tensor([[3.0, 0.0], [0.0, 1.0]])
    roots = torch.linalg.eigvals((one @ other).double()).real.sqrt().sum()  # tr (AB)^1/2 for A, B > 0
    expected = one.trace() + other.trace() - 2 * roots
    assert frechet_distance(with_moments([0.0, 0.0], one), with_moments([0.0, 0.0], other)) == pytest.approx(
        float(expected), rel=1e-6
    )


def test_frechet_distance_of_identical_sets_is_zero_even_with_constant_features():
    x = torch.randn(50, 64, generator=torch.Generator().manual_seed(0))
    x[:, 10:20] = 0
    assert frechet_distance(x, x.flip(0)) == pytest.approx(0, abs=1e-6)


def test_pixel_gaussian_has_the_moments_of_the_images_and_whitens_them():
    x = torch.randn(4000, 1, 2, 2, generator=torch.Generator().manual_seed(1)) @ torch.tensor([[1.0, 0.5], [0.0, 2.0]])
    gaussian = PixelGaussian(x, ridge=0.0)
    drawn = gaussian.sample(20000, torch.Generator().manual_seed(2))
    assert torch.allclose(torch.cov(drawn.flatten(1).T), torch.cov(x.flatten(1).T), atol=0.15)
    assert float(gaussian.mahalanobis(x).mean()) == pytest.approx(4 * 3999 / 4000, rel=1e-6)


# fd_classifier -----------------------------------------------------------------------------------------------------


def test_training_images_are_copies_and_score_better_than_the_gaussian(digits, untrained, tmp_path):
    copies = Samples(digits.split("train", 450).x)
    values = FDClassifier()(subject(digits, tmp_path, samples=copies))
    assert values["fd_classifier/nn_ratio"].value == pytest.approx(0, abs=1e-3)
    assert values["fd_classifier"].value < values["fd_classifier/gaussian"].value / 3
    assert values["fd_classifier"].n == 450 and values["fd_classifier"].stderr is None
    assert "fd_classifier/long_run" not in values


def test_test_images_as_samples_have_q_zero_and_the_gaussian_has_q_one(digits, untrained, tmp_path):
    values = FDClassifier()(subject(digits, tmp_path, samples=Samples(digits.split("test").x)))
    assert values["fd_classifier"].value == pytest.approx(values["fd_classifier/test"].value, rel=1e-9)
    assert values["fd_classifier/q"].value == pytest.approx(0, abs=1e-9)
    assert values["fd_classifier/nn_ratio"].value == pytest.approx(1, rel=1e-6)
    drawn = PixelGaussian(digits.split("train").x).sample(450, torch.Generator().manual_seed(0))
    values = FDClassifier(repeats=1)(subject(digits, tmp_path, samples=Samples(drawn)))
    assert values["fd_classifier/q"].value == pytest.approx(1, rel=1e-9)
    averaged = FDClassifier()(subject(digits, tmp_path, samples=Samples(drawn)))["fd_classifier/gaussian"]
    assert averaged.stderr > 0 and averaged.value != values["fd_classifier/gaussian"].value


def test_fewer_samples_than_test_images_are_compared_with_as_many(digits, untrained, tmp_path):
    values = FDClassifier()(subject(digits, tmp_path, samples=Samples(digits.split("test").x[:100])))
    assert {values[f"fd_classifier{key}"].n for key in ("", "/test", "/gaussian", "/q")} == {100}


def test_one_class_is_counted_as_one(digits, monkeypatch, tmp_path):
    class ByLabel(reference_classifier.ReferenceClassifier):
        def classify(self, x):
            place = (x.mean((1, 2, 3)) > 0).long() if len(x) == 40 else torch.arange(len(x)) % 10
            return torch.randn(len(x), 64), torch.eye(10)[place]

    monkeypatch.setattr("ebm_cli.metrics.fd_classifier.load_or_train_reference", lambda data: ByLabel(data.shape, 10))
    x = torch.cat([torch.ones(20, 1, 8, 8), -torch.ones(20, 1, 8, 8)])
    values = FDClassifier()(subject(digits, tmp_path, samples=Samples(x)))
    assert values["fd_classifier/classes"].value == 2
    assert values["fd_classifier/entropy"].value == pytest.approx(math.log(2))


def test_sampling_seeds_are_averaged_and_long_chains_are_longer(digits, untrained, tmp_path, monkeypatch):
    requested = []

    def draw(self, n=None, n_steps=None):
        requested.append((self.seed, n_steps))
        return Samples(torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(self.seed)) * 2 - 1)

    monkeypatch.setattr(TrainedModel, "draw", draw)
    values = FDClassifier(n=50, long_run=5.0)(subject(digits, tmp_path, energy=GaussianBase((1, 8, 8))))
    assert [n_steps for _, n_steps in requested] == [None] * 3 + [50] * 3 and len({seed for seed, _ in requested}) == 3
    assert values["fd_classifier"].stderr > 0
    assert values["fd_classifier/long_run"].value == pytest.approx(values["fd_classifier"].value)


def test_the_classifier_is_trained_once_and_read_back_the_same(digits, tmp_path, monkeypatch):
    monkeypatch.setenv("EBM_CACHE", str(tmp_path))
    monkeypatch.setattr(reference_classifier, "train", lambda net, x, y, steps: net.eval())
    before = torch.get_rng_state()
    first = reference_classifier.load_or_train_reference(digits)
    monkeypatch.setattr(reference_classifier, "train", lambda *_, **__: pytest.fail("trained again"))
    second = reference_classifier.load_or_train_reference(digits)
    x = digits.split("test").x[:20]
    assert torch.equal(first.classify(x)[0], second.classify(x)[0]) and len(list(tmp_path.iterdir())) == 1
    assert torch.get_rng_state().shape == before.shape


@pytest.mark.parametrize("size", [8, 28, 32])
def test_the_classifier_learns_bright_from_dark_at_every_size(size, monkeypatch):
    g = torch.Generator().manual_seed(0)
    y = torch.arange(64) % 2
    x = torch.rand(64, 1, size, size, generator=g) + y[:, None, None, None]
    net = reference_classifier.ReferenceClassifier((1, size, size), 2, float(x.mean()), float(x.std()))
    before = torch.get_rng_state()
    reference_classifier.train(net, x, y, steps=60, batch_size=16)
    features, probabilities = net.classify(x)
    assert features.shape == (64, 64) and (probabilities.argmax(1) == y).all()
    assert torch.equal(torch.get_rng_state(), before)


def test_the_classifier_is_the_same_on_any_number_of_threads(digits):
    def weights(threads):
        torch.set_num_threads(threads)
        net = reference_classifier.ReferenceClassifier(digits.shape, digits.n_classes)
        reference_classifier.train(net, *digits.split("train"), steps=3)
        assert torch.get_num_threads() == threads
        return net.state_dict()

    before = torch.get_num_threads()
    try:
        one, two = weights(1), weights(2)
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_protocol_names_the_weights_that_made_the_features(digits, untrained, tmp_path):
    values = FDClassifier()(subject(digits, tmp_path, samples=Samples(digits.split("test", 50).x)))
    net = reference_classifier.ReferenceClassifier(digits.shape, digits.n_classes)
    first = reference_classifier.weights_hash(net)
    assert len(values["fd_classifier"].protocol["weights_sha256"]) == len(first) == 16
    with torch.no_grad():
        net.head.bias[0] += 1e-6
    assert reference_classifier.weights_hash(net) != first
