"""What ebm-eval chooses, skips and writes; samples of other programs; the command."""

import inspect
import json

import numpy as np
import pytest
import torch
from conftest import CONF, subject

from ebm_cli import evaluate, metrics
from ebm_cli.config import ConfigError, option_node, options
from ebm_cli.datasets import Digits, RingOfGaussians, Toy
from ebm_cli.energies import GaussianBase
from ebm_cli.metrics import OOD, Density, FDClassifier, Metric, Skip, Value, report
from ebm_cli.metrics.stand_ins import FrechetOnFeatures
from ebm_cli.models import MLP

# What is skipped, and what is written ------------------------------------------------------------------------------


def test_metrics_that_do_not_fit_say_what_to_do(digits, tmp_path):
    toy = Toy(density=RingOfGaussians(), n_train=100, n_validation=10, n_test=50)
    for metric, data, message in (
        (Density(), digits, "known density"),
        (FDClassifier(), toy, "metric=density"),
        (OOD(), toy, "metric=density"),
    ):
        with pytest.raises(Skip, match=message):
            metric(subject(data, tmp_path, energy=GaussianBase(data.shape)))
    with pytest.raises(Skip, match="run=PATH"):
        OOD()(subject(digits, tmp_path))


def test_suitable_metrics_follow_data_and_model(digits, tmp_path):
    toy = Toy(density=RingOfGaussians(), n_train=100, n_validation=10, n_test=50)
    plain, joint = MLP((1, 8, 8)), MLP((1, 8, 8), n_classes=10, joint=True)
    assert evaluate.suitable(subject(toy, tmp_path, energy=plain)) == ["density"]
    assert evaluate.suitable(subject(digits, tmp_path, energy=plain)) == ["fd_classifier", "ood"]
    assert evaluate.suitable(subject(digits, tmp_path, energy=joint)) == ["fd_classifier", "ood", "classifier"]
    assert evaluate.suitable(subject(digits, tmp_path)) == ["fd_classifier"]


def test_a_metric_that_fails_and_rows_that_are_missing_are_recorded(digits, tmp_path):
    class Partial(Metric):
        def __call__(self, subject):
            return {"a": Value(1.0), "b": Skip("no b")}

    class Broken(Metric):
        def __call__(self, subject):
            raise Skip("no weights: put them there")

    assert evaluate.measure("partial", Partial(), None) == ({"a": Value(1.0)}, {"b": "no b"})
    assert evaluate.measure("broken", Broken(), None) == ({}, {"broken": "no weights: put them there"})


def test_a_metric_without_what_it_needs_is_told_before_anything_is_sampled_and_the_others_go_on(command, tmp_path):
    pytest.importorskip("torch_fidelity")
    np.savez(tmp_path / "mine.npz", samples=Digits(value_range=[-1, 1]).split("test").x.numpy())
    words = ("samples=mine.npz", "dataset=digits", "metric=[fid,fd_pixel,ood]", "metric.fid.weights=nowhere.pth")
    status, out, error = command("ebm-eval", *words)
    assert status == 0, error
    found = written(tmp_path / "outputs" / "evals" / "samples")
    assert set(found["metrics"]) == {"fd_pixel", "fd_pixel/test"} and set(found["skipped"]) == {"fid", "ood"}
    assert "nowhere.pth" in found["skipped"]["fid"] and "run=PATH" in found["skipped"]["ood"]


