"""Metrics with known answers: Frechet distances, AUROC with ties, calibration, quadrature, skips, and the schema."""

import inspect
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from ebm_cli import evaluate
from ebm_cli.config import ConfigError, option_node
from ebm_cli.datasets import Digits, RingOfGaussians, Rings, Toy
from ebm_cli.metrics import OOD, Classifier, Density, FDClassifier, Metric, Skip, Value, judge, ood, report
from ebm_cli.metrics.classifier import calibration_error
from ebm_cli.metrics.frechet import PixelGaussian, frechet_distance
from ebm_cli.models import Energy, Network
from ebm_cli.run import Samples, Subject


def subject(data, directory, energy=None, samples=None):
    return Subject(energy, None, None, data, 10, None, 0, 10, Path(directory), None, samples=samples)


@pytest.fixture
def digits():
    return Digits(value_range=[-1, 1])


@pytest.fixture
def untrained(monkeypatch):
    """A judge without training, which every comparison of features can be tested with."""

    def judge_of(data):
        torch.manual_seed(0)
        return judge.Judge(data.shape, data.n_classes).eval().requires_grad_(False)

    monkeypatch.setattr("ebm_cli.metrics.fd_classifier.judge_of", judge_of)


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
    values = FDClassifier()(subject(digits, tmp_path, samples=Samples(drawn)))
    assert values["fd_classifier/q"].value == pytest.approx(1, rel=1e-9)


def test_fewer_samples_than_test_images_are_compared_with_as_many(digits, untrained, tmp_path):
    values = FDClassifier()(subject(digits, tmp_path, samples=Samples(digits.split("test").x[:100])))
    assert {values[f"fd_classifier{key}"].n for key in ("", "/test", "/gaussian", "/q")} == {100}


def test_one_class_is_counted_as_one(digits, monkeypatch, tmp_path):
    class ByLabel(judge.Judge):
        def judge(self, x):
            place = (x.mean((1, 2, 3)) > 0).long() if len(x) == 40 else torch.arange(len(x)) % 10
            return torch.randn(len(x), 64), torch.eye(10)[place]

    monkeypatch.setattr("ebm_cli.metrics.fd_classifier.judge_of", lambda data: ByLabel(data.shape, 10))
    x = torch.cat([torch.ones(20, 1, 8, 8), -torch.ones(20, 1, 8, 8)])
    values = FDClassifier()(subject(digits, tmp_path, samples=Samples(x)))
    assert values["fd_classifier/classes"].value == 2
    assert values["fd_classifier/entropy"].value == pytest.approx(math.log(2))


def test_sampling_seeds_are_averaged_and_long_chains_are_longer(digits, untrained, tmp_path, monkeypatch):
    asked = []

    def draw(self, n=None, n_steps=None):
        asked.append((self.seed, n_steps))
        return Samples(torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(self.seed)) * 2 - 1)

    monkeypatch.setattr(Subject, "draw", draw)
    values = FDClassifier(n=50, long_run=5.0)(subject(digits, tmp_path, energy=Energy((1, 8, 8))))
    assert [n_steps for _, n_steps in asked] == [None] * 3 + [50] * 3 and len({seed for seed, _ in asked}) == 3
    assert values["fd_classifier"].stderr > 0
    assert values["fd_classifier/long_run"].value == pytest.approx(values["fd_classifier"].value)


def test_judge_is_trained_once_and_read_back_the_same(digits, tmp_path, monkeypatch):
    monkeypatch.setenv("EBM_CACHE", str(tmp_path))
    monkeypatch.setattr(judge, "train", lambda judge, x, y, steps: judge.eval())
    before = torch.get_rng_state()
    first = judge.judge_of(digits)
    monkeypatch.setattr(judge, "train", lambda *_, **__: pytest.fail("trained again"))
    second = judge.judge_of(digits)
    x = digits.split("test").x[:20]
    assert torch.equal(first.judge(x)[0], second.judge(x)[0]) and len(list(tmp_path.iterdir())) == 1
    assert torch.get_rng_state().shape == before.shape


