"""Data: exact toys, splits that never mix, batches that seed and epoch decide, and the file formats."""

import gzip
import importlib.util
import inspect
import math
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
import yaml
from PIL import Image
from torch.nn.functional import pad

from ebm_cli import datasets, energies
from ebm_cli.config import build, option_node, options
from ebm_cli.config.schema import RECIPE
from ebm_cli.datasets import Batch, DataModule, ShuffledBatches, read_idx, resized
from ebm_cli.datasets.augment import shifted
from ebm_cli.datasets.batches import portion
from ebm_cli.datasets.shapes import CONCEPTS

ROOT = Path(__file__).parents[2]
OPTIONS = options("dataset")
TOYS = {
    "8gaussians": 1.698,
    "25gaussians": 2.259,
    "two_moons": 1.948,
    "rings": 2.845,
    "checkerboard": math.log(18),
    "pinwheel": 2.144,
}
PUBLISHED = ("mnist", "fashion_mnist", "kmnist", "stacked_mnist", "cifar10", "cifar100", "svhn", "imagenet32")
NAMES = {"folder": "pictures", "npz": "mine", "imagenet128": "imagenet"}  # where it is not that of the option
EXACT = "donot_use_mm_for_euclid_dist"
DEBIAN = Path("/usr/share/datasets/fashion-mnist")


def small_sets():
    """The module scripts/make_small_datasets.py, which is no part of a package."""
    spec = importlib.util.spec_from_file_location("small", ROOT / "scripts" / "make_small_datasets.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with every published format in small, a folder of images and an .npz file."""
    folder = tmp_path_factory.mktemp("data")
    small_sets().write(folder, n=200)
    rng = np.random.default_rng(0)
    for i in range(40):
        path = folder / "pictures" / ("cats" if i % 4 else "dogs") / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (50, 40, 3), dtype=np.uint8)).save(path)
    np.savez(folder / "mine.npz", samples=rng.normal(size=(100, 5)), energy=np.zeros(100), y=np.arange(100) % 2)
    return folder


def make(name, files=None, **changes):
    """An option of conf/dataset, built as the commands build it; files come from the fixture."""
    if name == "patches":
        pytest.importorskip("skimage")
    node = option_node("dataset", name)
    place = {
        "folder": {"root": "pictures"},
        "imagenet128": {"root": "imagenet/train", "test_root": "imagenet/val"},
        "npz": {"file": "mine.npz"},
    }.get(name)
    if place:
        node |= {key: str(files / value) for key, value in place.items()}
    elif "root" in node:
        node["root"] = str(files)
    return build(node | changes, "dataset", seed=3)


# Options -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_loads_and_says_what_it_holds(name, files):
    data = make(name, files)
    for split in ("train", "validation", "test"):
        x, y = data.split(split, 30)
        assert x.shape == (min(30, len(data.rows(split))), *data.shape) and x.dtype == torch.float32
        assert (y is None) == (data.n_classes is None)
        if y is not None:
            assert y.dtype == torch.int64 and 0 <= y.min() and y.max() < data.n_classes
        if data.value_range:
            assert x.min() >= data.value_range[0] and x.max() <= data.value_range[1]
    continuous = "box" if data.value_range else "real"
    assert data.support.kind == ("binary" if name == "binary_digits" else continuous)
    assert data.name == NAMES.get(name, name)


@pytest.mark.parametrize("name", OPTIONS)
def test_keys_are_the_keywords_in_their_order(name):
    node = option_node("dataset", name)
    for inner in (node, node.get("density")):
        if inner:
            target = getattr(datasets, inner.pop("_target_").removeprefix("ebm_cli.datasets."))
            assert list(inner) == [key for key in inspect.signature(target).parameters if key != "seed"]


