"""A mixture of probabilistic PCAs: a normalized energy in closed form, at any noise level, fitted in seconds."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ebm_cli.energies.bases import Base
from ebm_cli.energies.energy import REAL, Support


class MixturePPCA(Base):
    """``p(x) = sum_k w_k N(x; m_k, U_k diag(l_k) U_k^T + v_k (1 - U_k U_k^T))`` (Tipping & Bishop 1999).

    Each component is a Gaussian with ``rank`` principal axes ``U_k`` of variances ``l_k`` and one variance ``v_k`` for
    all other directions. Noise of deviation t adds ``t^2`` to every variance, so that ``E(x, t) = -log p_t(x)`` and its
    gradient are exact at any level. Components start as clusters of k-means; each of ``passes`` gives every example to
    the component that finds it likeliest and fits the components anew.

    Args:
        shape: of one input.
        n_components: how many; at most as many are kept as have two examples or more.
        rank: principal axes of each, at most a third of its examples.
        passes: of assignment and fit after k-means.
        floor: least standard deviation along any direction, as a share of the data's root mean square one.
        n_classes: of labels; ``sample_labeled`` then draws from the components that a class lies in.

    Example:
        >>> base = MixturePPCA((3,), n_components=2, rank=1)
        >>> base.fit(torch.randn(60, 3, generator=torch.Generator().manual_seed(0)))
        >>> base(torch.zeros(4, 3), torch.full((4,), 0.5)).shape
        torch.Size([4])
    """

    takes_levels = True

    def __init__(
        self,
        shape,
        *,
        support: Support = REAL,
        n_components: int = 100,
        rank: int = 50,
        passes: int = 1,
        floor: float = 0.01,
        n_classes: int | None = None,
    ):
        super().__init__(shape, support)
        d = math.prod(self.shape)
        self.rank, self.passes, self.floor = min(rank, d), passes, float(floor)
        self.register_buffer("log_weight", torch.full((n_components,), -math.log(n_components)))
        self.register_buffer("mean", torch.zeros(n_components, d))
        self.register_buffer("axes", torch.eye(d)[:, : self.rank].repeat(n_components, 1, 1))
        self.register_buffer("variance", torch.ones(n_components, self.rank))  # along the axes
        self.register_buffer("rest", torch.ones(n_components))  # along all other directions
        self.register_buffer("class_share", torch.ones(n_components, n_classes or 1))  # p(component | class)

    # Fitting -------------------------------------------------------------------------------------------------------

    def fit(self, x: Tensor) -> None:
        self.fit_labeled(x, None)

    def fit_labeled(self, x: Tensor, y: Tensor | None) -> None:
        """Fits all components to examples ``(N, *shape)``; labels say which components a class lies in.

        Raises:
            ValueError: for fewer examples than two per component.
        """
        from sklearn.cluster import MiniBatchKMeans

        x, k = x.flatten(1), len(self.log_weight)
        if len(x) < 2 * k:
            raise ValueError(f"base.n_components={k}: there are {len(x)} examples, and each component needs two")
        means = MiniBatchKMeans(k, random_state=0, n_init=1, batch_size=4096, max_iter=20)
        index = torch.from_numpy(means.fit_predict(x.cpu().numpy())).long().to(x.device)
        least = self.floor**2 * float(x.var(0).mean())
        for again in range(self.passes + 1):
            if again:
                with torch.no_grad():
                    index = torch.cat([self.log_joint(part, None)[0].argmax(1) for part in x.split(1000)])
            self.fit_components(x, index, least)
        if y is not None:
            counts = torch.zeros_like(self.class_share)
            known = y >= 0
            counts.index_put_((index[known], y.to(x.device)[known]), counts.new_ones(int(known.sum())), accumulate=True)
            self.class_share.copy_(counts / counts.sum(0).clamp_min(1))

    def fit_components(self, x: Tensor, index: Tensor, least: float) -> None:
        """Moments of each component's examples; one without two of them keeps its place and gets no weight."""
        counts = torch.bincount(index, minlength=len(self.log_weight))
        self.log_weight.copy_((counts.clamp_min(1e-30) / len(x)).log().masked_fill(counts < 2, -math.inf))
        self.log_weight.sub_(self.log_weight.logsumexp(0))
        d = x.shape[1]
        for component in (counts >= 2).nonzero().flatten().tolist():
            own = x[index == component].double()
            rank = max(0, min(self.rank, len(own) // 3, d - 1))
            centered = own - own.mean(0)
            total = centered.square().sum() / (len(own) - 1)
            _, singular, axes = torch.linalg.svd(centered, full_matrices=False)
            variance = singular[:rank].square() / (len(own) - 1)
            rest = ((total - variance.sum()) / max(1, d - rank)).clamp_min(least)
            self.mean[component] = own.mean(0)
            self.rest[component] = rest
            self.variance[component] = rest
            self.variance[component, :rank] = variance.clamp_min(float(rest))
            self.axes[component] = 0.0
            self.axes[component, :, :rank] = axes[:rank].T

    # Energy --------------------------------------------------------------------------------------------------------

    def forward(self, x: Tensor, t: Tensor | None = None) -> Tensor:
        return -self.log_joint(x.flatten(1), t)[0].logsumexp(1)

    def log_joint(self, x: Tensor, t: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """``log w_k N_k(x)`` ``(B, K)``, coordinates along the axes ``(B, K, q)``, and the two kinds of variance."""
        noise = x.new_zeros(len(x), 1) if t is None else t.view(-1, 1).square()
        rest = self.rest + noise  # (B, K)
        variance = self.variance + noise[..., None]  # (B, K, q)
        apart = x[:, None] - self.mean  # (B, K, d)
        along = torch.einsum("bkd,kdq->bkq", apart, self.axes)
        used = self.axes.square().sum(1)  # 1 for an axis, 0 for an empty place
        squared = (apart.square().sum(2) - along.square().sum(2)) / rest + (along.square() / variance).sum(2)
        free = x.shape[1] - used.sum(1)
        log_norm = free * rest.log() + (used * variance.log()).sum(2) + x.shape[1] * math.log(2 * math.pi)
        return self.log_weight - 0.5 * (squared + log_norm), along, variance, rest

    def value_and_grad(self, x: Tensor, t: Tensor | None = None) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            flat = x.flatten(1)
            joint, along, variance, rest = self.log_joint(flat, t)
            share = joint.softmax(1)
            slope = (share / rest)[:, :, None] * (flat[:, None] - self.mean)
            inner = share[:, :, None] * along * (1 / variance - 1 / rest[:, :, None])
            grad = slope.sum(1) + torch.einsum("bkq,kdq->bd", inner, self.axes)
            return -joint.logsumexp(1), grad.view_as(x)

    # Draws ---------------------------------------------------------------------------------------------------------

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        weight = self.log_weight.exp()
        return self.draw(torch.multinomial(weight, n, replacement=True, generator=generator), generator)

    def sample_labeled(self, y: Tensor, generator: torch.Generator | None = None) -> Tensor:
        if self.class_share.shape[1] == 1:
            return self.sample(len(y), generator)
        index = torch.multinomial(self.class_share.T[y] + 1e-12, 1, generator=generator)[:, 0]
        return self.draw(index, generator)

    def draw(self, index: Tensor, generator: torch.Generator | None) -> Tensor:
        """One exact draw of each component of ``index`` ``(n,)``."""
        like = {"device": self.mean.device, "dtype": self.mean.dtype}
        noise = torch.randn(len(index), *self.mean.shape[1:], generator=generator, **like)
        axes, rest = self.axes[index], self.rest[index, None]
        along = torch.einsum("nd,ndq->nq", noise, axes)
        wider = (self.variance[index].sqrt() - rest.sqrt()) * along
        flat = self.mean[index] + rest.sqrt() * noise + torch.einsum("nq,ndq->nd", wider, axes)
        return flat.view(len(index), *self.shape)
