# ruff: noqa: F401, F811 (fixtures are arguments)
"""File formats: published ones, folders of images, .npz."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sets import DEBIAN, EXACT, PUBLISHED, files, make, small_sets

from ebm_cli import datasets
from ebm_cli.datasets import Batch, read_idx


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
    with pytest.raises(ValueError, match="holds z; call the examples samples or x"):
        _ = datasets.Npz(file=str(file)).shape
    with pytest.raises(ValueError, match="dataset.file=nothing.npz: no such file"):
        _ = datasets.Npz(file="nothing.npz").shape