@pytest.mark.parametrize("size", [8, 28, 32])
def test_judge_learns_bright_from_dark_at_every_size(size, monkeypatch):
    g = torch.Generator().manual_seed(0)
    y = torch.arange(64) % 2
    x = torch.rand(64, 1, size, size, generator=g) + y[:, None, None, None]
    net = judge.Judge((1, size, size), 2, float(x.mean()), float(x.std()))
    before = torch.get_rng_state()
    judge.train(net, x, y, steps=60, batch_size=16)
    features, probabilities = net.judge(x)
    assert features.shape == (64, 64) and (probabilities.argmax(1) == y).all()
    assert torch.equal(torch.get_rng_state(), before)


def test_judge_is_the_same_on_any_number_of_threads(digits):
    def weights(threads):
        torch.set_num_threads(threads)
        net = judge.Judge(digits.shape, digits.n_classes)
        judge.train(net, *digits.split("train"), steps=3)
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
    net = judge.Judge(digits.shape, digits.n_classes)
    first = judge.weights_hash(net)
    assert len(values["fd_classifier"].protocol["weights_sha256"]) == len(first) == 16
    with torch.no_grad():
        net.head.bias[0] += 1e-6
    assert judge.weights_hash(net) != first


# ood ---------------------------------------------------------------------------------------------------------------


def test_auroc_counts_ties_as_half():
    assert ood.auroc(torch.tensor([1.0, 2.0, 2.0]), torch.tensor([0.0, 2.0])) == pytest.approx(
        (1 + 1 + 1 + 0.5 * 2) / 6
    )
    assert ood.auroc(torch.ones(5), torch.ones(7)) == 0.5
    assert ood.auroc(torch.arange(5.0) + 10, torch.arange(5.0)) == 1.0


def test_fpr95_is_the_share_of_others_above_the_threshold_that_95_percent_of_the_test_images_reach():
    inside = torch.arange(100.0)
    assert ood.fpr(inside, torch.tensor([4.0, 5.0, 6.0, -1.0])) == 0.5
    assert ood.average_precision(torch.tensor([3.0, 1.0]), torch.tensor([2.0, 0.0])) == pytest.approx(
        0.5 * 1 + 0.5 * 2 / 3
    )


def test_standard_error_of_the_auroc_agrees_with_simulation():
    g = torch.Generator().manual_seed(0)
    areas = [ood.auroc(torch.randn(80, generator=g) + 1, torch.randn(60, generator=g)) for _ in range(300)]
    claimed = ood.auroc_error(float(np.mean(areas)), 80, 60)
    assert claimed == pytest.approx(float(np.std(areas)), rel=0.2)


class Distance(Network):
    """Energy: squared distance to the mean training image."""

    def __init__(self, mean, **keywords):
        super().__init__(mean.shape, **keywords)
        self.mean = mean

    def forward(self, x, y=None):
        return (x - self.mean).square().flatten(1).sum(1)


def test_energies_that_see_noise_as_far_give_auroc_one_and_others_are_skipped_with_reasons(digits, tmp_path):
    judged = subject(digits, tmp_path, energy=Distance(digits.split("train").x.mean(0)))
    values = OOD(sets=["inverted", "vflip"], datasets=["two_moons", "nowhere"])(judged)
    assert values["ood/inverted/energy/auroc"].value > 0.99
    assert values["ood/inverted/energy/fpr95_in"].value < 0.05
    assert 0.5 < values["ood/vflip/gaussian/auroc"].value < 0.95
    assert "no classes" in str(values["ood/*/max_softmax"])
    assert isinstance(values["ood/two_moons"], Skip) and "images" in str(values["ood/two_moons"])
    assert isinstance(values["ood/nowhere"], Skip) and "fashion_mnist" in str(values["ood/nowhere"])


def test_other_sets_are_what_their_names_say(digits, tmp_path):
    test = digits.split("test", 20).x
    made = {name: ood.others_of(name, test, subject(digits, tmp_path)) for name in ood.SETS}
    assert torch.equal(made["vflip"][:, :, 0], test[:, :, -1]) and torch.equal(made["inverted"], -test)
    assert torch.equal(made["shuffled"].flatten(1).sort(1).values, test.flatten(1).sort(1).values)
    assert not torch.equal(made["shuffled"], test)
    assert (made["constant"].flatten(1).std(1) < 1e-6).all() and made["constant"].mean((1, 2, 3)).std() > 0.3
    assert torch.equal(made["rot90"].rot90(-1, (2, 3)), test)
    again = ood.others_of("noise", test, subject(digits, tmp_path))
    assert torch.equal(made["noise"], again) and made["noise"].min() < -0.95 and made["noise"].max() > 0.95


