"""The plain loop of training/reference.py and EnergyModule inside Lightning give the same bits."""

from __future__ import annotations

import pytest
import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ebm_cli.config import build, plain
from ebm_cli.config.options import conf_dir
from ebm_cli.config.schema import SCHEMAS
from ebm_cli.models.assemble import facts_of
from ebm_cli.training.module import EnergyModule
from ebm_cli.training.reference import train
from ebm_cli.training.trainer import make_trainer

UPDATES = 30
SHORT = (
    "trainer.max_epochs=1", f"dataset.steps_per_epoch={UPDATES}", "trainer.accelerator=cpu",
    "trainer.enable_progress_bar=false", "callbacks.throughput=null", "callbacks.last=null", "callbacks.best=null",
)  # fmt: skip
CASES = {
    "pcd": (),
    "tilted": ("dataset=8gaussians", "model.hidden=[32]"),
    "jem": ("experiment=digits_jem",),
    "nce": ("dataset=rings", "objective=nce"),
    "clipped": ("trainer.gradient_clip_val=0.01", "ema_decay=0.9"),
}


def pieces(overrides, directory):
    """A fresh module with its data, seeded as ebm-train does it."""
    for name, node in SCHEMAS.items():
        ConfigStore.instance().store(name=name, node=node)
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = compose("train", [*overrides, "name=reference"])
    pl.seed_everything(cfg.seed, verbose=False)
    data = build(cfg.dataset, "dataset", seed=cfg.seed)
    return cfg, data, EnergyModule(plain(cfg), facts_of(data))


def by_hand(overrides, directory):
    """Weights and their average after the plain loop."""
    cfg, data, module = pieces(overrides, directory)
    trainer = make_trainer(cfg, directory)
    trainer.datamodule = data
    module.trainer = trainer
    module.setup("fit")
    batches = (batch._replace(x=data.augmented(batch.x)) for batch in data.train_dataloader())
    optimizer = build(cfg.optimizer, "optimizer", params=list(module.parameters()))
    for group in optimizer.param_groups:
        group.update(fused=True, foreach=False)
    rate = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: module.schedule.factor_at(step, min(1.0, step / UPDATES))
    )
    average = AveragedModel(module.energy, multi_avg_fn=get_ema_multi_avg_fn(cfg.ema_decay))
    train(
        module.energy, module.objective, module.negatives, batches, optimizer,
        rate=rate, clip=cfg.trainer.gradient_clip_val, average=average,
    )  # fmt: skip
    return module, average.module.state_dict()


def by_lightning(overrides, directory):
    """Weights, as the checkpoint keeps them, and their average after the fit."""
    cfg, data, module = pieces(overrides, directory)
    trainer = make_trainer(cfg, directory)
    trainer.fit(module, data)
    return module, module.energy.state_dict(), trainer


@pytest.mark.parametrize("name", CASES)
def test_the_plain_loop_gives_the_same_bits(tmp_path, name):
    overrides = (*CASES[name], *SHORT)
    plain_module, expected = by_hand(overrides, tmp_path)
    module, averaged, _ = by_lightning(overrides, tmp_path)
    assert all(torch.equal(averaged[key], value) for key, value in expected.items())
    kept, theirs = module.negatives.stored(100), plain_module.negatives.stored(100)
    assert (kept is None) == (theirs is None) and (kept is None or torch.equal(kept.x, theirs.x))


def test_eight_frames_lie_between_the_training_step_and_the_gradient_of_the_energy(tmp_path, monkeypatch):
    """What a reader goes through, from ``training_step`` to a chain's call of ``value_and_grad``."""
    import traceback

    from ebm_cli.overrides.written_out import WrittenOutMLP

    frames, gradient = [], WrittenOutMLP.value_and_grad

    def look(self, x, **given):
        names = [frame.name for frame in traceback.extract_stack() if "ebm_cli" in frame.filename]
        frames.append(names[names.index("training_step") :])
        return gradient(self, x, **given)

    monkeypatch.setattr(WrittenOutMLP, "value_and_grad", look)
    by_lightning(SHORT, tmp_path)
    assert max(map(len, frames)) <= 8, frames[0]
