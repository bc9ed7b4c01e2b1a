"""The Lightning module: an energy network, a sampler and a replay buffer, and THE training step."""

from __future__ import annotations

import pytorch_lightning as pl
import torch
from torch import Tensor

from ebm_cli.buffers.negatives import Negatives
from ebm_cli.config import build
from ebm_cli.energies import Energy
from ebm_cli.energies.energy import needs_labels
from ebm_cli.models.assemble import build_energy, network_of
from ebm_cli.overrides.frozen import FrozenCopies
from ebm_cli.training import optim, resume
from ebm_cli.training.schedule import progress_of
from ebm_cli.utils.distributed import rank_seed


class EnergyModule(pl.LightningModule):
    """Wraps energy, sampler, negatives and objective for training.

    ``training_step`` is ``training/reference.py`` inside Lightning: a test holds both to the same bits.

    Args:
        config: the run's resolved config as plain dicts (the keys of conf/train.yaml).
        facts: what the data say of themselves: ``shape``, ``support`` and ``n_classes``, as ``facts_of`` gives them.
    """

    def __init__(self, config: dict, facts: dict):
        super().__init__()
        self.save_hyperparameters({"config": config, "facts": facts})
        self.config, self.facts = config, facts
        self.objective = build(config["objective"], "objective")
        self.schedule = build(config["schedule"], "schedule")
        self.base, self.energy = build_energy(config, facts, self.objective.joint)
        self.negatives: Negatives | None = None  # per process, made in setup: no part of the weights
        self.recent: list[dict[str, Tensor]] = []  # metrics of the updates since the last row, on the device
        self.time_share = 0.0  # of the budget of time, alike on all ranks

    def training_step(self, batch, batch_idx):
        """The loss of one batch; negatives come from the chains."""
        self.objective.progress = self.progress
        loss, metrics = self.objective(self.energy, batch, self.negatives)
        self.recent.append({"loss": loss.detach()} | metrics)
        return self.with_all_weights(loss) if self.objective.double_backward else loss

    def with_all_weights(self, loss: Tensor) -> Tensor:
        """``loss`` with every weight in its graph: gradients of energies leave out biases, which DDP refuses."""
        return loss + 0.0 * sum(p.sum() for p in self.parameters() if p.requires_grad)

    def validation_step(self, batch, batch_idx) -> None:
        """Logs ``validation/<metric>``, of which a better model has less; the objective says which it is.

        Random numbers are the same at every validation, and training's go on as if there had been none.
        """
        with torch.random.fork_rng():
            torch.manual_seed(self.config["seed"])
            value = self.objective.validate(self.energy, batch, self.negatives)
        if value is not None:
            name = f"validation/{self.objective.validation_metric}"
            self.log(name, value.detach().float(), sync_dist=True, batch_size=len(batch.x))

    # Before training -----------------------------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        """Fits base and network to examples, and gives this rank its own chains and its own noise."""
        if stage != "fit" or self.negatives is not None:
            return
        data, device = self.trainer.datamodule, self.trainer.strategy.root_device
        examples = data.examples(10000)
        refuse_hidden_labels(examples.y, self.energy)
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
        self.seed_noise(0)
        if self.config["compile"]:
            self.compile_network()

    def seed_noise(self, step: int) -> None:
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
        optimizer = optim.build_optimizer(self.config["optimizer"], self.parameters(), self.trainer.precision_plugin)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, self.rate_at)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def rate_at(self, step: int) -> float:
        """Factor of the learning rate at an update."""
        return self.schedule.factor_at(step, progress_of(self.trainer, step, self.time_share))

    @property
    def progress(self) -> float:
        """Share of the run that is over, in [0, 1]."""
        return progress_of(self.trainer, self.global_step, self.time_share)

    def on_train_start(self) -> None:
        """A resumed run whose config has changed trains on with the new learning rate, betas and so on."""
        optim.follow_config(
            self.optimizers().optimizer, self.lr_schedulers(), self.config["optimizer"], self.rate_at(self.global_step)
        )

    def on_train_epoch_start(self) -> None:
        """All ranks agree once an epoch on how much of the budget of time is over."""
        self.time_share = optim.agree_on_time(self.trainer, self.time_share)

    # Logging -------------------------------------------------------------------------------------------------------

    def on_before_optimizer_step(self, optimizer) -> None:
        """The norm of the parameters' gradient, before it is clipped, at the updates that are logged."""
        if self.is_logged(self.global_step + 1) or self.trainer.is_last_batch:
            gradients = [p.grad for p in self.parameters() if p.grad is not None]
            self.recent[-1]["grad_norm"] = torch.nn.utils.get_total_norm(gradients)

    def on_train_batch_end(self, outputs, batch, batch_idx) -> None:
        if self.is_logged(self.global_step):
            self.log_means()

    def on_train_epoch_end(self) -> None:
        """What an epoch leaves over goes to the loggers at once: a run that resumes here would not log it again.

        Lightning itself hands it over only after the checkpoint is written.
        """
        if self.recent:
            row = self.log_means(logger=False)
            for logger in self.loggers:
                logger.log_metrics(row | {"epoch": self.current_epoch}, step=self.global_step - 1)

    def is_logged(self, update: int) -> bool:
        every = self.trainer.log_every_n_steps
        return bool(every) and update % every == 0

    def log_means(self, logger: bool = True) -> dict[str, float]:
        """Logs the means over updates and ranks, and returns them: one reduction, one transfer from the device."""
        names = dict.fromkeys(name for metrics in self.recent for name in metrics)
        columns = {name: [m[name] for m in self.recent if name in m] for name in names}
        means = torch.stack([torch.stack(values).float().mean() for values in columns.values()])
        means = self.trainer.strategy.reduce(means, reduce_op="mean").tolist()
        self.recent = []
        row = dict(zip(names, means, strict=True)) | {"lr": self.optimizers().param_groups[0]["lr"]}
        self.log_dict({name: value for name, value in row.items() if name != "energy/gap"}, logger=logger)
        if "energy/gap" in row:
            self.log("energy/gap", row["energy/gap"], prog_bar=True, logger=logger)
        return row

    # Exact resume --------------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        """Adds what every rank alone knows."""
        resume.save_ranks(self, checkpoint)

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        """Gives this rank its own state back."""
        if self.negatives is not None:
            resume.load_rank(self, checkpoint)


def refuse_hidden_labels(y: Tensor | None, energy: Energy) -> None:
    """Raises ValueError for labels of -1 (hidden) where the energy takes a label with every input."""
    if y is not None and needs_labels(energy) and bool((y < 0).any()):
        raise ValueError("dataset: some labels are hidden (-1), and this model takes one with every input; use jem")