def test_wrong_words_name_the_choices():
    with pytest.raises(ValueError, match="vflop.*vflip"):
        OOD(sets=["vflop"])
    with pytest.raises(ValueError, match="energies.*grad_norm"):
        OOD(scores=["energies"])


# classifier --------------------------------------------------------------------------------------------------------


def test_calibration_error_of_a_calibrated_toy_is_zero_and_of_an_overconfident_one_the_gap():
    y = torch.cat([torch.zeros(75), torch.ones(25)]).long()
    honest = torch.tensor([[0.75, 0.25]]).repeat(100, 1).double()
    assert calibration_error(honest, y, 15) == pytest.approx(0, abs=1e-6)
    assert calibration_error(torch.tensor([[0.95, 0.05]]).repeat(100, 1), y, 15) == pytest.approx(0.2, abs=1e-6)


class Known(Network):
    """Class energies that put probability .9 on the digit that a lookup of the image gives."""

    def __init__(self, x, y):
        super().__init__(x.shape[1:], n_classes=10, joint=True)
        self.x, self.y = x, y

    def outputs(self, x, y=None):
        nearest = torch.cdist(x.flatten(1), self.x.flatten(1)).argmin(1)
        p = torch.full((len(x), 10), 0.1 / 9)
        return -p.scatter(1, self.y[nearest][:, None], 0.9).log()


def test_classifier_scores_of_a_model_that_is_always_right_with_probability_09(digits, tmp_path):
    values = Classifier()(subject(digits, tmp_path, energy=Known(*digits.split("test"))))
    assert values["classifier/accuracy"].value == 1
    assert values["classifier/nll"].value == pytest.approx(-math.log(0.9), rel=1e-4)
    assert values["classifier/brier"].value == pytest.approx(0.1**2 + 9 * (0.1 / 9) ** 2, rel=1e-4)
    assert values["classifier/ece15"].value == pytest.approx(0.1, abs=1e-4)
    assert values["classifier/ece20"].protocol["bins"] == 20
    assert (tmp_path / "reliability.png").is_file()


def test_classifier_skips_an_energy_without_classes(digits, tmp_path):
    with pytest.raises(Skip, match="objective=jem"):
        Classifier()(subject(digits, tmp_path, energy=Distance(digits.split("train").x.mean(0))))


# density -----------------------------------------------------------------------------------------------------------


class Exact(Energy):
    """Minus the log of a density, shifted: log Z is ``shift``."""

    def __init__(self, density, shift=0.0):
        super().__init__((2,))
        self.density, self.shift = density, shift

    def forward(self, x):
        return -self.density.log_prob(x) - self.shift


@pytest.mark.parametrize("density", [RingOfGaussians(), Rings(std=0.1)])
def test_the_true_density_has_divergence_zero_and_its_log_z(density, tmp_path):
    data = Toy(density=density, n_train=100, n_validation=10, n_test=4000)
    values = Density()(subject(data, tmp_path, energy=Exact(density, shift=3.0)))
    assert values["density/kl"].value == pytest.approx(0, abs=1e-3)
    assert values["density/log_z"].value == pytest.approx(3, abs=1e-3)
    assert values["density/outside"].value < 1e-5
    error = values["density/log_likelihood"]
    assert abs(error.value + density.entropy) < 4 * error.stderr and error.n == 4000
    if density.modes is not None:
        assert values["density/modes"].value == 8 and values["density/min_mode_share"].value == pytest.approx(
            1, abs=1e-3
        )


class Lopsided(Energy):
    """Two Gaussians at +-2 on the first axis, with masses 0.9 and 0.1, and a far one that carries ``far``."""

    def __init__(self, far=0.0):
        super().__init__((2,))
        self.weights = torch.tensor([0.9, 0.1, far]) / (1 + far)
        self.centres = torch.tensor([[2.0, 0.0], [-2.0, 0.0], [8.0, 8.0]])

    def forward(self, x):
        squared = (x[:, None] - self.centres.to(x)).square().sum(2)
        return -torch.logsumexp(self.weights.to(x).log() - squared / (2 * 0.2**2), 1)