def test_metrics_json_has_the_schema_of_all_commands(tmp_path):
    values = {"a": Value(0.5, 0.1, 10, {"split": "test"}), "ood/x/energy/auroc": Value(1.0)}
    origin = {"run": None, "checkpoint_sha256": None, "samples": "mine.npz"}
    report.write(tmp_path, 3, origin, values, {"b": "why"})
    content = json.loads((tmp_path / "metrics.json").read_text())
    assert set(content) == {"run", "checkpoint_sha256", "commit", "versions", "seed", "metrics", "skipped"}
    protocol = {"split": "test", "samples": "mine.npz"}
    assert content["metrics"]["a"] == {"value": 0.5, "stderr": 0.1, "n": 10, "protocol": protocol}
    assert content["metrics"]["ood/x/energy/auroc"]["stderr"] is None
    assert content["skipped"] == {"b": "why"} and content["seed"] == 3
    text = (tmp_path / "report.md").read_text()
    assert "| a " in text and "ood/x/energy" in text and "skipped b: why" in text and '"split": "test"' in text


def test_a_warning_stands_under_the_table_once():
    protocol = {"warning": "nobody has sampled this"}
    values = {"ais/log_z": Value(1.0, protocol=protocol), "ais/log_likelihood": Value(2.0, protocol=protocol)}
    assert report.table(values, {}).splitlines()[-1] == "warning ais: nobody has sampled this"
    assert report.table(values, {}).count("warning") == 1


# Given samples -----------------------------------------------------------------------------------------------------


def test_samples_are_read_in_every_common_layout(digits, tmp_path):
    grey = np.random.default_rng(0).integers(0, 256, (5, 8, 8), dtype=np.uint8)
    expected = torch.as_tensor(grey)[:, None] / 255 * 2 - 1
    for i, array in enumerate((grey, grey[:, None], grey[..., None])):
        np.savez(tmp_path / f"{i}.npz", samples=array)
        read = evaluate.read_samples(str(tmp_path / f"{i}.npz"), digits).x
        assert torch.allclose(read, expected, atol=1e-5)


@pytest.mark.parametrize(
    "array, message",
    [
        (np.zeros((5, 3, 9, 9), np.float32), r"shape \(5, 3, 9, 9\), expected \(N, 1, 8, 8\)"),
        (np.full((5, 1, 8, 8), 255, np.float32), r"\[255, 255\], expected \[-1, 1\], or uint8"),
        (np.full((5, 1, 8, 8), np.nan, np.float32), "finite"),
        (np.zeros((0, 1, 8, 8), np.float32), "no samples in it"),
    ],
)
def test_samples_that_do_not_fit_are_one_clear_line(digits, tmp_path, array, message):
    np.savez(tmp_path / "bad.npz", samples=array)
    with pytest.raises(ConfigError, match=message):
        evaluate.read_samples(str(tmp_path / "bad.npz"), digits)


def test_a_missing_file_and_samples_without_a_data_set_are_one_clear_line(digits):
    with pytest.raises(ConfigError, match="samples=nowhere.npz"):
        evaluate.read_samples("nowhere.npz", digits)
    with pytest.raises(ConfigError, match="dataset=NAME"):
        evaluate.default_run(["samples=a.npz"])
    with pytest.raises(ConfigError, match="run=PATH"):
        evaluate.default_run(["run=null", "dataset=digits"])
    assert evaluate.default_run(["samples=a.npz", "dataset=digits"]) is None
    assert evaluate.default_run(["metric=[ood]"]) == "latest"
    with pytest.raises(ConfigError, match=r"metric=\[ood\]"):
        evaluate.need_choice(["metric.ood.datasets=[mnist]"])


# The command -------------------------------------------------------------------------------------------------------


def written(folder):
    """The newest metrics.json below a folder of evaluations."""
    return json.loads(max(folder.glob("**/metrics.json"), key=lambda file: file.stat().st_mtime).read_text())


