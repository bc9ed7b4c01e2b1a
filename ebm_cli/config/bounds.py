"""What numbers a keyword may have: one bound for each name, since a name means the same everywhere."""

from __future__ import annotations

import math

COUNTS = (  # at least 1
    "accumulate_grad_batches autoattack_n batch_size channels check_val_every_n_epoch chunk_size copies depth dim draws"
    " every_n_epochs frames head_width hidden kernels max_side moments multiples n n_blocks n_chains n_classes"
    " n_components n_frequencies n_heads n_hidden n_layers n_leapfrog n_levels n_moves n_reference n_steps n_test"
    " n_train n_validation n_visible num_nodes num_samples number patch pilot projections repeats sample_steps sites"
    " size splits steps steps_per_epoch strides subset_size subsets swap_every threads times tokens_width width window"
)
NOT_NEGATIVE = (
    "adapt_steps advance bandwidth contrast crop cross_entropy dampening denoising earlier"
    " energy_l2 entropy eps epsilons final first floor flow fourier friction gradient_penalty kl labeled"
    " log_every_n_steps log_std lr momentum nats neighbors noise_std paddings ratio rank slack smoothing test"
    " validation warmup_steps weight_decay weights workers restarts backprop_steps limit_train_batches"
    " limit_val_batches limit_test_batches limit_predict_batches min_steps witnesses"
)
POSITIVE = (
    "cells_per_sd data_std factor fourier_period grad_clip gradient_clip_val growth rho scale sigma sigma_max sigma_min"
    " sigmas std step_size temperature temperatures long_run autoattack"
)
SHARES = (  # from 0 to 1, both included
    "decay dropout ema_decay hold milestones probability resample_below restart_probability share target_acceptance"
    " trim jitter betas"
)
UNBOUNDED = ("max_epochs", "max_steps")  # -1 for no bound
SEEDS = ("seed",)

BOUNDS: dict[str, tuple[float, float, str]] = {
    **dict.fromkeys(COUNTS.split(), (1, math.inf, "at least 1")),
    **dict.fromkeys(NOT_NEGATIVE.split(), (0, math.inf, "at least 0")),
    **dict.fromkeys(POSITIVE.split(), (math.nextafter(0, 1), math.inf, "above 0")),
    **dict.fromkeys(SHARES.split(), (0, 1, "from 0 to 1")),
    **dict.fromkeys(UNBOUNDED, (-1, math.inf, "at least 0, or -1 for no bound")),
    **dict.fromkeys(SEEDS, (0, 2**32 - 1, "a whole number from 0 to 4294967295")),
}


def out_of_bounds(name: str, value) -> str | None:
    """What a number, or each number of a list, must be under a keyword of this name; None if it is.

    Example:
        >>> out_of_bounds("n_steps", 0), out_of_bounds("betas", [0.9, 0.99]), out_of_bounds("lr", float("nan"))
        ('must be at least 1', None, 'must be a finite number')
    """
    if isinstance(value, list | tuple):
        return next((wrong for inner in value if (wrong := out_of_bounds(name, inner))), None)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return "must be a finite number"
    low, high, words = BOUNDS.get(name, (-math.inf, math.inf, ""))
    return None if low <= value <= high else f"must be {words}"
