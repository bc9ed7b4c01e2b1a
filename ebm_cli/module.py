"""The Lightning module: an energy network, a sampler and a replay buffer, and THE training step."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from contextlib import contextmanager
from datetime import timedelta

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from pytorch_lightning.plugins.precision import Precision

from ebm_cli.callbacks import drop_idle_hooks
from ebm_cli.chains import Chains, needs_labels, rank_seed
from ebm_cli.config import build
from ebm_cli.models import Base, Energy, Support, Tilted
from ebm_cli.models.view import SamplingView
from ebm_cli.samplers import DivergenceError

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
        self.chains: Chains | None = None
        self.latest: dict[str, torch.Tensor] = {}  # metrics of the last update, on the device
        self.pending: dict[str, list] = {}
        self.share = 0.0

    def training_step(self, batch, batch_idx):
        """The loss of one batch; negatives come from the chains."""
        loss, metrics = self.objective(self.energy, batch, self.chains)
        self.keep({"loss": loss.detach()} | metrics)
        return self.with_all_weights(loss) if self.objective.double_backward else loss

    def with_all_weights(self, loss: torch.Tensor) -> torch.Tensor:
        """``loss`` with every weight in its graph: gradients of energies leave out biases, which DDP refuses."""
        return loss + 0.0 * sum(p.sum() for p in self.parameters() if p.requires_grad)

    # Before training ------------------------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        """Fits base and network to examples, and gives this rank its own chains and its own noise."""
        if stage != "fit" or self.chains is not None:
            return
        data, device = self.trainer.datamodule, self.trainer.strategy.root_device
        examples = data.examples(10000)
        refuse_hidden(examples.y, self.energy)
        self.base.fit_labelled(*examples)
        network_of(self.energy).fit(examples.x)
        self.objective.fit(self.base)
        self.chains = Chains(
            build(self.config["sampler"], "sampler"),
            build(self.config["buffer"], "buffer"),
            self.base,
            data.draw,
            n_classes=self.facts["n_classes"],
            device=device,
            seed=self.config["seed"],
            rank=self.global_rank,
            view=SamplingView(self.config["view"]),
        )
        self.start_noise(0)
        drop_idle_hooks([self], pl.LightningModule)
        if self.config["compile"]:
            self.compile_network()

    def start_noise(self, step: int) -> None:
        """Seeds this rank's generators for what comes after update ``step``."""
        seed = rank_seed(self.config["seed"] + step, self.global_rank)
        torch.manual_seed(seed)
        self.chains.generator.manual_seed(seed)

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
            found = self.objective.validation(self.energy, batch, self.chains)
        if found is None:
            return None
        name, value = found
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
        tied = getattr(self.chains.sampler, "noise_std", 0.0) is None
        value = self.chains.sampler.temperature
        return float(value) if tied and isinstance(value, (int, float)) else 0.0

    def learning_rate(self) -> float:
        return self.optimizers().param_groups[0]["lr"]

    # Exact resume ---------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        """Adds what every rank alone knows: its chains, its objective's walkers and its random states."""
        checkpoint["ranks"] = gather(
            {"chains": self.chains.state(), "objective": self.objective.rank_state(), "random": random_state()}
        )
        checkpoint["share"] = self.share

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        """Gives this rank its own state back."""
        if self.chains is None:
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
        self.chains.load_state(mine["chains"])
        self.objective.load_rank_state(mine["objective"])
        self.share = checkpoint["share"]