@pytest.mark.parametrize("name", options("recipe"))
def test_every_recipe_has_all_keys_and_one_base(name):
    recipe = option_node("recipe", name)
    assert list(recipe) == list(RECIPE)
    target = getattr(energies, recipe["base"].pop("_target_").removeprefix("ebm_cli.energies."))
    assert set(recipe["base"]) <= set(inspect.signature(target).parameters)


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_chooses_a_recipe(name):
    entries = yaml.safe_load((ROOT / "conf" / "dataset" / f"{name}.yaml").read_text())["defaults"]
    chosen = [next(iter(entry.items())) for entry in entries if isinstance(entry, dict)]
    assert [key for key, _ in chosen] == ["override /recipe@_global_.recipe"] and chosen[0][1] in options("recipe")


@pytest.mark.parametrize("name", TOYS)
def test_toy_steps_respect_the_narrowest_width(name):
    recipe = option_node("recipe", "toy" if name == "8gaussians" else name)
    assert recipe["noise_std"] is None and recipe["step_size"] <= 0.2 * make(name).density.sd_min ** 2 * (1 + 1e-9)


# Exact densities ---------------------------------------------------------------------------------------------------


def grid(box, n):
    line = ((torch.arange(n, dtype=torch.float64) + 0.5) / n * 2 - 1) * box
    return torch.cartesian_prod(line, line), (2 * box / n) ** 2


@pytest.mark.parametrize("name", TOYS)
def test_density_integrates_to_one_with_the_known_entropy(name):
    density = make(name).density
    points, cell = grid(density.box, 300)
    assert density.log_prob(points).exp().sum().item() * cell == pytest.approx(1, abs=1e-3)
    assert density.entropy == pytest.approx(TOYS[name], abs=6e-4)


@pytest.mark.parametrize("name", TOYS)
def test_samples_follow_the_density(name):
    """Cell by cell (chi-square), and in the mean log density, which must be minus the entropy."""
    density, n = make(name).density, 40_000
    x = density.sample(n, torch.Generator().manual_seed(5))
    log_p = density.log_prob(x)
    assert -log_p.mean().item() == pytest.approx(density.entropy, abs=4 * log_p.std().item() / n**0.5 + 1e-5)

    points, cell = grid(density.box, 360)  # 12 x 12 bins of 30 x 30 points
    expected = n * cell * density.log_prob(points).exp().view(12, 30, 12, 30).sum((1, 3))
    bins = ((x + density.box) / (2 * density.box) * 12).long().clamp(0, 11)
    seen = torch.zeros(12, 12, dtype=torch.float64).index_put((bins[:, 0], bins[:, 1]), torch.ones(()).double(), True)
    likely = expected > 20
    chi2 = ((seen - expected)[likely].square() / expected[likely]).sum().item()
    degrees = likely.sum().item()
    assert chi2 < degrees + 5 * (2 * degrees) ** 0.5
    assert seen[expected < 1e-3].sum() == 0


def test_two_moons_is_the_convolution_of_its_arcs():
    """Against a plain Riemann sum along half circles of radius 1.6, written here anew."""
    density = datasets.TwoMoons()
    angle = (torch.arange(20_000, dtype=torch.float64) + 0.5) * math.pi / 20_000
    upper = 1.6 * torch.stack([angle.cos() - 0.5, angle.sin() - 0.25], 1)
    curve = torch.cat([upper, -upper])
    for point in ([0.8, 1.2], [-0.9, 0.3], [2.3, -0.4], [-2.6, -0.5]):
        z = (torch.tensor(point, dtype=torch.float64) - curve) / 0.16
        direct = ((-0.5 * z.square().sum(1)).exp().mean() / (2 * math.pi * 0.16**2)).log()
        assert density.log_prob(torch.tensor([point]).double()).item() == pytest.approx(direct.item(), abs=1e-5)


def test_rings_and_gaussians_at_points_with_known_density():
    ring = datasets.Rings(n_rings=1, spacing=1.0, std=0.5).log_prob(torch.zeros(1, 2)).item()
    assert ring == pytest.approx(-math.log(2 * math.pi * 0.25) - 1 / (2 * 0.25), abs=1e-5)
    gaussians = datasets.RingOfGaussians(n_modes=2, radius=10.0, std=0.5)
    assert gaussians.log_prob(torch.tensor([[10.0, 0.5]])).item() == pytest.approx(
        -math.log(2) - math.log(2 * math.pi * 0.25) - 0.5, abs=1e-5
    )
    assert datasets.GridOfGaussians().modes.abs().max() == 2 and len(datasets.GridOfGaussians().modes) == 25