def test_divergence_modes_and_escaping_mass_of_a_mixture_with_other_weights(tmp_path):
    data = Toy(density=RingOfGaussians(n_modes=2), n_train=100, n_validation=10, n_test=1000)
    values = Density()(subject(data, tmp_path, energy=Lopsided()))
    expected = 0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1)
    assert values["density/kl"].value == pytest.approx(expected, abs=1e-3)
    assert values["density/min_mode_share"].value == pytest.approx(0.2, abs=1e-3)
    assert values["density/modes"].value == 1
    values = Density()(subject(data, tmp_path, energy=Lopsided(far=0.25)))
    assert values["density/outside"].value == pytest.approx(0.2, abs=1e-3)
    assert values["density/kl"].value == pytest.approx(expected + math.log(1.25), abs=1e-3)


# What is skipped, and what is written ------------------------------------------------------------------------------


def test_metrics_that_do_not_fit_say_what_to_do(digits, tmp_path):
    toy = Toy(density=RingOfGaussians(), n_train=100, n_validation=10, n_test=50)
    for metric, data, message in (
        (Density(), digits, "known density"),
        (FDClassifier(), toy, "metric=density"),
        (OOD(), toy, "metric=density"),
    ):
        with pytest.raises(Skip, match=message):
            metric(subject(data, tmp_path, energy=Energy(data.shape)))
    with pytest.raises(Skip, match="run=PATH"):
        OOD()(subject(digits, tmp_path))


def test_suitable_metrics_follow_data_and_model(digits, tmp_path):
    toy = Toy(density=RingOfGaussians(), n_train=100, n_validation=10, n_test=50)
    plain, joint = Network((1, 8, 8)), Network((1, 8, 8), n_classes=10, joint=True)
    assert evaluate.suitable(subject(toy, tmp_path, energy=plain)) == ["density"]
    assert evaluate.suitable(subject(digits, tmp_path, energy=plain)) == ["fd_classifier", "ood"]
    assert evaluate.suitable(subject(digits, tmp_path, energy=joint)) == ["fd_classifier", "ood", "classifier"]
    assert evaluate.suitable(subject(digits, tmp_path)) == ["fd_classifier"]


def test_a_metric_that_fails_and_rows_that_are_missing_are_recorded(digits, tmp_path):
    class Partial(Metric):
        def __call__(self, subject):
            return {"a": Value(1.0), "b": Skip("no b")}

    class Broken(Metric):
        def __call__(self, subject):
            raise Skip("no weights: put them there")

    assert evaluate.measure("partial", Partial(), None) == ({"a": Value(1.0)}, {"b": "no b"})
    assert evaluate.measure("broken", Broken(), None) == ({}, {"broken": "no weights: put them there"})


def test_metrics_json_has_the_schema_of_all_commands(tmp_path):
    values = {"a": Value(0.5, 0.1, 10, {"split": "test"}), "ood/x/energy/auroc": Value(1.0)}
    origin = {"run": None, "checkpoint_sha256": None, "samples": "mine.npz"}
    report.write(tmp_path, 3, origin, values, {"b": "why"})
    content = json.loads((tmp_path / "metrics.json").read_text())
    assert set(content) == {"run", "checkpoint_sha256", "commit", "versions", "seed", "metrics", "skipped"}
    protocol = {"split": "test", "samples": "mine.npz"}
    assert content["metrics"]["a"] == {"value": 0.5, "stderr": 0.1, "n": 10, "protocol": protocol}
    assert content["metrics"]["ood/x/energy/auroc"]["stderr"] is None
    assert content["skipped"] == {"b": "why"} and content["seed"] == 3
    text = (tmp_path / "report.md").read_text()
    assert "| a " in text and "ood/x/energy" in text and "skipped b: why" in text and '"split": "test"' in text


# Given samples -----------------------------------------------------------------------------------------------------


def test_samples_are_read_in_every_common_layout(digits, tmp_path):
    grey = np.random.default_rng(0).integers(0, 256, (5, 8, 8), dtype=np.uint8)
    expected = torch.as_tensor(grey)[:, None] / 255 * 2 - 1
    for i, array in enumerate((grey, grey[:, None], grey[..., None])):
        np.savez(tmp_path / f"{i}.npz", samples=array)
        read = evaluate.read_samples(str(tmp_path / f"{i}.npz"), digits).x
        assert torch.allclose(read, expected, atol=1e-5)


