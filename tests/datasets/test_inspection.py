"""Small files that a user might bring, and what each must do: work, with what was found said, or be named."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from ebm_cli.config import ConfigError
from ebm_cli.datasets import Folder, Npz
from ebm_cli.datasets.choice import choose_options
from ebm_cli.datasets.inspection import inspect
from ebm_cli.datasets.scaling import Scaling

RNG = np.random.default_rng(0)
PIXELS = RNG.random((60, 1, 8, 8)).astype(np.float32)
VECTORS = RNG.normal(size=(60, 4)).astype(np.float32)
LEVELS = RNG.integers(0, 256, (60, 8, 8)).astype(np.uint8)


def with_nan(x):
    x = x.copy()
    x.reshape(len(x), -1)[7, 2] = np.nan
    return x


def found(tmp_path, **arrays):
    np.savez(tmp_path / "x.npz", **arrays)
    return inspect(tmp_path / "x.npz")


REFUSED = [
    ({"x": with_nan(PIXELS)}, "1 value in 1 of 60 examples not finite, the first in example 7"),
    ({"x": with_nan(VECTORS)}, "the first in example 7"),
    ({"x": np.full((5, 3), np.inf)}, "15 values in 5 of 5 examples not finite"),
    ({"x": VECTORS.astype(np.complex64)}, "are complex numbers"),
    ({"x": np.array(["a", "b", "c"])}, "are text"),
    ({"x": VECTORS[:1]}, "holds 1 example;"),
    ({"x": VECTORS[:0]}, "holds 0 examples"),
    ({"x": np.float32(3)}, "holds 1 example"),
    ({"z": VECTORS}, "holds z; call the examples samples or x"),
    ({"x": PIXELS, "y": np.full(60, -1)}, "labels below 0, the first -1"),
    ({"x": PIXELS, "y": np.linspace(0, 2.9, 60)}, "labels must be whole numbers or text"),
    ({"x": PIXELS, "y": np.arange(50)}, r"labels of shape \(50,\) for 60 examples"),
    ({"x": PIXELS, "y": np.zeros((60, 2))}, "give one for each"),
    ({"x": PIXELS, "y": np.zeros(60, complex)}, "labels must be whole numbers or text"),
]


@pytest.mark.parametrize(("arrays", "message"), REFUSED, ids=lambda value: str(value)[:30])
def test_what_cannot_be_data_is_named_with_its_file(tmp_path, arrays, message):
    with pytest.raises(ConfigError, match=message) as caught:
        found(tmp_path, **arrays)
    assert "x.npz" in str(caught.value) and "\n" not in str(caught.value)


TAKEN = [  # arrays, kind, shape, a note
    ({"x": LEVELS}, "images", (1, 8, 8), "a channel axis was added"),
    ({"x": np.stack([LEVELS] * 3, -1)}, "images", (3, 8, 8), "channels stood last"),
    ({"x": LEVELS[..., None]}, "images", (1, 8, 8), "channels stood last"),
    ({"x": np.stack([LEVELS] * 4, -1)}, "images", (3, 8, 8), "transparency was put on white"),
    ({"x": PIXELS}, "images", (1, 8, 8), ""),
    ({"x": PIXELS > 0.5}, "images", (1, 8, 8), ""),
    ({"x": PIXELS.astype(np.float64)}, "images", (1, 8, 8), ""),
    ({"x": (PIXELS * 65535).astype(np.uint16)}, "images", (1, 8, 8), "16-bit levels"),
    ({"x": (PIXELS * 4095).astype(np.uint16)}, "images", (1, 8, 8), "12-bit levels"),
    ({"x": (PIXELS * 255).round().astype(np.float32)}, "images", (1, 8, 8), "taken as grey levels"),
    ({"x": (PIXELS * 255).astype(np.int64)}, "images", (1, 8, 8), ""),
    ({"x": VECTORS}, "vectors", (4,), ""),
    ({"x": VECTORS.astype(np.float16)}, "vectors", (4,), ""),
    ({"x": (VECTORS * 9).astype(np.int32)}, "vectors", (4,), ""),
    ({"x": VECTORS[:, 0]}, "number", (1,), ""),
    ({"x": VECTORS[:, :1]}, "number", (1,), ""),
    ({"x": np.sin(np.arange(64) / 9 + VECTORS[:, :1])}, "series", (64,), ""),
    ({"x": (VECTORS > 0).astype(np.float32)}, "binary", (4,), ""),
    ({"x": RNG.random((9, 1, 6, 16, 16))}, "clips", (1, 6, 16, 16), ""),
    ({"x": RNG.random((9, 1, 8, 8, 8))}, "volumes", (1, 8, 8, 8), ""),
    ({"samples": VECTORS}, "vectors", (4,), ""),
    ({"x": PIXELS, "y": np.arange(60) % 3}, "images", (1, 8, 8), ""),
    ({"x": PIXELS, "y": np.array([0, 5, 9] * 20)}, "images", (1, 8, 8), "classes 0, 5, 9 were numbered from 0"),
    ({"x": PIXELS, "labels": np.eye(3)[np.arange(60) % 3]}, "images", (1, 8, 8), "labels were one-hot"),
]


@pytest.mark.parametrize(("arrays", "kind", "shape", "note"), TAKEN, ids=lambda value: str(value)[:30])
def test_what_can_be_data_is_brought_to_one_form_and_said(tmp_path, arrays, kind, shape, note):
    it = found(tmp_path, **arrays)
    assert it.kind == kind and it.x.shape[1:] == shape and note in it.describe()
    assert it.x.dtype in (np.uint8, np.float32)
    if it.y is not None:
        assert sorted(set(it.y.tolist())) == [0, 1, 2]


def test_words_become_classes_with_their_names(tmp_path):
    it = found(tmp_path, x=PIXELS, y=np.array(["owl", "cat", "dog"] * 20))
    assert it.class_names == ["cat", "dog", "owl"] and it.y[:3].tolist() == [2, 0, 1]


def test_many_levels_stay_apart_and_reach_both_ends(tmp_path):
    np.savez(tmp_path / "x.npz", x=np.linspace(0, 65535, 640).reshape(10, 1, 8, 8).astype(np.uint16))
    x = Npz(file=str(tmp_path / "x.npz"), value_range=[-1, 1], test=0, validation=0).split("train").x
    assert len(x.unique()) > 600 and float(x.min()) == pytest.approx(-1) and float(x.max()) == pytest.approx(1)


# Tables --------------------------------------------------------------------------------------------------------------


def table(tmp_path, text):
    (tmp_path / "t.csv").write_text(text)
    return inspect(tmp_path / "t.csv")


def test_a_table_has_named_columns_text_becomes_columns_and_labels_stand_apart(tmp_path):
    it = table(tmp_path, "a,colour,y\n1000,red,0\n1100,blue,1\n1050,red,1\n")
    assert it.columns == ["a", "colour=blue", "colour=red"] and it.y.tolist() == [0, 1, 1]
    assert it.x.tolist() == [[1000, 0, 1], [1100, 1, 0], [1050, 0, 1]]
    assert "colour became 2 columns of 0 and 1" in it.describe()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("a,b\n1,2\n3\n", "line 3 has 1 entries, and there are 2 columns"),
        ("a,b\n1,\n3,4\n", "1 value in 1 of 2 examples not finite, the first in example 0"),
        ("a\n" + "\n".join(f"text{k}" for k in range(60)), "column a holds 60 different texts"),
    ],
)
def test_tables_that_are_none_are_named(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        table(tmp_path, text)


def test_a_table_without_a_head_is_read(tmp_path):
    assert table(tmp_path, "1,2\n3,4\n5,7\n").x.shape == (3, 2)


def test_vectors_are_standardized_and_come_back_with_their_constant_entry(tmp_path):
    x = np.stack([1000 + 90 * VECTORS[:, 0], np.full(60, 7.0), 0.01 * VECTORS[:, 1]], 1).astype(np.float32)
    np.savez(tmp_path / "x.npz", x=x)
    data = Npz(file=str(tmp_path / "x.npz"))
    train = data.split("train").x
    assert data.shape == (2,) and float(train.mean().abs()) < 0.2 and float(train.std()) == pytest.approx(1, abs=0.1)
    back = data.restored(train)
    assert back.shape[1] == 3 and torch.all(back[:, 1] == 7)
    rows = data.rows("train").index
    assert np.allclose(np.sort(back[:, 0]), np.sort(data.found.x[data.cut()[0].numpy()][rows.numpy(), 0]), rtol=1e-5)
    as_they_are = Npz(file=str(tmp_path / "x.npz"), standardize=False)
    assert as_they_are.shape == (3,) and as_they_are.scaling is None


def test_equal_examples_have_nothing_to_learn():
    with pytest.raises(ValueError, match="all examples are equal"):
        Scaling.fit(torch.ones(5, 3))


# Folders -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def photographs(tmp_path):
    root = tmp_path / "photos"
    for name in ("cat", "dog", ".ipynb_checkpoints"):
        (root / name).mkdir(parents=True)
    for k in range(6):
        Image.fromarray(LEVELS[k]).resize((40, 30)).save(root / ("cat" if k % 2 else "dog") / f"{k}.png")
    (root / "cat" / "._1.png").write_bytes(b"no picture")
    Image.fromarray(LEVELS[0]).save(root / ".ipynb_checkpoints" / "0.png")
    return root


def test_hidden_files_and_folders_are_passed_over(photographs):
    data = Folder(root=str(photographs), size=8, channels=1, workers=0)
    assert data.class_names == ["cat", "dog"] and len(data.split("train").x) + len(data.split("test").x) >= 5


def test_a_truncated_image_is_named_or_left_out_and_counted(photographs, capsys):
    whole = (photographs / "cat" / "1.png").read_bytes()
    (photographs / "cat" / "1.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ConfigError, match="1.png: not a whole image .*; delete it, or say dataset.skip_broken=true"):
        data = Folder(root=str(photographs), size=8, test=0, validation=0, workers=0)
        data.split("train")
    data = Folder(root=str(photographs), size=8, test=0, validation=0, workers=0, skip_broken=True)
    assert len(data.split("train").x) == 5 and "1 files are no whole images" in capsys.readouterr().err


def test_images_are_turned_as_the_camera_says_put_on_white_and_scaled(tmp_path):
    arrow = np.zeros((8, 8, 3), np.uint8)
    arrow[0] = 255
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    (tmp_path / "f").mkdir()
    Image.fromarray(arrow).save(tmp_path / "f" / "a.png", exif=exif)
    clear = np.zeros((8, 8, 4), np.uint8)
    Image.fromarray(clear, "RGBA").save(tmp_path / "f" / "b.png")
    Image.fromarray(np.full((8, 8), 40000, np.uint16)).save(tmp_path / "f" / "c.png")
    x = Folder(root=str(tmp_path / "f"), size=8, test=0, validation=0, workers=0).load("train")[0][torch.arange(3)]
    assert x[0, :, 0].max() == 0 and x[0, :, -1].min() == 255  # the white line is below now
    assert x[1].min() == 255
    assert x[2].unique().tolist() == [round(255 * 40000 / 65535)]


# What is chosen ------------------------------------------------------------------------------------------------------


def chosen(*words):
    return dict(word.split("=", 1) for word in choose_options(list(words)))


def test_a_path_is_enough_and_the_kind_decides(tmp_path, photographs):
    np.savez(tmp_path / "grey.npz", x=LEVELS)
    np.savez(tmp_path / "large.npz", x=RNG.integers(0, 256, (20, 28, 28)).astype(np.uint8))
    np.save(tmp_path / "table.npy", VECTORS)
    grey = chosen(f"dataset={tmp_path}/grey.npz")
    assert grey["dataset"] == "npz" and grey["recipe"] == "grey8" and grey["dataset.value_range"] == "[-1,1]"
    large = chosen(f"dataset={tmp_path}/large.npz")
    assert (large["recipe"], large["model"]) == ("grey28", "convnet")
    vectors = chosen(f"dataset={tmp_path}/table.npy")
    assert (vectors["recipe"], vectors["base"], vectors["objective"]) == ("vectors", "full_gaussian", "nce")
    folder = chosen(f"dataset={photographs}")
    assert folder["dataset"] == "folder" and folder["dataset.channels"] == "1" and folder["dataset.size"] == "30"


def test_what_is_given_stays_and_a_preset_decides(tmp_path):
    np.savez(tmp_path / "grey.npz", x=LEVELS)
    assert chosen(f"dataset={tmp_path}/grey.npz", "recipe=patches")["recipe"] == "patches"
    assert "recipe" not in chosen(f"dataset={tmp_path}/grey.npz", "experiment=digits_jem")
    with pytest.raises(ConfigError, match="no such file or folder"):
        choose_options(["dataset=./nope.npz"])


def test_all_kinds_train_and_are_drawn_and_measured(command, tmp_path):
    """From a path alone: pictures and numbers for numbers, vectors, series and images."""
    files = {
        "number": RNG.normal(size=300), "table": RNG.normal(1000, 90, size=(300, 5)), "grey": LEVELS,
        "series": np.sin(np.arange(32) / 5 + RNG.random((300, 1))),
    }  # fmt: skip
    quick = ("trainer.max_epochs=1", "dataset.steps_per_epoch=5", "sample_steps=5", "trainer.enable_progress_bar=false")
    for name, x in files.items():
        np.savez(tmp_path / f"{name}.npz", x=x)
        status, out, err = command("ebm-train", f"dataset={name}.npz", f"name={name}", *quick, stamp="a")
        assert status == 0 and f"data: {name}, " in out, err
        run = tmp_path / "outputs" / "runs" / name / "a"
        assert (run / "samples.png").stat().st_size > 3000
        status, _, err = command("ebm-sample", f"run={run}", "num_samples=30", stamp="a")
        assert status == 0, err
        samples = np.load(tmp_path / "outputs" / "samples" / name / "a" / "samples.npz")["samples"]
        if name == "table":
            assert samples.shape == (30, 5) and 700 < samples.mean() < 1300  # the user's units
        metric = [] if name != "grey" else ["metric=[fd_pixel]"]
        status, out, err = command("ebm-eval", f"run={run}", *metric, stamp="a")
        assert status == 0 and ("vectors/wasserstein/gaussian" in out or name == "grey"), err