def test_checkerboard_is_flat_on_its_squares_and_zero_elsewhere():
    density = datasets.Checkerboard()
    log_p = density.log_prob(torch.tensor([[-2.9, -2.9], [-2.9, -1.4], [0.1, 0.1], [3.1, 3.1], [5.0, 0.0]]))
    assert log_p[[0, 2]].tolist() == pytest.approx([-math.log(18)] * 2) and torch.isinf(log_p[[1, 3, 4]]).all()
    with pytest.raises(ValueError, match="n_side must be even"):
        datasets.Checkerboard(n_side=3)


# Splits ------------------------------------------------------------------------------------------------------------


def test_digits_split_1347_450_with_classes_in_proportion():
    data = make("digits", validation=0.1)
    x, y = zip(*(data.split(name) for name in ("train", "validation", "test")), strict=True)
    assert [len(part) for part in x] == [1212, 135, 450]
    whole = torch.cat(y).bincount() / 1797
    for part in y:
        assert (part.bincount(minlength=10) - whole * len(part)).abs().max() <= 2
    images = torch.cat(x).flatten(1)
    everything = images.unique(dim=0)
    assert len(everything) == len(images)  # all 1797 digits differ, so nothing lies in two splits
    assert images.min() == -1 and images.max() == 1


@pytest.mark.parametrize("name", ["mnist", "cifar10", "folder", "npz", "8gaussians"])
def test_validation_is_cut_from_train_and_the_same_for_every_seed(name, files):
    data, other = make(name, files), make(name, files)
    other.seed = 99
    train, validation = data.rows("train"), data.rows("validation")
    assert not torch.isin(train.index, validation.index).any()
    assert len(train) + len(validation) == len(train.x) and len(validation) > 0
    assert torch.equal(validation.index, other.rows("validation").index)
    assert data.rows("test").x is not train.x
    assert torch.equal(data.split("test").x, other.split("test").x)


def test_folder_and_npz_hold_out_a_test_part(files):
    folder = make("folder", files)
    train, test = set(folder.rows("train").x.paths), set(folder.rows("test").x.paths)
    assert not train & test and len(train) == 36 and len(test) == 4
    assert folder.class_names == ["cats", "dogs"] and sorted(folder.split("test").y.tolist()) == [0, 0, 0, 1]
    x = torch.cat([make("npz", files).part(part)[0] for part in ("train", "test")])
    assert len(x.unique(dim=0)) == 100


def test_portion_keeps_proportions_and_draws_anew_for_another_seed():
    y = torch.tensor([0] * 900 + [1] * 90 + [2] * 10)
    index = portion(y, 1000, 100, seed=1)
    assert y[index].bincount().tolist() == [90, 9, 1] and len(index.unique()) == 100
    assert not torch.equal(index, portion(y, 1000, 100, seed=2))


@pytest.mark.parametrize("amount", [1347, 1.5, -1, -0.1])
def test_impossible_validation_is_refused(amount):
    with pytest.raises(ValueError, match=rf"dataset.validation must be .*, got {amount}"):
        make("digits", validation=amount).rows("train")


def test_drawn_examples_are_clean_training_examples():
    data = make("digits", noise_std=0.5, dequantize=True)
    x, y = data.draw(500, torch.Generator().manual_seed(0))
    train = data.split("train")
    nearest = torch.cdist(x.flatten(1), train.x.flatten(1)).min(1)
    assert nearest.values.max() < 1e-3 and torch.equal(train.y[nearest.indices], y)
    assert torch.equal(x, data.draw(500, torch.Generator().manual_seed(0))[0])


# Batches -----------------------------------------------------------------------------------------------------------


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


# Values ------------------------------------------------------------------------------------------------------------


class Grey(DataModule):
    """Images of one grey level, left half black."""

    name, shape = "grey", (1, 4, 4)

    def load(self, part):
        x = torch.full((64, 1, 4, 4), 200, dtype=torch.uint8)
        x[..., :2] = 0
        return x, None


