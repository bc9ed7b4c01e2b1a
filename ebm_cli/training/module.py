"""The Lightning module: an energy network, a sampler and a replay buffer, and THE training step."""

from __future__ import annotations

import math
import sys
from contextlib import contextmanager

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.precision import Precision

from ebm_cli.buffers.negatives import Negatives
from ebm_cli.config import build
from ebm_cli.energies import Energy
from ebm_cli.energies.energy import needs_labels
from ebm_cli.models.assemble import build_energy, network_of
from ebm_cli.overrides.frozen import FrozenCopies
from ebm_cli.training.callbacks.budget import Budget
from ebm_cli.training.resume import load_random_state, random_state, share_out
from ebm_cli.utils.distributed import everyone, rank_seed

N_VALIDATION = 500  # validation examples behind the choice of best.ckpt


class EnergyModule(pl.LightningModule):
    """Wraps energy, sampler, chains and objective for training.

    Args:
        config: the run's resolved config as plain dicts (the keys of conf/train.yaml).
        facts: what the data said of themselves: ``shape``, ``support`` and ``n_classes``, as ``facts_of`` gives them.
    """

    def __init__(self, config: dict, facts: dict):
        super().__init__()
        self.save_hyperparameters({"config": config, "facts": facts})
        self.config, self.facts = config, facts
        self.objective = build(config["objective"], "objective")
        self.base, self.energy = build_energy(config, facts, self.objective.joint)
        self.negatives: Negatives | None = None
        self.latest: dict[str, torch.Tensor] = {}  # metrics of the last update, on the device
        self.pending: dict[str, list] = {}
        self.share = 0.0

    def training_step(self, batch, batch_idx):
        """The loss of one batch; negatives come from the chains."""
        loss, metrics = self.objective(self.energy, batch, self.negatives)
        self.keep({"loss": loss.detach()} | metrics)
        return self.with_all_weights(loss) if self.objective.double_backward else loss

    def with_all_weights(self, loss: torch.Tensor) -> torch.Tensor:
        """``loss`` with every weight in its graph: gradients of energies leave out biases, which DDP refuses."""
        return loss + 0.0 * sum(p.sum() for p in self.parameters() if p.requires_grad)

    # Before training ------------------------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        """Fits base and network to examples, and gives this rank its own chains and its own noise."""
        if stage != "fit" or self.negatives is not None:
            return
        data, device = self.trainer.datamodule, self.trainer.strategy.root_device
        examples = data.examples(10000)
        refuse_hidden(examples.y, self.energy)
        self.base.fit_labeled(*examples)
        network_of(self.energy).fit(examples.x)
        self.objective.fit(self.base)
        self.negatives = Negatives(
            build(self.config["sampler"], "sampler"),
            build(self.config["buffer"], "buffer"),
            self.base,
            data.draw,
            n_classes=self.facts["n_classes"],
            device=device,
            seed=self.config["seed"],
            rank=self.global_rank,
            frozen=FrozenCopies(self.config["frozen_copy"]),
        )
        self.start_noise(0)
        if self.config["compile"]:
            self.compile_network()

    def start_noise(self, step: int) -> None:
        """Seeds this rank's generators for what comes after update ``step``."""
        seed = rank_seed(self.config["seed"] + step, self.global_rank)
        torch.manual_seed(seed)
        self.negatives.generator.manual_seed(seed)

    def compile_network(self) -> None:
        """Compiles the network in place, which keeps the names of its weights."""
        if self.objective.double_backward:
            name = type(self.objective).__name__
            raise ValueError(f"compile=true: torch.compile cannot differentiate gradients, which {name} does")
        network_of(self.energy).compile()

    def configure_optimizers(self):
        """The optimizer, and a learning rate that warms up, holds and decays."""
        optimizer = build(self.config["optimizer"], "optimizer", params=list(self.parameters()))
        fuse(optimizer, self.trainer.precision_plugin)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self.rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def optimizer_zero_grad(self, epoch, batch_idx, optimizer) -> None:
        """What ``optimizer.zero_grad()`` does, without its bookkeeping: of a toy's update that was 5 %."""
        for group in optimizer.param_groups:
            for weight in group["params"]:
                weight.grad = None

    def configure_gradient_clipping(self, optimizer, gradient_clip_val=None, gradient_clip_algorithm=None) -> None:
        """What Lightning does, in single precision the norm's way without five calls in between.

        Other precisions keep its way: it refuses to clip gradients that a fused optimizer has yet to unscale.
        """
        single = type(self.trainer.precision_plugin) is Precision
        if single and gradient_clip_val and gradient_clip_algorithm in (None, "norm"):
            weights = [weight for group in optimizer.param_groups for weight in group["params"]]
            torch.nn.utils.clip_grad_norm_(weights, gradient_clip_val)
        else:
            super().configure_gradient_clipping(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def on_train_start(self) -> None:
        """A resumed run whose config has changed trains on with the new learning rate, betas and so on."""
        optimizer, schedule = self.optimizers().optimizer, self.lr_schedulers()
        wanted = {k: v for k, v in self.config["optimizer"].items() if k != "_target_"}
        for group in optimizer.param_groups:
            changed = {k: v for k, v in wanted.items() if k in group and listed(group[k]) != listed(v) and k != "lr"}
            group.update(changed)
            if group["initial_lr"] != wanted["lr"]:
                group.update(initial_lr=wanted["lr"], lr=wanted["lr"] * self.rate(self.global_step))
        schedule.base_lrs = [wanted["lr"]] * len(optimizer.param_groups)

    def rate(self, step: int) -> float:
        """Factor of the learning rate at an update: linear warm-up, a plateau, then down to ``final``; milestones."""
        schedule, share = self.config["schedule"], self.progress(step)
        warm = min(1.0, (step + 1) / (schedule["warmup_steps"] + 1))
        beyond = max(0.0, share - schedule["hold"]) / max(1e-9, 1 - schedule["hold"])
        passed = sum(share >= milestone for milestone in schedule["milestones"])
        return warm * decay(schedule["shape"], schedule["final"], beyond) * schedule["factor"] ** passed

    def progress(self, step: int) -> float:
        """Share of the run that is over, in [0, 1], by whichever bound on steps, epochs or time is nearest."""
        trainer = self.trainer
        bounds = [trainer.max_steps] if trainer.max_steps > 0 else []
        # trainer.estimated_stepping_batches would load the data before a resumed run knows its epoch
        if (trainer.max_epochs or 0) > 0 and 0 < trainer.num_training_batches < math.inf:
            bounds.append(trainer.max_epochs * trainer.num_training_batches / trainer.accumulate_grad_batches)
        by_steps = step / min(bounds) if bounds else 0.0
        return min(1.0, max(by_steps, self.share))

    def on_train_batch_start(self, batch, batch_idx) -> None:
        """Objectives of several phases know how far the run is."""
        self.objective.progress = self.progress(self.global_step)

    def on_train_epoch_start(self) -> None:
        """Where the run is bounded by time, all ranks agree once an epoch on how much of it is over."""
        spent = [hook.share() for hook in self.trainer.callbacks if isinstance(hook, Budget)]
        if spent:
            self.share = float(self.trainer.strategy.broadcast(max(spent)))

    # Validation -----------------------------------------------------------------------------------------------

    def validate(self) -> float | None:
        """What ``best.ckpt`` has least of, on the validation split if there is one; the mean over ranks."""
        batch = self.trainer.datamodule.split("validation", N_VALIDATION)
        if not len(batch.x):
            return None
        batch = type(batch)(*(None if v is None else v.to(self.device) for v in batch))
        with torch.random.fork_rng(), self.evaluating():
            torch.manual_seed(self.config["seed"])
            value = self.objective.validate(self.energy, batch, self.negatives)
        if value is None:
            return None
        name = self.objective.validation_metric
        value = float(self.trainer.strategy.reduce(value.detach().float(), reduce_op="mean"))
        for logger in self.trainer.loggers:
            logger.log_metrics({f"validation/{name}": value}, step=self.global_step - 1)
        return value

    @contextmanager
    def evaluating(self):
        """The energy in evaluation mode, and back in training mode after."""
        self.energy.eval()
        try:
            yield
        finally:
            self.energy.train()

    # Logging --------------------------------------------------------------------------------------------------

    def __setattr__(self, name: str, value) -> None:
        """Lightning notes here which hook it is in, fifty times an update: without a module's search for parameters."""
        if name == "_current_fx_name":
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def keep(self, metrics: dict[str, torch.Tensor]) -> None:
        """Collects the device scalars of an update."""
        self.latest = metrics
        for name, value in metrics.items():
            self.pending.setdefault(name, []).append(value)

    def on_before_optimizer_step(self, optimizer) -> None:
        """The norm of the parameters' gradient, before it is clipped, at the updates that are logged."""
        if self.is_logged(self.global_step + 1):
            gradients = [p.grad for p in self.parameters() if p.grad is not None]
            self.pending["grad_norm"] = [torch.nn.utils.get_total_norm(gradients)]

    def on_train_batch_end(self, outputs, batch, batch_idx) -> None:
        """Every ``trainer.log_every_n_steps`` updates, and at epoch ends, what was collected is logged."""
        if self.is_logged(self.global_step):
            self.write_means()

    def is_logged(self, update: int) -> bool:
        return update % self.trainer.log_every_n_steps == 0 or self.trainer.is_last_batch

    def write_means(self) -> None:
        """Logs the means over updates and ranks: one reduction, one transfer from the device."""
        names = list(self.pending)
        means = torch.stack([torch.stack(values).float().mean() for values in self.pending.values()])
        means = self.trainer.strategy.reduce(means, reduce_op="mean").tolist()
        self.pending = {}
        row = dict(zip(names, means, strict=True)) | {"epoch": self.current_epoch, "lr": self.learning_rate()}
        for logger in self.trainer.loggers:
            logger.log_metrics(row, step=self.global_step - 1)
        if "energy/gap" in row:
            self.log("energy/gap", row["energy/gap"], prog_bar=True, logger=False)

    def temperature(self) -> float:
        """Temperature in which the energies of this run are measured: that of tied noise, else 0 for none."""
        tied = getattr(self.negatives.sampler, "noise_std", 0.0) is None
        value = self.negatives.sampler.temperature
        return float(value) if tied and isinstance(value, (int, float)) else 0.0

    def learning_rate(self) -> float:
        return self.optimizers().param_groups[0]["lr"]

    # Exact resume ---------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        """Adds what every rank alone knows: its chains and its random states."""
        checkpoint["ranks"] = everyone({"negatives": self.negatives.state(), "random": random_state()})
        checkpoint["share"] = self.share

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        """Gives this rank its own state back."""
        if self.negatives is None:
            return
        ranks, world = checkpoint["ranks"], self.trainer.world_size
        if len(ranks) == world:
            mine = ranks[self.global_rank]
            load_random_state(mine["random"])
        else:
            mine = share_out(ranks, self.global_rank, world)
            self.start_noise(checkpoint["global_step"])
            if self.global_rank == 0:
                change = f"{len(ranks)} processes before, {world} now"
                sys.stderr.write(f"warning: {change}: chains are shared out anew, with new noise\n")
        self.negatives.load_state(mine["negatives"])
        self.share = checkpoint["share"]


def decay(shape: str, final: float, beyond: float) -> float:
    """From 1 to ``final`` while ``beyond`` goes from 0 to 1.

    Raises:
        ValueError: for another shape than linear, cosine or exponential.
    """
    if shape == "exponential":
        return final**beyond
    if shape not in ("linear", "cosine"):
        raise ValueError(f"schedule.shape must be linear, cosine or exponential, got {shape!r}")
    return final + (1 - final) * (0.5 * (1 + math.cos(math.pi * beyond)) if shape == "cosine" else 1 - beyond)


def fuse(optimizer: torch.optim.Optimizer, precision) -> None:
    """Lets an optimizer of torch that can do so update all weights in one operation.

    Not where gradients are scaled (16-mixed): a fused optimizer unscales them itself, after they were clipped.
    """
    if getattr(precision, "scaler", None) is None and "fused" in optimizer.defaults:
        for group in optimizer.param_groups:
            group.update(fused=True, foreach=False)


def refuse_hidden(y: torch.Tensor | None, energy: Energy) -> None:
    """Raises ValueError for labels of -1 (hidden) where the energy takes a label with every input."""
    if y is not None and needs_labels(energy) and bool((y < 0).any()):
        raise ValueError("dataset: some labels are hidden (-1), and this model takes one with every input; use jem")


def listed(value):
    """Tuples as lists, as configs have them."""
    return list(value) if isinstance(value, tuple) else value
