"""Batches that seed and epoch decide."""

import pytest
import pytorch_lightning as pl
import torch
from sets import make

from ebm_cli.datasets import Batch, ShuffledBatches


def epoch_of(n, size, steps, epoch, **options):
    batches = ShuffledBatches(n, size, steps, epoch=epoch, **options)
    return torch.stack(list(batches))


def test_batches_depend_on_seed_and_epoch_alone():
    one = epoch_of(100, 8, 5, 2, seed=1)
    assert one.shape == (5, 8) and torch.equal(one, epoch_of(100, 8, 5, 2, seed=1))
    assert not torch.equal(one, epoch_of(100, 8, 5, 3, seed=1))
    assert not torch.equal(one, epoch_of(100, 8, 5, 2, seed=2))
    moved = ShuffledBatches(100, 8, 5, seed=1)
    moved.set_epoch(2)
    assert torch.equal(one, torch.stack(list(moved)))


def test_counted_epochs_walk_through_successive_shuffles():
    """Five epochs of 5 x 8 are exactly two passes over 100: every example twice, and once in each half."""
    stream = torch.cat([epoch_of(100, 8, 5, epoch).flatten() for epoch in range(5)])
    assert stream[:100].sort().values.tolist() == list(range(100)) == stream[100:].sort().values.tolist()
    assert not torch.equal(stream[:100], stream[100:])


def test_small_sets_fill_large_batches():
    counts = epoch_of(10, 32, 3, 0).flatten().bincount()
    assert counts.sum() == 96 and set(counts.tolist()) == {9, 10}
    assert epoch_of(10, 32, None, 0).shape == (1, 10)


@pytest.mark.parametrize("steps", [None, 6])
def test_ranks_share_an_epoch_without_overlap(steps):
    ranks = [epoch_of(100, 4, steps, 0, rank=rank, world_size=4) for rank in range(4)]
    assert {part.shape for part in ranks} == {(6, 4)}
    assert len(torch.cat(ranks).unique()) == 96


class Watcher(pl.LightningModule):
    """Keeps what Lightning hands to the training step."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.train_batches = []

    def training_step(self, batch, _):
        self.train_batches.append(batch)
        return self.weight * batch.x.mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def watch(data, epochs, folder, resume=None):
    """What a run of so many epochs sees; it leaves a checkpoint at the end of every epoch."""

    class Save(pl.callbacks.Checkpoint):
        def on_train_epoch_end(self, trainer, module):
            trainer.save_checkpoint(folder / "last.ckpt")

    module = Watcher()
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    options = quiet | {"accelerator": "cpu", "use_distributed_sampler": False, "num_sanity_val_steps": 0}
    trainer = pl.Trainer(max_epochs=epochs, callbacks=[Save()], default_root_dir=folder, **options)
    trainer.fit(module, data, ckpt_path=resume, weights_only=True)
    return module


def test_noise_reaches_training_batches_alone(tmp_path):
    torch.manual_seed(0)
    data = make("digits", noise_std=0.3, steps_per_epoch=20)
    module = watch(data, 1, tmp_path)
    seen = torch.cat([batch.x for batch in module.train_batches])
    levels = (seen + 1) * 8
    assert len(module.train_batches) == 20 and seen.shape == (20 * 64, 1, 8, 8)
    background = seen[:, 0, :, 0]  # the first column of the digits is black, nearly always
    assert background.median() == pytest.approx(-1, abs=0.01)
    assert (background + 1).abs().median() == pytest.approx(0.6745 * 0.3, rel=0.04)
    assert (levels - levels.round()).abs().mean() > 0.2
    assert module.train_batches[0].y.dtype == torch.int64
    raw = data.rows("validation")[torch.arange(50)]
    clean = (data.on_after_batch_transfer(raw, 0).x + 1) * 8
    assert not data.trainer.training and torch.equal(clean, raw.x.float())


def test_resumed_run_sees_the_batches_of_one_that_was_not_interrupted(tmp_path):
    def sums(module):
        return [batch.x.double().sum().item() for batch in module.train_batches]

    def toy():
        return make("rings", n_train=1000, batch_size=64, steps_per_epoch=3)

    whole = watch(toy(), 4, tmp_path)
    first = watch(toy(), 2, tmp_path)
    rest = watch(toy(), 4, tmp_path, resume=tmp_path / "last.ckpt")
    assert whole.train_batches[0].y is None
    assert len(sums(whole)) == 12 and sums(whole) == sums(first) + sums(rest)


def test_validation_is_one_clean_batch_in_proportion_and_always_the_same():
    data, other = make("digits", noise_std=0.5, validation=600), make("digits", validation=600)
    other.seed = 99
    (batch,), (again,) = data.val_dataloader(), other.val_dataloader()
    assert isinstance(batch, Batch) and batch.x.shape == (500, 1, 8, 8) and batch.y.shape == (500,)
    assert torch.equal(batch.x, again.x) and ((batch.x + 1) * 8).frac().abs().max() < 1e-5
    (few,) = make("digits").val_dataloader()
    assert len(few.x) == 135 and make("digits", validation=0).val_dataloader() == []
    (points,) = make("rings", n_train=100, n_validation=50).val_dataloader()
    assert points.x.shape == (50, 2) and points.y is None


def test_loading_takes_nothing_from_the_global_generator():
    """Otherwise the noise of training would depend on when an epoch ends."""
    torch.manual_seed(0)
    state = torch.get_rng_state()
    assert len(list(make("digits", steps_per_epoch=3).train_dataloader())) == 3
    assert torch.equal(torch.get_rng_state(), state)