def test_a_data_set_without_load_cannot_be_made():
    class Nothing(DataModule):
        shape = (1,)

    with pytest.raises(TypeError, match="abstract method.*load"):
        Nothing()


def test_grey_levels_map_to_the_ends_of_the_range():
    x = Grey(value_range=[-1, 1]).split("test").x
    assert x[..., 0].unique().item() == -1 and x[..., 3].unique().item() == pytest.approx(-1 + 2 * 200 / 255)
    with pytest.raises(ValueError, match="dataset.value_range must be"):
        Grey().split("test")


def test_dequantization_is_uniform_over_one_grey_level():
    torch.manual_seed(0)
    x = torch.full((20_000, 1, 2, 2), 200, dtype=torch.uint8)
    seen = Grey(value_range=[0, 1], dequantize=True).augmented(x)
    assert seen.min() >= 200 / 256 and seen.max() < 201 / 256
    assert seen.mean().item() == pytest.approx(200.5 / 256, abs=2e-5)
    assert seen.var().item() == pytest.approx(1 / 12 / 256**2, rel=0.02)
    digits = make("digits", dequantize=True, noise_std=0.0).augmented(
        torch.full((5000, 1, 2, 2), 16, dtype=torch.uint8)
    )
    assert 2 * 16 / 17 - 1 <= digits.min() and digits.mean().item() == pytest.approx(2 * 16.5 / 17 - 1, abs=2e-3)


def test_flips_mirror_half_of_the_images():
    torch.manual_seed(0)
    data = Grey(value_range=[0, 1], flip=True)
    seen = data.augmented(data.part("train")[0].repeat(50, 1, 1, 1))
    mirrored = seen[:, 0, 0, 0] > 0.5
    assert mirrored.float().mean().item() == pytest.approx(0.5, abs=0.035)
    assert torch.equal(seen[mirrored], data.split("test", 1).x.flip(-1).expand(int(mirrored.sum()), -1, -1, -1))


def test_crops_shift_each_image_by_itself_and_reflect_borders():
    torch.manual_seed(0)
    image = torch.arange(36.0).view(1, 1, 6, 6)
    seen = shifted(image.expand(4000, -1, -1, -1), 2)
    padded = pad(image, [2] * 4, mode="reflect")
    places = padded.unfold(2, 6, 1).unfold(3, 6, 1).reshape(25, 36)
    distance = torch.cdist(seen.flatten(1), places, compute_mode=EXACT)
    assert distance.min(1).values.max() == 0
    assert distance.argmin(1).bincount(minlength=25).float().std() < 3 * (4000 / 25) ** 0.5 / 2


def test_noise_has_its_width_and_clamp_keeps_the_range():
    torch.manual_seed(0)
    x = torch.full((5000, 1, 4, 4), 255, dtype=torch.uint8)
    loose = Grey(value_range=[-1, 1], noise_std=0.1).augmented(x)
    assert loose.std().item() == pytest.approx(0.1, rel=0.02) and loose.mean().item() == pytest.approx(1, abs=1e-3)
    assert Grey(value_range=[-1, 1], noise_std=0.1, clamp=True).augmented(x).max() == 1


def test_borrowed_images_take_shape_and_range(files):
    digits, cifar = make("digits"), make("cifar10", files)
    seen = digits.borrowed(cifar, n=50)
    assert seen.shape == (50, 1, 8, 8) and seen.min() >= -1 and seen.max() <= 1
    red, green, blue = cifar.split("test", 50).x.mean((2, 3)).T
    grey = 2 * (0.299 * red + 0.587 * green + 0.114 * blue) - 1
    assert torch.allclose(seen.mean((1, 2, 3)), grey, atol=0.01)
    assert resized(torch.rand(2, 1, 8, 8), (3, 32, 32)).shape == (2, 3, 32, 32)
    with pytest.raises(ValueError, match="both must be images"):
        digits.borrowed(make("rings"))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"value_range": [1, 0]}, r"value_range must be \[low, high\].*\[1, 0\]"),
        ({"value_range": 1.0}, "value_range"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"steps_per_epoch": 0}, "steps_per_epoch must be at least 1"),
        ({"noise_std": -0.1}, "noise_std must not be negative, got -0.1"),
        ({"batchsize": 3}, "did you mean batch_size"),
    ],
)
def test_wrong_values_are_refused_in_one_line(change, message):
    with pytest.raises(ValueError, match=message) as caught:
        make("digits", **change)
    assert "\n" not in str(caught.value)