@pytest.mark.parametrize(
    "array, message",
    [
        (np.zeros((5, 3, 9, 9), np.float32), r"shape \(5, 3, 9, 9\), expected \(N, 1, 8, 8\)"),
        (np.full((5, 1, 8, 8), 255, np.float32), r"\[255, 255\], expected \[-1, 1\], or uint8"),
        (np.full((5, 1, 8, 8), np.nan, np.float32), "finite"),
    ],
)
def test_samples_that_do_not_fit_are_one_clear_line(digits, tmp_path, array, message):
    np.savez(tmp_path / "bad.npz", samples=array)
    with pytest.raises(ConfigError, match=message):
        evaluate.read_samples(str(tmp_path / "bad.npz"), digits)


def test_a_missing_file_and_samples_without_a_data_set_are_one_clear_line(digits):
    with pytest.raises(ConfigError, match="samples=nowhere.npz"):
        evaluate.read_samples("nowhere.npz", digits)
    with pytest.raises(ConfigError, match="dataset=NAME"):
        evaluate.default_run(["samples=a.npz"])
    with pytest.raises(ConfigError, match="run=PATH"):
        evaluate.default_run(["run=null", "dataset=digits"])
    assert evaluate.default_run(["samples=a.npz", "dataset=digits"]) is None
    assert evaluate.default_run(["metric=[ood]"]) == "latest"
    with pytest.raises(ConfigError, match=r"metric=\[ood\]"):
        evaluate.need_choice(["metric.ood.datasets=[mnist]"])


# The command -------------------------------------------------------------------------------------------------------


def written(folder):
    """The newest metrics.json below a folder of evaluations."""
    return json.loads(max(folder.glob("**/metrics.json"), key=lambda file: file.stat().st_mtime).read_text())


def test_ebm_eval_measures_a_run_twice_the_same_and_says_what_it_skips(command, tmp_path):
    small = ["dataset=8gaussians", "objective=nce", "dataset.steps_per_epoch=2", "trainer.max_epochs=1"]
    status, _, error = command("ebm-train", *small, "dataset.n_train=200", "sampler.n_steps=2", "model.hidden=[8]")
    assert status == 0, error
    evals = tmp_path / "outputs" / "evals"
    results = []
    for stamp in ("one", "two"):
        status, out, error = command("ebm-eval", "metric=[density,ood]", "metric.density.max_side=200", stamp=stamp)
        assert status == 0, error
        results.append(written(evals))
    assert results[0]["metrics"] == results[1]["metrics"] and "density/kl" in results[0]["metrics"]
    assert list(results[0]["skipped"]) == ["ood"] and "metric=density" in results[0]["skipped"]["ood"]
    assert "density/kl" in out and out.strip().splitlines()[-1].startswith("eval: ")
    status, _, error = command("ebm-eval", "metric=[ood]")
    assert status == 1 and error.strip().splitlines()[-1].startswith("ebm-eval: ood: ")
    status, _, error = command("ebm-eval", "metric=[density]", "metric.density.widht=2")
    assert status == 1 and "did you mean width?" in error
    status, _, error = command("ebm-eval", "dataset=digits")
    assert status == 1 and "the run's model (2,)" in error


def test_ebm_eval_judges_samples_without_a_run(command, tmp_path, untrained):
    np.savez(tmp_path / "mine.npz", samples=Digits(value_range=[-1, 1]).split("test").x.numpy())
    status, out, error = command("ebm-eval", "samples=mine.npz", "dataset=digits")
    assert status == 0, error
    found = written(tmp_path / "outputs" / "evals" / "samples")
    assert found["metrics"]["fd_classifier/q"]["value"] == pytest.approx(0, abs=1e-6) and found["run"] is None
    assert found["metrics"]["fd_classifier"]["protocol"]["samples"].startswith("mine.npz")


@pytest.mark.parametrize("name, kind", [("density", Density), ("fd_classifier", FDClassifier), ("ood", OOD)])
def test_metric_options_are_the_defaults_of_their_class(name, kind):
    node = option_node("metric", name)
    assert node.pop("_target_") == f"ebm_cli.metrics.{kind.__name__}"
    keywords = {key: p.default for key, p in inspect.signature(kind).parameters.items()}
    assert list(node) == list(keywords)
    assert {k: tuple(v) if isinstance(v, list) else v for k, v in node.items()} == keywords
