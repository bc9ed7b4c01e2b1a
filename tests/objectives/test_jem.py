"""Joint models beyond the plain one: chains per class, class Gaussians, hidden labels, any classifier as an energy."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from ebm_cli.buffers.negatives import Negatives
from ebm_cli.buffers.replay import ReplayBuffer
from ebm_cli.config import ConfigError, build
from ebm_cli.datasets import Batch, Digits
from ebm_cli.energies import ClassGaussians, GaussianBase
from ebm_cli.models import Classifier, Network
from ebm_cli.objectives import JEM, ContrastiveDivergence
from ebm_cli.samplers import Langevin

CENTRES = torch.tensor([[-4.0], [4.0]])


class Wells(Network):
    """``E(x, y) = k (x - c_y)^2 / 2`` with centers -4 and 4."""

    def __init__(self, k=1.0):
        super().__init__((1,), n_classes=2, joint=True)
        self.k = nn.Parameter(torch.tensor(float(k)))

    def outputs(self, x, y=None):
        return 0.5 * self.k * (x[:, None] - CENTRES).square().sum(2)


def chains_for(sampler, base=None, **buffer):
    data = lambda n, g: (torch.randn(n, 1, generator=g), torch.full((n,), -1))  # noqa: E731
    options = {"size": 400, "restart_probability": 0.0, **buffer}
    return Negatives(sampler, ReplayBuffer(**options), base or GaussianBase((1,)), data, n_classes=2)


# Class-conditional chains ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("labels", ["own", "batch"])
def test_chains_go_where_their_labels_say(labels):
    """From N(0, 1), 200 steps under E(x, y) end in N(c_y, 1): the mean is c_y within 5 standard errors."""
    chains = chains_for(Langevin(n_steps=200, step_size=0.05))
    y = torch.arange(400) % 2
    JEM(labels=labels)(Wells(), Batch(torch.zeros(400, 1), y), chains)
    found = chains.latest
    assert labels == "own" or torch.equal(found.y, y)
    for label in (0, 1):
        of = found.x[found.y == label]
        assert float(of.mean()) == pytest.approx(float(CENTRES[label]), abs=5 / math.sqrt(len(of)))
    assert torch.equal(chains.buffer.entries.y[chains.buffer.entries.x[:, 0] > 0].unique(), torch.tensor([1]))


def test_without_labels_chains_follow_the_marginal_energy():
    chains = chains_for(Langevin(n_steps=200, step_size=0.05), GaussianBase((1,), mean=3.0))
    JEM()(Wells(), Batch(torch.zeros(400, 1), torch.zeros(400).long()), chains)
    assert float(chains.latest.x.mean()) == pytest.approx(4.0, abs=0.3)  # whatever their labels are


def test_hidden_labels_become_random_ones_where_chains_need_one():
    chains = chains_for(Langevin(n_steps=1, step_size=1e-6), start="data", restart_from="data")
    y = JEM(labels="own").draw(Wells(), Batch(torch.zeros(400, 1), None), chains).y
    assert set(y.tolist()) == {0, 1}
    assert float(y.float().mean()) == pytest.approx(0.5, abs=0.1)


# Hidden labels -----------------------------------------------------------------------------------------------------


def test_hidden_labels_are_left_out_of_the_cross_entropy():
    """Energies (0, log 3) give p(0) = 3/4; of four examples one is labeled 0 and one 1."""
    from ebm_cli.objectives.classifier import classify

    energies = torch.tensor([0.0, math.log(3)]).repeat(4, 1)
    nll, scores = classify(energies, torch.tensor([0, -1, 1, -1]))
    assert float(nll) == pytest.approx(-(math.log(0.75) + math.log(0.25)) / 2)
    assert float(scores["classifier/accuracy"]) == pytest.approx(0.5)
    assert float(classify(energies, torch.full((4,), -1))[0]) == 0.0


def test_labeled_hides_the_other_labels_from_training_alone():
    data = Digits(value_range=[-1, 1], labeled=100)
    y = data.training_rows[torch.arange(len(data.training_rows))].y
    assert torch.bincount(y + 1).tolist()[0] == len(y) - 100
    assert all(8 <= count <= 12 for count in torch.bincount(y[y >= 0]).tolist())  # in proportion
    for split in ("train", "validation", "test"):
        assert int(data.split(split).y.min()) == 0
    assert int((data.examples(10000).y >= 0).sum()) == 100


def test_more_labels_than_there_are_is_refused():
    with pytest.raises(ValueError, match="dataset.labeled=5000: there are 1212 training examples"):
        _ = Digits(value_range=[-1, 1], labeled=5000).training_rows


def test_a_model_that_takes_labels_refuses_hidden_ones():
    from ebm_cli.models import ResNet
    from ebm_cli.training.module import refuse_hidden_labels

    conditional = ResNet((1, 8, 8), width=8, conditional=True, n_classes=10)
    with pytest.raises(ValueError, match="some labels are hidden"):
        refuse_hidden_labels(torch.tensor([3, -1]), conditional)
    refuse_hidden_labels(torch.tensor([3, -1]), Wells())


# One Gaussian per class --------------------------------------------------------------------------------------------


def two_classes(n=20000):
    generator = torch.Generator().manual_seed(0)
    y = (torch.rand(n, generator=generator) < 0.25).long()
    scale, center = torch.tensor([[1.0, 0.5, 0.5], [0.3, 2.0, 0.3]]), torch.tensor([[-3.0, 0, 0], [3.0, 1, 0]])
    return center[y] + scale[y] * torch.randn(n, 3, generator=generator), y


@pytest.mark.parametrize("rank", [1, 2, 3, 256])
def test_class_gaussians_are_the_mixture_that_the_data_came_from(rank):
    """Equal widths in the directions that rank=1 leaves out, so every rank gives the density exactly."""
    x, y = two_classes()
    base = ClassGaussians((3,), rank=rank, n_classes=2)
    base.fit_labeled(x, y)
    point = torch.tensor([[-2.5, 0.2, 0.1], [3.1, -1.0, 0.2]])
    at = lambda mean, std: torch.distributions.Normal(torch.tensor(mean), torch.tensor(std)).log_prob(point).sum(1)  # noqa: E731
    first, second = at([-3.0, 0, 0], [1.0, 0.5, 0.5]), at([3.0, 1, 0], [0.3, 2.0, 0.3])
    exact = torch.logaddexp(first + math.log(0.75), second + math.log(0.25))
    torch.testing.assert_close(base.log_prob(point), exact, atol=0.08, rtol=0)


@pytest.mark.parametrize("rank", [1, 3])
def test_draws_of_a_class_have_its_mean_and_covariance(rank):
    base = ClassGaussians((3,), rank=rank, n_classes=2)
    base.fit_labeled(*two_classes())
    x = base.sample_labeled(torch.ones(20000).long(), torch.Generator().manual_seed(1))
    torch.testing.assert_close(x.mean(0), torch.tensor([3.0, 1.0, 0.0]), atol=0.08, rtol=0)
    torch.testing.assert_close(torch.cov(x.T), torch.diag(torch.tensor([0.09, 4.0, 0.09])), atol=0.15, rtol=0)
    share = (base.sample(20000, torch.Generator().manual_seed(1))[:, 0] > 0).float().mean()
    assert float(share) == pytest.approx(0.25, abs=0.02)


def test_fewer_examples_than_dimensions_leave_the_floor():
    """5 of 6 dimensions are never seen to vary: their deviation is floor x the class's root mean square one."""
    x = torch.zeros(4, 6)
    x[:, 0] = torch.tensor([-1.0, 1.0, -1.0, 1.0])
    base = ClassGaussians((6,), rank=6, floor=0.1, n_classes=1)
    base.fit_labeled(x, torch.zeros(4).long())
    kept = base.std[0].sort().values
    least = 0.1 * math.sqrt(4 / 3 / 6)
    torch.testing.assert_close(kept, torch.tensor([least] * 5 + [math.sqrt(4 / 3)]), atol=1e-5, rtol=0)
    exact = 0.5 * 6 * math.log(2 * math.pi) + 5 * math.log(least) + 0.5 * math.log(4 / 3)
    assert float(base(torch.zeros(1, 6))) == pytest.approx(exact, abs=1e-4)