# Files -------------------------------------------------------------------------------------------------------------


def test_published_formats_give_back_what_was_written(files):
    rng = np.random.default_rng(0)
    x, y = small_sets().pictures(rng, 200, 10, 28, 28)
    mnist = make("mnist", files)
    assert torch.equal(mnist.part("train")[0][:, 0], torch.from_numpy(x))
    assert mnist.part("train")[1].tolist() == y.tolist()
    x, y = small_sets().pictures(np.random.default_rng(0), 40, 10, 3072)
    cifar, labels = make("cifar10", files).part("train")
    assert len(cifar) == 200 and torch.equal(cifar[:40].flatten(1), torch.from_numpy(x))
    assert labels[:40].tolist() == y.tolist()
    x, y = small_sets().pictures(np.random.default_rng(0), 200, 10, 32, 32, 3)
    svhn, labels = make("svhn", files).part("train")
    assert torch.equal(svhn, torch.from_numpy(x).permute(0, 3, 1, 2)) and labels.tolist() == y.tolist()
    assert make("cifar100", files).part("test")[1].tolist() == list(range(100)) * 2


def test_larger_published_formats_give_back_what_was_written(files):
    x, y = small_sets().pictures(np.random.default_rng(0), 20, 1000, 3072)
    imagenet, labels = make("imagenet32", files).part("train")
    assert torch.equal(imagenet[:20].flatten(1), torch.from_numpy(x)) and labels[:20].tolist() == y.tolist()
    stacked = make("stacked_mnist", files)
    x, y = stacked.part("train")
    digits, values = make("mnist", files).part("train")
    for color, unit in enumerate((100, 10, 1)):
        nearest = torch.cdist(x[:, color].float().flatten(1), digits.float().flatten(1), compute_mode=EXACT).min(1)
        assert nearest.values.max() == 0 and torch.equal(values[nearest.indices], y // unit % 10)
    celeba = make("celeba64", files)
    assert len(celeba.part("train")[0]) == len(celeba.part("test")[0]) == 200
    assert not set(celeba.part("train")[0].paths) & set(celeba.part("test")[0].paths)
    textures, labels = make("textures", files).part("test")
    name = f"texture_{labels[3]:02d}/texture_{labels[3]:02d}_20003.jpg"
    with Image.open(files / "dtd" / "images" / name) as image:
        assert torch.equal(textures[3].permute(1, 2, 0), torch.from_numpy(np.array(image))[:32, :32])


def test_gzipped_idx_is_read_as_plain_and_damage_is_named(files, tmp_path):
    plain = files / "MNIST" / "raw" / "t10k-images-idx3-ubyte"
    packed = tmp_path / "t10k-images-idx3-ubyte.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert torch.equal(read_idx(plain), read_idx(packed)) and read_idx(plain).shape == (200, 28, 28)
    short = tmp_path / "short"
    for content in (plain.read_bytes()[:-1], b"", b"\0\0\x0d\x01\0\0\0\0"):
        short.write_bytes(content)
        with pytest.raises(ValueError, match="short: not a whole IDX file"):
            read_idx(short)


def test_files_are_searched_in_root_then_below_then_in_the_environment(files, tmp_path, monkeypatch):
    raw = files / "MNIST" / "raw"
    assert make("mnist", raw).find("train")[0] == raw
    assert make("mnist", files).find("train")[0] == raw
    monkeypatch.setenv("EBM_DATA", str(files))
    assert make("mnist", tmp_path).find("train")[0] == raw


@pytest.mark.parametrize("name", PUBLISHED)
def test_missing_files_are_named_with_their_place(name, tmp_path, monkeypatch):
    monkeypatch.delenv("EBM_DATA", raising=False)
    monkeypatch.setattr(datasets.FashionMNIST, "system_folder", None)
    data = make(name, tmp_path)
    assert data.shape and data.n_classes  # known without files
    with pytest.raises(FileNotFoundError, match="dataset.download=true") as caught:
        data.split("train")
    message = str(caught.value)
    assert all(file in message for file in data.files["train"]) and str(tmp_path) in message and "\n" not in message


def test_download_fetches_what_is_missing_and_says_why_it_cannot(tmp_path, monkeypatch):
    monkeypatch.delenv("EBM_DATA", raising=False)

    def offline(root, download):
        raise RuntimeError("no network")

    monkeypatch.setattr(datasets.MNIST, "source", staticmethod(offline))
    with pytest.raises(FileNotFoundError, match="no network.*train-images-idx3-ubyte"):
        make("mnist", tmp_path, download=True).split("train")
    write = lambda root, download: small_sets().write(Path(root), ["mnist"], n=20)  # noqa: E731
    monkeypatch.setattr(datasets.MNIST, "source", staticmethod(write))
    assert len(make("mnist", tmp_path, download=True).rows("test")) == 20


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")
def test_fashion_mnist_of_debian(tmp_path, monkeypatch):
    monkeypatch.delenv("EBM_DATA", raising=False)
    data = make("fashion_mnist", tmp_path, validation=0)
    x, y = data.part("train")
    assert x.shape == (60000, 1, 28, 28) and y.bincount().tolist() == [6000] * 10
    assert (x.double().mean() / 255).item() == pytest.approx(0.2860, abs=5e-5)


def test_folder_crops_the_center_and_refuses_stray_images(tmp_path):
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 20:40] = [255, 128, 0]  # the centered square
    for name in ("a", "b", "c", "d"):
        Image.fromarray(wide).save(tmp_path / f"{name}.png")
    data = datasets.Folder(root=str(tmp_path), size=10, test=1, validation=1)
    x, y = data.split("train")
    assert y is None and data.n_classes is None and x.shape == (2, 3, 10, 10)
    assert x[0, :, 5, 5].tolist() == pytest.approx([1, 128 / 255, 0]) and x[0, 0, 1:-1, 1:-1].min() == 1
    batch = next(iter(data.train_dataloader()))
    assert isinstance(batch, Batch) and batch.x.dtype == torch.uint8 and batch.x.shape == (2, 3, 10, 10)
    for name in ("cats", "dogs"):
        (tmp_path / name).mkdir()
        Image.fromarray(wide).save(tmp_path / name / "1.png")
    with pytest.raises(ValueError, match="a.png: lies in none of the class folders cats, dogs"):
        datasets.Folder(root=str(tmp_path)).split("train")
    with pytest.raises(FileNotFoundError, match="nowhere: no images"):
        datasets.Folder(root=str(tmp_path / "nowhere")).split("train")