def test_ebm_eval_measures_a_run_twice_the_same_and_says_what_it_skips(command, tmp_path):
    small = ["dataset=8gaussians", "objective=nce", "dataset.steps_per_epoch=2", "trainer.max_epochs=1"]
    status, _, error = command("ebm-train", *small, "dataset.n_train=200", "sampler.n_steps=2", "model.hidden=[8]")
    assert status == 0, error
    evals = tmp_path / "outputs" / "evals"
    results = []
    for stamp in ("one", "two"):
        status, out, error = command("ebm-eval", "metric=[density,ood]", "metric.density.max_side=200", stamp=stamp)
        assert status == 0, error
        results.append(written(evals))
    assert results[0]["metrics"] == results[1]["metrics"] and "density/kl" in results[0]["metrics"]
    assert list(results[0]["skipped"]) == ["ood"] and "metric=density" in results[0]["skipped"]["ood"]
    assert "density/kl" in out and out.strip().splitlines()[-1].startswith("eval: ")
    status, _, error = command("ebm-eval", "metric=[ood]")
    assert status == 1 and error.strip().splitlines()[-1].startswith("ebm-eval: ood: ")
    status, _, error = command("ebm-eval", "metric=[density]", "metric.density.widht=2")
    assert status == 1 and "did you mean width?" in error
    status, _, error = command("ebm-eval", "dataset=digits")
    assert status == 1 and "the run's model (2,)" in error


def test_ebm_eval_measures_samples_without_a_run(command, tmp_path, untrained):
    np.savez(tmp_path / "mine.npz", samples=Digits(value_range=[-1, 1]).split("test").x.numpy())
    status, out, error = command("ebm-eval", "samples=mine.npz", "dataset=digits")
    assert status == 0, error
    found = written(tmp_path / "outputs" / "evals" / "samples")
    assert found["metrics"]["fd_classifier/q"]["value"] == pytest.approx(0, abs=1e-6) and found["run"] is None
    assert found["metrics"]["fd_classifier"]["protocol"]["samples"].startswith("mine.npz")


def test_batches_of_any_size_give_the_same_numbers_for_given_samples(command, tmp_path, monkeypatch):
    from ebm_cli.metrics import classifier, ood, reference_classifier, stand_ins

    small = ["objective=jem", "dataset.steps_per_epoch=2", "trainer.max_epochs=1", "sampler.n_steps=2"]
    assert command("ebm-train", "experiment=digits_jem", *small, "model.hidden=[16]")[0] == 0
    np.savez(tmp_path / "mine.npz", samples=Digits(value_range=[-1, 1]).split("test").x.numpy()[::-1].copy())
    words = (
        "metric=[fd_classifier,fd_pixel,ood,classifier,nearest]",
        "metric.ood.draws=5",
        "samples=mine.npz",
        "run=latest",
    )
    found = []
    for chunk in (1000, 37):
        for module in (classifier, ood, reference_classifier, stand_ins):
            monkeypatch.setattr(module, "CHUNK", chunk)
        status, _, error = command("ebm-eval", *words, stamp=str(chunk))
        assert status == 0, error
        found.append(written(tmp_path / "outputs" / "evals")["metrics"])
    assert len(found[0]) > 100
    for name, value in found[0].items():
        assert found[1][name]["value"] == pytest.approx(value["value"], rel=1e-5, abs=1e-5), name


def test_an_incomplete_metric_fails_when_it_is_built():
    class Incomplete(FrechetOnFeatures):
        def protocol(self):
            return {}

    with pytest.raises(TypeError, match="abstract.*features"):
        Incomplete()


NAMED = ("fid", "kid", "inception_score", "precision_recall", "fidelity")  # settings of one class: values differ


@pytest.mark.parametrize("name", options("metric"))
def test_metric_options_are_the_keywords_of_their_class_with_its_defaults(name):
    node = option_node("metric", name)
    kind = getattr(metrics, node.pop("_target_").removeprefix("ebm_cli.metrics."))
    keywords = {key: p.default for key, p in inspect.signature(kind).parameters.items()}
    assert list(node) == list(keywords)
    if name not in NAMED:
        assert {k: tuple(v) if isinstance(v, list) else v for k, v in node.items()} == keywords
    assert (CONF / "metric" / f"{name}.yaml").read_text().splitlines()[1].startswith("# ")
