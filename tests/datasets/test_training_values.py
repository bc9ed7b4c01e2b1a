# ruff: noqa: F401, F811 (fixtures are arguments)
"""Values in the requested range, and what training makes of them."""

import pytest
import torch
from sets import EXACT, files, make
from torch.nn.functional import pad

from ebm_cli.datasets import DataModule, resized
from ebm_cli.datasets.augment import shifted


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
        ({"batch_size": 0}, "dataset.batch_size=0: must be at least 1"),
        ({"steps_per_epoch": 0}, "dataset.steps_per_epoch=0: must be at least 1"),
        ({"noise_std": -0.1}, "dataset.noise_std=-0.1: must be at least 0"),
        ({"batchsize": 3}, "did you mean batch_size"),
    ],
)
def test_wrong_values_are_refused_in_one_line(change, message):
    with pytest.raises(ValueError, match=message) as caught:
        make("digits", **change)
    assert "\n" not in str(caught.value)