def test_folder_takes_its_test_images_from_another_folder(files):
    data = make("folder", files, test_root=str(files / "pictures"), channels=1, size=16)
    assert (
        len(data.rows("test")) == 40 and len(data.rows("train")) == 36 and data.split("test").x.shape[1:] == (1, 16, 16)
    )


def test_npz_takes_grey_levels_and_refuses_values_out_of_range(files, tmp_path):
    file = tmp_path / "x.npz"
    np.savez(file, x=np.full((20, 1, 4, 4), 255, np.uint8))
    data = datasets.Npz(file=str(file), value_range=[-1, 1], test_file=str(file))
    assert data.shape == (1, 4, 4) and data.n_classes is None and data.split("test").x.unique().tolist() == [1]
    with pytest.raises(ValueError, match=r"value_range=\[0.0, 0.5\]: .*mine.npz holds values from -"):
        make("npz", files, value_range=[0, 0.5]).split("train")
    np.savez(file, z=np.zeros(3))
    with pytest.raises(ValueError, match="holds z, and neither samples nor x"):
        _ = datasets.Npz(file=str(file)).shape
    with pytest.raises(FileNotFoundError, match="no such file"):
        _ = datasets.Npz(file="nothing.npz").shape


# Made by us ---------------------------------------------------------------------------------------------------------


