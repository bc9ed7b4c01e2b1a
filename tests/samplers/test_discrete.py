"""Discrete transitions: their whole transition matrix leaves the target alone, to rounding."""

import pytest
import torch

from ebm_cli.energies import Energy, Ising, Sites, Support, exact_log_z, exact_sample
from ebm_cli.energies.discrete import enumerated
from ebm_cli.models import RBM
from ebm_cli.samplers import DiscreteMALA, Gibbs, GibbsWithGradients, Langevin


class Potts(Energy):
    """Three sites with three values each, every pair coupled, and not quadratic."""

    def __init__(self):
        super().__init__((3, 3), Support("one_hot"))
        couplings = torch.randn(9, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        self.register_buffer("couplings", couplings)

    def forward(self, x):
        flat = x.flatten(1)
        return ((flat @ self.couplings.to(x.dtype)) * flat).sum(1).tanh() * 2 + flat[:, 0]


def rbm():
    torch.manual_seed(0)
    energy = RBM(n_visible=4, n_hidden=3, weight_std=1.0).double()
    torch.nn.init.normal_(energy.visible_bias)
    return energy


class Spins(Ising):
    """An Ising ring with a cubic term, so that first-order changes are not exact."""

    def __init__(self):
        super().__init__(size=[4], coupling=0.4, field=0.3)
        self.register_buffer("field64", torch.zeros((), dtype=torch.float64))

    def forward(self, x):
        return super().forward(x) + 0.5 * x[:, 0] * x[:, 1] * x[:, 2]

    def value_and_grad(self, x):
        return Energy.value_and_grad(self, x)


ENERGIES = {"binary": rbm, "spins": Spins, "one_hot": Potts}


def pairs(states):
    """All ordered pairs of states: from, to."""
    n = len(states)
    return states.repeat_interleave(n, 0), states.repeat(n, *[1] * (states.ndim - 1))


def proposing_matrix(sampler, energy, states):
    """P[a, b] of one step, from the kernel's own probabilities."""
    a, b = pairs(states)
    matrix = sampler.log_transition(energy, a, b).exp().view(len(states), -1)
    matrix = matrix - torch.diag(matrix.diagonal())
    return matrix + torch.diag(1 - matrix.sum(1))


def site_matrix(sampler, energy, sites, states, site):
    """P[a, b] of one redraw of ``site``."""
    at = torch.full((len(states),), site)
    points, values = sampler.evaluate_alternatives(energy, sites, states, energy(states).detach(), at)
    probability = torch.softmax(-values / sampler.temperature, 1)
    weights = sites.k ** torch.arange(sites.n - 1, -1, -1)
    index = (sites.codes(points.flatten(0, 1)) * weights).sum(1).view(len(states), -1)
    return torch.zeros(len(states), len(states), dtype=torch.float64).scatter_add(1, index, probability)


def gibbs_matrix(sampler, energy, states):
    sites = Sites(energy.shape, energy.support)
    matrices = [site_matrix(sampler, energy, sites, states, site) for site in range(sites.n)]
    if sampler.scan == "random":
        return torch.linalg.matrix_power(sum(matrices) / sites.n, sites.n)
    return torch.linalg.multi_dot(matrices)


KERNELS = {
    "gwg": (lambda: GibbsWithGradients(temperature=1.3), proposing_matrix),
    "dmala": (lambda: DiscreteMALA(step_size=0.7, temperature=1.3), proposing_matrix),
    "systematic": (lambda: Gibbs(temperature=1.3), gibbs_matrix),
    "random": (lambda: Gibbs(scan="random", temperature=1.3), gibbs_matrix),
}


@pytest.mark.parametrize("kind", ENERGIES)
@pytest.mark.parametrize("name", KERNELS)
def test_the_transition_matrix_leaves_the_target_invariant(kind, name):
    energy, (make, matrix_of) = ENERGIES[kind](), KERNELS[name]
    states, log_p = enumerated(energy, 1.3)
    p, matrix = torch.softmax(log_p, 0), matrix_of(make(), energy, states)
    assert float((matrix.sum(1) - 1).abs().max()) < 1e-12 and float(matrix.min()) > -1e-15
    assert float((p @ matrix - p).abs().max()) < 1e-12
    flow = p[:, None] * matrix
    if name != "systematic":  # a systematic sweep is stationary, and not reversible
        assert float((flow - flow.T).abs().max()) < 1e-12
    assert float(matrix.diagonal().max()) < 0.999  # it moves


@pytest.mark.parametrize("kind", ENERGIES)
@pytest.mark.parametrize("name", KERNELS)
def test_a_step_realises_its_transition_matrix(kind, name):
    energy, (make, matrix_of) = ENERGIES[kind](), KERNELS[name]
    states, _ = enumerated(energy)
    sampler, n, start = make(), 20000, len(states) // 3
    row = matrix_of(sampler, energy, states)[start]
    generator = torch.Generator().manual_seed(3)
    x = sampler.sample(energy, states[start].expand(n, *energy.shape), n_steps=1, generator=generator).x
    assert chi_square(counts(energy, x), row * n) < 5


def counts(energy, x):
    """How often every state, in the order of their enumeration, is among ``x``."""
    sites = Sites(energy.shape, energy.support)
    weights = sites.k ** torch.arange(sites.n - 1, -1, -1)
    return torch.bincount((sites.codes(x) * weights).sum(1), minlength=sites.k**sites.n).double()


def chi_square(found, expected):
    """Standardized chi-square statistic over states that are expected at least five times."""
    full = expected >= 5
    degrees = max(1, int(full.sum()) - 1)
    statistic = ((found - expected)[full].square() / expected[full]).sum()
    return float((statistic - degrees) / (2 * degrees) ** 0.5)


def test_block_gibbs_leaves_the_rbm_and_the_ising_lattice_invariant():
    for energy in (rbm(), Ising(size=[2, 4], coupling=0.3, field=0.1)):
        generator, n = torch.Generator().manual_seed(0), 40000
        states, log_p = enumerated(energy)
        x = exact_sample(energy, n, generator)
        expected = torch.softmax(log_p, 0) * n
        assert chi_square(counts(energy, x), expected) < 4
        moved = Gibbs(scan="block", n_steps=3).sample(energy, x, generator=generator).x
        assert chi_square(counts(energy, moved), expected) < 4
        assert not torch.equal(moved, x)


def test_the_rbms_block_kernel_is_stationary_by_enumeration():
    energy = rbm()
    v, log_p = enumerated(energy)
    h = Sites((3,), Support("binary")).states(torch.float64)
    with torch.no_grad():
        up, down = energy.hidden_probability(v)[:, None], energy.visible_probability(h)[:, None]
    up = (h * up + (1 - h) * (1 - up)).prod(2)  # p(h | v)
    down = (v * down + (1 - v) * (1 - down)).prod(2)  # p(v | h)
    p, matrix = torch.softmax(log_p, 0), up @ down
    assert float((p @ matrix - p).abs().max()) < 1e-12
    flow = p[:, None] * matrix
    assert float((flow - flow.T).abs().max()) < 1e-12
    generator, n = torch.Generator().manual_seed(1), 20000
    x = energy.gibbs_step(v[5].expand(n, 4), generator)
    assert chi_square(counts(energy, x), matrix[5] * n) < 5


@pytest.mark.parametrize("sampler", [Gibbs(n_steps=20), GibbsWithGradients(n_steps=200), DiscreteMALA(n_steps=80)])
def test_chains_from_noise_reach_the_moments_of_the_lattice(sampler):
    """4 x 4 Ising at J = .2: <E> / N = -.456135 and <|m|> = .342766, known by enumeration."""
    energy, generator = Ising(size=[4, 4], coupling=0.2), torch.Generator().manual_seed(0)
    start = torch.randint(2, (2000, 4, 4), generator=generator) * 2.0 - 1
    x = sampler.sample(energy, start, generator=generator).x
    assert float(energy(x).mean()) / 0.2 / 16 == pytest.approx(-0.456135, abs=0.03)  # three standard errors
    assert float(x.flatten(1).mean(1).abs().mean()) == pytest.approx(0.342766, abs=0.022)


def test_first_order_changes_are_exact_where_the_energy_is_linear():
    class Linear(Energy):
        def __init__(self, shape, support):
            super().__init__(shape, support)
            self.register_buffer("w", torch.randn(shape, generator=torch.Generator().manual_seed(0)).double())

        def forward(self, x):
            return (x * self.w).flatten(1).sum(1)

    for shape, kind in (((4,), "binary"), ((4,), "spins"), ((2, 3), "one_hot")):
        energy = Linear(shape, Support(kind))
        chain = GibbsWithGradients(n_steps=1)
        sites, (states, _) = Sites(shape, energy.support), enumerated(energy)
        value, grad = energy.value_and_grad(states)
        change = sites.first_order(states, grad)
        _, values = Gibbs().evaluate_alternatives(
            energy, sites, states, value, torch.zeros(len(states), dtype=torch.long)
        )
        assert torch.allclose(change[:, 0], values - value[:, None], atol=1e-12)
        assert chain.log_rates(sites, states, grad, 0, 1).isinf().sum() == len(states) * sites.n


def test_bad_input_is_refused_in_one_line():
    spins = Ising(size=[4])
    with pytest.raises(ValueError, match="Langevin samples real or box inputs.*spins"):
        Langevin(n_steps=2).sample(spins, torch.ones(2, 4))
    with pytest.raises(ValueError, match="Gibbs samples binary or spins or one_hot inputs.*real"):
        Gibbs().sample(lambda x: x.sum(1), torch.ones(2, 4))
    with pytest.raises(ValueError, match="must start at spins inputs"):
        Gibbs().sample(spins, torch.zeros(2, 4))
    with pytest.raises(ValueError, match="gibbs_step; Potts has none"):
        Gibbs(scan="block").sample(Potts(), Potts().double().couplings[:2, :9].reshape(2, 3, 3))
    with pytest.raises(ValueError, match="temperature 1 only"):
        Gibbs(scan="block", temperature=2.0)
    with pytest.raises(ValueError, match="even sides"):
        Ising(size=[3]).gibbs_step(torch.ones(1, 3))
    with pytest.raises(ValueError, match="too many to enumerate"):
        exact_log_z(Ising(size=[6, 6]))
