"""Adam clipped by its own moments."""

from __future__ import annotations

import pytest
import torch

from ebm_cli.training import ClippedAdam
from ebm_cli.training.schedule import Schedule


def test_entries_are_clamped_to_three_roots_of_the_second_moment():
    p = torch.nn.Parameter(torch.zeros(2))
    optimizer = ClippedAdam([p], lr=0.1, betas=(0.0, 0.9), sigmas=3.0, slack=0.1)
    p.grad = torch.tensor([1.0, 2.0])
    optimizer.step()
    assert torch.allclose(p.data, torch.tensor([-0.1, -0.1]))  # the first one is not clamped
    p.grad = torch.tensor([100.0, -1.0])
    optimizer.step()
    # the second moment so far is 1 and 4 once corrected, hence bounds of 3.1 and 6.1
    assert torch.allclose(p.grad, torch.tensor([3.1, -1.0]))
    second = torch.tensor([0.9 * 0.1 * 1 + 0.1 * 3.1**2, 0.9 * 0.1 * 4 + 0.1 * 1]) / (1 - 0.9**2)
    assert torch.allclose(p.data, torch.tensor([-0.1, -0.1]) - 0.1 * torch.tensor([3.1, -1.0]) / second.sqrt())


def test_a_closure_is_evaluated_with_gradients_once():
    p = torch.nn.Parameter(torch.ones(1))
    optimizer, calls = ClippedAdam([p], lr=0.1), []

    def closure():
        calls.append(1)
        optimizer.zero_grad()
        loss = p.square().sum()
        loss.backward()
        return loss

    assert float(optimizer.step(closure)) == 1 and len(calls) == 1 and float(p) == pytest.approx(0.9)


def test_bounds_must_be_positive():
    with pytest.raises(ValueError, match="sigmas and slack"):
        ClippedAdam([torch.nn.Parameter(torch.zeros(1))], sigmas=0, slack=0)


@pytest.mark.parametrize(
    ("shape", "middle"), [("linear", 0.55), ("cosine", 0.55), ("exponential", 0.1**0.5), ("nope", None)]
)
def test_the_rate_falls_to_its_end(shape, middle):
    if middle is None:
        with pytest.raises(ValueError, match="decay must be"):
            Schedule(decay=shape)
        return
    schedule = Schedule(decay=shape, warmup_steps=0, hold=0.0, final=0.1)
    assert [schedule.factor_at(0, share) for share in (0.0, 0.5, 1.0)] == pytest.approx([1.0, middle, 0.1])


def test_milestones_multiply_the_rate():
    schedule = Schedule(warmup_steps=3, hold=1.0, final=1.0, milestones=[0.5, 0.8], factor=0.3)
    rates = [schedule.factor_at(step, step / 10) for step in range(11)]
    assert rates == pytest.approx([0.25, 0.5, 0.75, 1, 1, 0.3, 0.3, 0.3, 0.09, 0.09, 0.09])