def test_patches_of_one_photograph_lie_in_one_split():
    data = make("patches")
    x = {split: data.rows(split).x for split in ("train", "validation", "test")}
    assert len(x["train"]) > 5000 and min(len(part) for part in x.values()) > 400
    photographs = [name for names in datasets.patches.PHOTOGRAPHS.values() for name in names]
    assert len(photographs) == len(set(photographs))
    seen = {patch.numpy().tobytes() for patch in x["train"]}
    assert not any(patch.numpy().tobytes() in seen for patch in x["test"])
    assert min(part.float().flatten(1).std(1).min() for part in x.values()) > 8


def test_attributes_of_shapes_are_what_is_drawn():
    data = make("shapes", n_train=2000, value_range=[0, 1])
    x, labels = data.part("train")
    attributes = data.attributes("train")
    assert torch.equal(labels, attributes["shape"]) and {k: int(v.max()) + 1 for k, v in attributes.items()} == CONCEPTS
    ink = x[:, 0].double()
    line = (torch.arange(16) + 0.5) / 8 - 1
    row, column = ((ink * axis).sum((1, 2)) / ink.sum((1, 2)) for axis in (line[:, None], line[None]))
    assert torch.equal(2 * (row > 0).long() + (column > 0).long(), attributes["position"])
    area = ink.mean((1, 2))
    for kind in range(3):
        of_kind = attributes["shape"] == kind
        small, large = (area[of_kind & (attributes["size"] == size)] for size in (0, 1))
        assert small.max() < large.min()


def test_rotations_of_shapes_are_quarter_turns():
    attributes = {"shape": torch.tensor([0, 1, 2] * 4), "size": torch.ones(12, dtype=torch.long)}
    attributes |= {"position": torch.zeros(12, dtype=torch.long), "rotation": torch.arange(12) // 3}
    mean = torch.stack([datasets.shapes.drawn(attributes, torch.Generator().manual_seed(i)) for i in range(40)])
    mean = mean.double().mean(0)[:, 0, :10, :10].view(4, 3, 10, 10)
    for kind in range(3):
        turned = torch.stack([mean[k, kind].rot90(k) for k in range(4)])
        gaps = torch.cdist(turned.flatten(1), mean[:, kind].flatten(1))
        assert float(turned.std(0).mean()) < 0.1 * float(turned.std())
        assert gaps[0, 1:].min() > 3 * (turned - turned.mean(0)).flatten(1).norm(dim=1).max()


def test_moving_digits_keep_their_pixels_and_move():
    x, y = make("moving_digits", n_train=200).part("train")
    total = x.double().sum((1, 3, 4))
    assert torch.equal(total, total[:, :1].expand(-1, 8)) and len(y.unique()) == 10
    assert ((x[:, 0, 1:].float() - x[:, 0, :-1].float()).abs().sum((2, 3)) > 0).float().mean() > 0.6


def test_voxels_have_the_volumes_of_their_solids():
    x, y = make("voxels", n_train=1500).part("train")
    volume = x.double().mean((1, 2, 3, 4)) / 255 * 8  # of a cube of side 2
    moment = (0.65**4 - 0.45**4) / 4 / 0.2  # mean of the cubed size, which is uniform
    expected = [4 / 3 * math.pi, 1.6**3, 0.36 * math.pi * 2, math.pi * 0.45**2 * 8 / 3, 2 * math.pi**2 * 0.75 * 0.09]
    for kind, unit in enumerate(expected):
        assert volume[y == kind].mean().item() == pytest.approx(unit * moment, rel=0.07)


def test_shapes_are_neither_mirrored_nor_cropped():
    for change in ({"flip": True}, {"crop": 1}):
        with pytest.raises(ValueError, match="would change the attributes"):
            make("shapes", **change)


def test_frames_of_a_clip_are_cropped_alike():
    torch.manual_seed(0)
    frame = torch.rand(5, 1, 1, 8, 8)
    seen = shifted(frame.expand(-1, -1, 3, -1, -1), 2)
    assert torch.equal(seen, seen[:, :, :1].expand_as(seen)) and not torch.equal(seen[:, :, :1], frame)