def test_chains_start_from_the_gaussian_of_their_class():
    base = ClassGaussians((1,), n_classes=2)
    x = torch.cat([CENTRES[0] + 0.1 * torch.randn(50, 1), CENTRES[1] + 0.1 * torch.randn(50, 1)])
    hidden = torch.cat([torch.arange(100) // 50, torch.tensor([-1])])
    base.fit_labeled(torch.cat([x, torch.tensor([[1000.0]])]), hidden)  # a hidden label counts for no class
    entries = chains_for(Langevin(n_steps=1, step_size=0.1), base).fresh("noise", 200)
    assert (entries.x - CENTRES[entries.y]).abs().max() < 1


def test_class_gaussians_need_labels_of_every_class():
    with pytest.raises(ValueError, match="labels"):
        ClassGaussians((1,))
    with pytest.raises(ValueError, match="class 2 has 1 labeled"):
        ClassGaussians((1,), n_classes=3).fit_labeled(torch.randn(5, 1), torch.tensor([0, 0, 1, 1, 2]))


# Any classifier as an energy ---------------------------------------------------------------------------------------

LINEAR = {"_target_": "torch.nn.Linear", "in_features": 2, "out_features": 3}


def classifier(**options):
    node = {"_target_": "ebm_cli.models.Classifier", "network": LINEAR, **options}
    return build(node, "model", shape=(2,), n_classes=3, joint=False)


def test_the_energy_of_a_classifier_is_minus_the_log_sum_of_its_logits():
    torch.manual_seed(0)
    energy, x = classifier(mean=[1.0, 2.0], std=0.5), torch.randn(7, 2)
    logits = energy.network((x - torch.tensor([1.0, 2.0])) / 0.5)
    torch.testing.assert_close(energy(x), -logits.exp().sum(1).log())
    torch.testing.assert_close(energy.given(y=torch.full((7,), 2))(x), -logits[:, 2])
    torch.testing.assert_close((-energy.class_energies(x)).softmax(1), logits.softmax(1))


def test_weights_come_from_a_file_or_are_refused(tmp_path):
    network = nn.Linear(2, 3)
    torch.save(network.state_dict(), tmp_path / "mine.pt")
    assert torch.equal(classifier(weights=str(tmp_path / "mine.pt")).network.weight, network.weight)
    torch.save(nn.Linear(2, 4).state_dict(), tmp_path / "other.pt")
    with pytest.raises(ConfigError, match="model.weights=.*other.pt: not the state dict of Linear"):
        classifier(weights=str(tmp_path / "other.pt"))
    with pytest.raises(FileNotFoundError, match="no such file"):
        classifier(weights=str(tmp_path / "none.pt"))


def test_a_network_outside_the_allowed_packages_is_refused_until_it_is_allowed(tmp_path, monkeypatch):
    code = "import torch\n\n\nclass Net(torch.nn.Linear):\n    def __init__(self):\n        super().__init__(2, 3)\n"
    (tmp_path / "my_nets.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match="my_nets.Net: not a class of .*EBM_ALLOW"):
        classifier(network={"_target_": "my_nets.Net"})
    monkeypatch.setenv("EBM_ALLOW", "my_nets")
    assert classifier(network={"_target_": "my_nets.Net"})(torch.zeros(5, 2)).shape == (5,)


def test_outputs_that_are_no_logits_of_these_classes_are_named():
    energy = classifier(network=LINEAR | {"out_features": 4})
    with pytest.raises(ValueError, match=r"model.network gives outputs of shape \(5, 4\) .* 3 classes"):
        energy(torch.zeros(5, 2))
    with pytest.raises(ConfigError, match="network must be a torch module"):
        classifier(network="resnet")


def test_a_classifier_is_a_density_under_contrastive_divergence_too():
    energy = Classifier((2,), network=nn.Linear(2, 3), n_classes=3)
    chains = Negatives(Langevin(n_steps=2, step_size=0.1), ReplayBuffer(size=20), GaussianBase((2,)), None, n_classes=3)
    loss = ContrastiveDivergence()(energy, Batch(torch.randn(10, 2), torch.zeros(10).long()), chains).loss
    assert chains.latest.x.shape == (10, 2)
    loss.backward()
    assert energy.network.weight.grad.abs().sum() > 0