class Budget(pl.Callback):
    """Stops after a budget of time, at the end of an epoch so that resuming is exact; counts over resumes.

    Args:
        key: which word of the config asks for it.
        duration: ``DD:HH:MM:SS``.
        clock: seconds of what: ``time.monotonic``, or ``time.process_time`` for the processor time of this process.

    Raises:
        ValueError: for a duration of another form.
    """

    def __init__(self, key: str, duration: str, clock: Callable[[], float]):
        parts = str(duration).split(":")
        if len(parts) != 4 or not all(part.isdigit() for part in parts):
            raise ValueError(f"{key}={duration}: not a duration; write DD:HH:MM:SS, such as 00:00:01:00 for a minute")
        days, hours, minutes, seconds = (int(part) for part in parts)
        self.seconds = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds).total_seconds()
        self.clock, self.before, self.since = clock, 0.0, None

    @property
    def state_key(self) -> str:
        return f"Budget({self.clock.__name__})"

    def share(self) -> float:
        """Share of the budget that is spent."""
        return self.elapsed() / self.seconds

    def elapsed(self) -> float:
        """Seconds of training so far."""
        return self.before + (0.0 if self.since is None else self.clock() - self.since)

    def on_fit_start(self, trainer, module) -> None:
        self.stop_if_spent(trainer)  # a resumed run may have nothing left

    def on_train_start(self, trainer, module) -> None:
        self.since = self.clock()

    def on_train_epoch_end(self, trainer, module) -> None:
        self.stop_if_spent(trainer)

    def stop_if_spent(self, trainer) -> None:
        """All ranks stop when rank 0's budget is spent."""
        trainer.should_stop = trainer.should_stop or trainer.strategy.broadcast(self.share() >= 1)

    def state_dict(self) -> dict:
        return {"elapsed": self.elapsed()}

    def load_state_dict(self, state_dict: dict) -> None:
        self.before = state_dict["elapsed"]


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


def build_energy(config: dict, facts: dict, joint: bool) -> tuple[Base, Energy]:
    """The base and the energy of a run, fresh: ``network`` or ``network + base`` as the config says."""
    supplied = {"shape": tuple(facts["shape"]), "support": Support(**facts["support"])}
    network = build(config["model"], "model", **supplied, n_classes=facts["n_classes"], joint=joint)
    base = build(config["base"], "base", **supplied, n_classes=facts["n_classes"])
    return base, Tilted(network, base) if config["tilted"] else network


def network_of(energy: Energy) -> Energy:
    """The learned part of an energy."""
    return energy.network if isinstance(energy, Tilted) else energy


def refuse_hidden(y: torch.Tensor | None, energy: Energy) -> None:
    """Raises ValueError for labels of -1 (hidden) where the energy takes a label with every input."""
    if y is not None and needs_labels(energy) and bool((y < 0).any()):
        raise ValueError("dataset: some labels are hidden (-1), and this model takes one with every input; use jem")


def facts_of(data) -> dict:
    """What a network must know of its data, as plain values."""
    return {"shape": list(data.shape), "support": data.support.as_dict(), "n_classes": data.n_classes}


def listed(value):
    """Tuples as lists, as configs have them."""
    return list(value) if isinstance(value, tuple) else value


def gather(mine):
    """The objects of all ranks, in order."""
    if not (dist.is_available() and dist.is_initialized()):
        return [mine]
    everyone = [None] * dist.get_world_size()
    dist.all_gather_object(everyone, mine)
    return everyone


def share_out(ranks: list[dict], rank: int, world: int) -> dict:
    """What one of ``world`` processes takes over of the states of another number of them; noise is not among it."""
    chains = {**ranks[0]["chains"], "cursor": 0, "generator": None}
    if chains["entries"] is not None:
        chains["entries"] = share([r["chains"]["entries"] for r in ranks], rank, world)
    return {"chains": chains, "objective": share([r["objective"] for r in ranks], rank, world)}


def share(states: list[dict], rank: int, world: int) -> dict:
    """Tensors of all states joined along their first axis and cut into ``world`` parts; plain values as the first."""
    joined = {}
    for key, value in states[0].items():
        rows = isinstance(value, torch.Tensor) and value.ndim
        joined[key] = torch.cat([s[key] for s in states]).tensor_split(world)[rank].clone() if rows else value
    return joined


def random_state() -> dict:
    """States of torch's global generators of this process, as tensors."""
    return {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []}


def load_random_state(state: dict) -> None:
    torch.set_rng_state(state["cpu"].cpu())
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all([s.cpu() for s in state["cuda"]])


__all__ = ["Budget", "DivergenceError", "EnergyModule", "build_energy", "facts_of"]
