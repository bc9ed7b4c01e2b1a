"""How well a score tells positives from negatives: AUROC, average precision, FPR95, and their standard errors."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def auroc(positive: Tensor, negative: Tensor) -> float:
    """Area under the ROC curve: ``P(s+ > s-) + P(s+ = s-) / 2`` for scores of a positive and of a negative.

    Example:
        >>> auroc(torch.tensor([2.0, 3.0]), torch.tensor([0.0, 2.0]))
        0.875
    """
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(*labeled(positive, negative)))


def auroc_error(area: float, n_positive: int, n_negative: int) -> float:
    """Standard error of an AUROC (Hanley & McNeil 1982)."""
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    extra = (n_positive - 1) * (q1 - area**2) + (n_negative - 1) * (q2 - area**2)
    return max(0.0, (area * (1 - area) + extra) / (n_positive * n_negative)) ** 0.5


def average_precision(positive: Tensor, negative: Tensor) -> float:
    """Area under the precision-recall curve, as the sum of precision over steps of recall."""
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(*labeled(positive, negative)))


def bootstrap(positive: Tensor, negative: Tensor, draws: int, recall: float = 0.95) -> tuple[float, float]:
    """Standard errors of average precision and FPR95 when both sets are drawn anew, with replacement.

    All draws at once: a draw is a weight per example, and both numbers are sums over the sorted scores.
    """
    # sort once: a threshold moves down the scores, and ties are passed together
    order = torch.cat([positive, negative]).argsort(descending=True, stable=True)
    scores = torch.cat([positive, negative])[order]
    last = torch.cat([scores[1:] != scores[:-1], torch.tensor([True])])  # of a group of ties
    weights = torch.cat([resampled(len(part), draws, seed) for seed, part in enumerate((positive, negative))], 1)[
        :, order
    ]
    # true and false positives above every threshold, (draws, thresholds)
    is_positive = order < len(positive)
    hits = (weights * is_positive).cumsum(1)[:, last]
    false = (weights * ~is_positive).cumsum(1)[:, last]
    steps = torch.diff(hits, dim=1, prepend=torch.zeros(draws, 1)) / len(positive)
    precision = (steps * hits / (hits + false).clamp_min(1)).sum(1)
    reached = (hits >= recall * len(positive)).float().argmax(1, keepdim=True)
    accepted = false.gather(1, reached)[:, 0] / len(negative)
    return float(precision.std()), float(accepted.std())


def resampled(n: int, draws: int, seed: int) -> Tensor:
    """How often each of ``n`` examples is drawn, ``(draws, n)``."""
    chosen = torch.randint(n, (draws, n), generator=torch.Generator().manual_seed(seed))
    return torch.zeros(draws, n).scatter_add_(1, chosen, torch.ones(draws, n))


def fpr(positive: Tensor, negative: Tensor, recall: float = 0.95) -> float:
    """Share of negatives that score at least as high as the threshold which ``recall`` of the positives reach.

    Example:
        >>> fpr(torch.arange(20.0), torch.tensor([0.0, 0.5, 5.0, 30.0]))
        0.5
    """
    accepted = math.ceil(recall * len(positive))
    threshold = positive.sort(descending=True).values[accepted - 1]
    return float((negative >= threshold).double().mean())


def labeled(positive: Tensor, negative: Tensor):
    """Labels and scores of both sets for scikit-learn."""
    labels = torch.cat([torch.ones(len(positive)), torch.zeros(len(negative))])
    return labels.numpy(), torch.cat([positive, negative]).double().numpy()
