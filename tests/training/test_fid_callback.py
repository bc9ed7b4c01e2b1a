"""FID while training: torchmetrics' number is the Frechet distance of the same features, and weights come first."""

from types import SimpleNamespace

import pytest

from ebm_cli.config import ConfigError
from ebm_cli.metrics.fidelity import bytes_of
from ebm_cli.metrics.frechet import frechet_distance
from ebm_cli.training.callbacks.fid import Features, FIDDuringTraining


def test_the_logged_distance_is_that_of_the_features_of_kept_chains(digits, untrained, monkeypatch):
    from ebm_cli.metrics import fd_classifier

    monkeypatch.setattr("ebm_cli.training.callbacks.fid.load_or_train_reference", fd_classifier.load_or_train_reference)
    logged, chains = {}, digits.split("test", 300).x
    module = SimpleNamespace(
        negatives=SimpleNamespace(stored=lambda n: SimpleNamespace(x=chains[:n])),
        log=lambda name, value, **_: logged.setdefault(name, float(value)),
    )
    trainer = SimpleNamespace(datamodule=digits, current_epoch=0, is_global_zero=True)
    watch = FIDDuringTraining(every_n_epochs=2, n=200, features="classifier")
    watch.setup(trainer, module, "fit")
    watch.on_train_epoch_end(trainer, module)
    assert not logged  # the first of two epochs
    trainer.current_epoch = 1
    watch.on_train_epoch_end(trainer, module)
    features = Features(fd_classifier.load_or_train_reference(digits), digits)
    made, real = (features(bytes_of(x, digits)) for x in (chains[:200], digits.split("train", 200).x))
    assert logged["fd_classifier/chains"] == pytest.approx(frechet_distance(made, real), rel=1e-3)


def test_missing_weights_stop_before_training(digits, tmp_path):
    pytest.importorskip("torch_fidelity")
    trainer = SimpleNamespace(datamodule=digits)
    with pytest.raises(ConfigError, match="put weights-inception"):
        FIDDuringTraining(weights=str(tmp_path / "none.pth")).setup(trainer, None, "fit")
    with pytest.raises(ValueError, match="inception or classifier"):
        FIDDuringTraining(features="pixels")
