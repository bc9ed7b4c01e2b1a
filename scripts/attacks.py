"""Attacks by files: what somebody else's run, cache or samples may try, and that none of it comes through.

    python scripts/attacks.py            all of them, through every command they can reach; some minutes
    python scripts/attacks.py --short    each through one command, as the test suite does

An honest run is trained, and copied for each attack, which edits the copy: a key of its ``config.yaml`` or of the
config in its checkpoint, a file, a link. Then a command takes the run, in this process, under an audit hook of Python
that notes everything done outside of ``outputs/`` and the run's folder: files opened for writing, made, moved or
removed, processes started, addresses connected to, and a secret file read. An attack has failed if nothing is noted, no
secret stands in anything that was written, and the command either refuses in one line or does what the honest run does.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import os
import pickle
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import yaml

SECRET = "rosebud-7351"  # stands in the environment and in a file, and must not appear in anything written
VERBS = {"train": "ebm_cli.train", "sample": "ebm_cli.sample", "eval": "ebm_cli.evaluate", "table": "ebm_cli.table"}
HONEST = (
    "trainer.enable_progress_bar=false", "trainer.accelerator=cpu", "trainer.max_epochs=1", "dataset.steps_per_epoch=2",
    "dataset.batch_size=16", "model.hidden=[8]", "sampler.n_steps=2", "buffer.size=32", "name=honest",
    "sample_steps=2",
)  # fmt: skip
TAKE = {  # how each command takes the run
    "eval": ("metric=[fd_pixel]", "metric.fd_pixel.n=64"),
    "sample": ("num_samples=4",),
    "train": ("trainer.max_epochs=2",),
    "table": (),
}


class Payload:
    """A pickle that writes a file when it is loaded."""

    def __reduce__(self):
        return (open, (str(Path("outside").absolute() / "pickle"), "w"))


# What is watched ---------------------------------------------------------------------------------------------------

NOTED: list[str] = []
LAST: dict[str, str] = {}  # what the last command said
WATCHING: list[Path] = []  # while it holds folders, all that happens outside of them is noted
STARTS = ("os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.spawn", "pty.spawn")
REACHES = ("socket.connect", "socket.sendto", "urllib.Request", "ftplib.connect", "smtplib.connect")
CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.symlink", "os.link", "os.truncate", "shutil.rmtree")


def watch(event: str, values: tuple) -> None:
    """Python's audit hook: notes what an attack would do."""
    if not WATCHING:
        return
    if event in STARTS and "git" not in str(values)[:40]:  # provenance asks git for the commit
        NOTED.append(f"{event} {values[0]}")
    elif event in REACHES:
        NOTED.append(f"{event} {values[1:]}")
    elif event in CHANGES:
        note_path(event, values[1] if event == "os.symlink" else values[0])
    elif event == "open":
        path, mode, flags = values
        writes = mode and set(mode) & set("wax+") or (flags or 0) & (os.O_WRONLY | os.O_RDWR)
        place = Path(os.fsdecode(path)).absolute() if isinstance(path, str | bytes | os.PathLike) else Path("/dev/null")
        if writes or Path("outside").absolute() in place.parents:
            note_path("write" if writes else "read", path)


def note_path(event: str, path) -> None:
    if isinstance(path, int):
        return
    place = Path(os.fsdecode(path))
    place = place.parent.resolve() / place.name if event == "os.symlink" else place.resolve()
    if event == "os.mkdir" and place.is_dir():  # changes nothing
        return
    harmless = place.is_relative_to("/dev") or "matplotlib" in place.parts or "__pycache__" in place.parts
    if not harmless and not any(place.is_relative_to(folder) for folder in WATCHING):
        NOTED.append(f"{event} {place}")


@contextlib.contextmanager
def watching(*folders: Path):
    NOTED.clear()
    WATCHING.extend(folder.resolve() for folder in folders)
    try:
        yield
    finally:
        WATCHING.clear()


# The attacks -------------------------------------------------------------------------------------------------------


@dataclass
class Attack:
    """One attack.

    Attributes:
        edit: of a copy of the honest run, called with its folder and the folder ``outside``.
        verbs: commands that it can reach.
        words: further words of the command line.
        harmless: commands that never read what was edited, and go on as with the honest run; the others must refuse.
    """

    edit: Callable[[Path, Path], None]
    verbs: tuple[str, ...] = ("eval", "sample", "train")
    words: tuple[str, ...] = ()
    harmless: tuple[str, ...] = ()


def config(path: str, value, places=("config.yaml", "checkpoint")) -> Callable:
    """An edit that sets a key of the run's config, in its file and in its checkpoint."""

    def edit(run: Path, outside: Path) -> None:
        filled = fill(value, run, outside)
        if "config.yaml" in places:
            kept = yaml.safe_load((run / "config.yaml").read_text())
            put(kept, path, filled)
            (run / "config.yaml").write_text(yaml.safe_dump(kept))
        if "checkpoint" in places:
            change_checkpoint(run, lambda content: put(content["hyper_parameters"]["config"], path, filled))

    return edit


def checkpoint(path: str, value) -> Callable:
    """The same in the checkpoint alone."""
    return config(path, value, ("checkpoint",))


def content(change: Callable) -> Callable:
    """An edit of a checkpoint's content."""
    return lambda run, outside: change_checkpoint(run, change)


def change_checkpoint(run: Path, change: Callable) -> None:
    for file in run.glob("checkpoints/*.ckpt"):
        kept = torch.load(file, weights_only=True)
        change(kept)
        torch.save(kept, file)


def put(values: dict, path: str, value) -> None:
    *parents, last = path.split(".")
    for part in parents:
        values = values.setdefault(part, {})
    values[last] = value


def fill(value, run: Path, outside: Path):
    """A value with ``OUT`` and ``RUN`` as the folders of this attack."""
    if isinstance(value, dict):
        return {key: fill(inner, run, outside) for key, inner in value.items()}
    if isinstance(value, list):
        return [fill(inner, run, outside) for inner in value]
    return value.replace("OUT", str(outside)).replace("RUN", str(run)) if isinstance(value, str) else value


def text(name: str, words: str | bytes) -> Callable:
    """An edit that writes a file of the run."""

    def edit(run: Path, outside: Path) -> None:
        raw = words if isinstance(words, bytes) else words.replace("OUT", str(outside)).encode()
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).write_bytes(raw)

    return edit


def link(name: str, target: str) -> Callable:
    """An edit that puts a link in the place of a file or folder of the run."""

    def edit(run: Path, outside: Path) -> None:
        place = run / name
        end = Path(fill(target, run, outside))
        if place.is_file():
            shutil.copy(place, end) if not end.exists() else None
            place.unlink()
        elif place.is_dir():
            shutil.rmtree(place)
        place.symlink_to(end)

    return edit


def evil_pickle(name: str, torch_zip: bool) -> Callable:
    """An edit that replaces a file by a pickle that writes when it is loaded."""

    def edit(run: Path, outside: Path) -> None:
        file = run / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if torch_zip:
            torch.save({"state_dict": {}, "hyper_parameters": Payload()}, file)
        else:
            file.write_bytes(pickle.dumps(Payload()))

    return edit


def evil_cache(run: Path, outside: Path) -> None:
    """Every judge in the cache becomes a pickle that writes."""
    files = list(Path("outputs/cache").glob("*.pt"))
    assert files, "the honest evaluation has left no judge in the cache"
    for file in files:
        torch.save(Payload(), file)


def objects(name: str) -> Callable:
    """An edit that writes an array of Python objects, which numpy would unpickle."""

    def edit(run: Path, outside: Path) -> None:
        array = np.empty(4, dtype=object)
        array[:] = [Payload()] * 4
        np.savez(run / name, samples=array) if name.endswith("npz") else np.save(run / name, array, allow_pickle=True)

    return edit


def two_headed(run: Path, outside: Path) -> None:
    """A checkpoint with a second record of the same name, a pickle that writes."""
    for file in run.glob("checkpoints/*.ckpt"):
        with zipfile.ZipFile(file, "a") as archive:
            name = next(n for n in archive.namelist() if n.endswith("data.pkl"))
            archive.writestr(name, pickle.dumps(Payload()))


SHELL = {"_target_": "os.system", "command": "touch OUT/shell"}
LOAD = {"_target_": "torch.load", "f": "OUT/evil.pt", "weights_only": False}
FIND = {"_target_": "ebm_cli.config.build.locate", "name": "os.system"}
HYDRA = {"callbacks": {"x": {"_target_": "torch.load", "f": "OUT/evil.pt", "weights_only": False}}}
FROM_CHECKPOINT = {
    "_target_": "pytorch_lightning.LightningModule.load_from_checkpoint", "checkpoint_path": "OUT/evil.pt",
    "weights_only": False,
}  # fmt: skip
URL = {"_target_": "torchvision.datasets.utils.download_url", "url": "file://OUT/secret", "root": "OUT/copy"}
ARCHIVE = {"_target_": "torchvision.datasets.utils.extract_archive", "from_path": "OUT/a.zip", "to_path": "OUT/b"}
SAVE = {"_target_": "pytorch_lightning.core.saving.save_hparams_to_yaml", "config_yaml": "OUT/x", "hparams": {}}
MAKE = {"_target_": "torchvision.datasets.folder.make_dataset", "directory": "OUT", "is_valid_file": FIND}
FILES = {"handlers": {"file": {"filename": "OUT/log"}}}
BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a, *a]\nc: [*b, *b, *b, *b, *b, *b]\n"

ATTACKS: dict[str, Attack] = {
    # code by a node
    "load_from_checkpoint": Attack(config("model", FROM_CHECKPOINT)),
    "os.system": Attack(config("sampler", SHELL)),
    "subprocess": Attack(config("objective", {"_target_": "subprocess.Popen", "args": ["touch", "OUT/p"]})),
    "exec": Attack(config("model", {"_target_": "builtins.exec", "source": "open('OUT/e', 'w')"})),
    "through a module's imports": Attack(config("model", {"_target_": "torch.nn.os.system", "command": "touch OUT/t"})),
    "through ours": Attack(config("model", {"_target_": "ebm_cli.runs.provenance.subprocess.run", "args": "id"})),
    "torch.load": Attack(config("buffer", LOAD)),
    "torch.hub": Attack(config("model", {"_target_": "torch.hub.load", "repo_or_dir": "OUT", "model": "x"})),
    "our function": Attack(config("model", {"_target_": "ebm_cli.utils.files.write_text", "file": "OUT/f"})),
    "locate": Attack(config("objective", FIND)),
    "make_dataset": Attack(config("dataset", MAKE)),
    "download_url": Attack(config("dataset", URL)),
    "extract_archive": Attack(config("dataset", ARCHIVE)),
    "save_hparams": Attack(config("model", SAVE)),
    "another kind": Attack(config("sampler", {"_target_": "pytorch_lightning.loggers.CSVLogger", "save_dir": "OUT"})),
    "a trainer as a sampler": Attack(config("sampler", {"_target_": "pytorch_lightning.Trainer"})),
    "a data set as a model": Attack(config("model", {"_target_": "ebm_cli.datasets.Npz", "file": "OUT/secret"})),
    "a private name": Attack(config("model", {"_target_": "ebm_cli.baselines.__main__.main"})),
    "no name": Attack(config("sampler._target_", 3)),
    "inside: weights": Attack(config("model", {"_target_": "ebm_cli.models.Classifier", "network": LOAD})),
    "inside: shell": Attack(config("model.hidden", [SHELL])),
    "inside: temperature": Attack(config("sampler.temperature", FIND)),
    "inside: augment": Attack(
        config("buffer.augment", {"_target_": "torchvision.transforms.Lambda", "lambd": FIND}), ("sample", "train")
    ),
    "inside: density": Attack(config("dataset.density", {"_target_": "torch.load", "f": "OUT/evil.pt"})),
    "base": Attack(config("base", SHELL)),
    "optimizer": Attack(config("optimizer", SHELL), ("train", "eval")),
    "optimizer.lr": Attack(config("optimizer.lr", FIND), ("train", "eval")),
    "schedule": Attack(config("schedule", FIND), ("train", "eval")),
    "_args_": Attack(config("sampler._args_", ["x"])),
    "_partial_": Attack(config("sampler._partial_", True)),
    "checkpoint alone: model": Attack(checkpoint("model", FROM_CHECKPOINT), harmless=("train",)),
    "checkpoint alone: objective": Attack(checkpoint("objective", SHELL), harmless=("train",)),
    "checkpoint alone: buffer": Attack(
        checkpoint("buffer", LOAD), ("eval",), ("metric=[stability]", "~metric.fd_pixel.n")
    ),
    "checkpoint alone: interpolation": Attack(checkpoint("sampler.n_steps", "${oc.env:EBM_SECRET}")),
    # Hydra's own keys
    "hydra.callbacks": Attack(config("hydra", HYDRA)),
    "hydra.job.env_set": Attack(config("hydra", {"job": {"env_set": {"EBM_ALLOW": "subprocess"}}})),
    "hydra.run.dir": Attack(config("hydra", {"run": {"dir": "OUT/run"}})),
    "hydra.job_logging": Attack(config("hydra", {"job_logging": FILES})),
    "hydra.mode": Attack(config("hydra", {"mode": "MULTIRUN"})),
    "hydra.searchpath": Attack(config("hydra", {"searchpath": ["file://OUT"]})),
    "hydra.sweep.dir": Attack(config("hydra", {"sweep": {"dir": "OUT/sweep"}})),
    "hydra.launcher": Attack(config("hydra", {"launcher": SHELL})),
    "defaults": Attack(config("defaults", ["evil"])),
    "experiment": Attack(config("experiment", "evil")),
    "a metric of its own": Attack(config("metric", {"x": LOAD})),
    "a task of its own": Attack(config("task", SHELL)),
    "a checkpoint of its own": Attack(config("checkpoint", "OUT/evil.pt")),
    "samples of its own": Attack(config("samples", "OUT/secret")),
    # interpolations
    "environment in the name": Attack(config("name", "x-${oc.env:EBM_SECRET}")),
    "environment in a value": Attack(config("sampler.boundary", "${oc.env:EBM_SECRET}")),
    "environment in the data": Attack(config("dataset.name", "${oc.env:EBM_SECRET}")),
    "environment in a key": Attack(config("recipe.${oc.env:EBM_SECRET}", 1)),
    "decode": Attack(config("seed", "${oc.decode:'1'}")),
    "resolver of hydra": Attack(config("name", "${hydra:job.name}")),
    # names and places
    "name ..": Attack(config("name", "../../x")),
    "name /": Attack(config("name", "OUT/x")),
    "name ~": Attack(config("name", "~/x")),
    "name \\": Attack(config("name", "..\\..\\x")),
    "name newline": Attack(config("name", "x\n../../y")),
    "name mapping": Attack(config("name", {"a": 1})),
    "ModelCheckpoint elsewhere": Attack(
        config("callbacks.x", {"_target_": "pytorch_lightning.callbacks.ModelCheckpoint", "dirpath": "OUT/c"}),
        ("train",),
    ),
    "ModelCheckpoint upwards": Attack(
        config("callbacks.x", {"_target_": "pytorch_lightning.callbacks.ModelCheckpoint", "filename": "../../../x"}),
        ("train",),
    ),
    "LambdaCallback": Attack(
        config("callbacks.x", {"_target_": "pytorch_lightning.callbacks.LambdaCallback", "setup": FIND}), ("train",)
    ),
    "no callback": Attack(config("callbacks.x", {"_target_": "ebm_cli.datasets.Npz", "file": "secret"}), ("train",)),
    "callback's weights": Attack(
        config(
            "callbacks.x",
            {"_target_": "ebm_cli.training.callbacks.fid.FIDDuringTraining", "weights": "OUT/evil.pt"},
        ),
        ("train",),
    ),
    "CSVLogger elsewhere": Attack(
        config("logger.x", {"_target_": "pytorch_lightning.loggers.CSVLogger", "save_dir": "OUT/l"}), ("train",)
    ),
    "CSVLogger upwards": Attack(
        config("logger.x", {"_target_": "pytorch_lightning.loggers.CSVLogger", "name": "../../x"}), ("train",)
    ),
    "history elsewhere": Attack(config("logger.history.directory", "OUT/h"), ("train",)),
    "MLFlow": Attack(
        config("logger.x", {"_target_": "pytorch_lightning.loggers.MLFlowLogger", "tracking_uri": "file:OUT/m"}),
        ("train",),
    ),
    "wandb settings": Attack(
        config("logger.x", {"_target_": "pytorch_lightning.loggers.WandbLogger", "settings": {"x": "y"}}), ("train",)
    ),
    "another trainer": Attack(config("trainer._target_", "pytorch_lightning.cli.LightningCLI"), ("train",)),
    "trainer elsewhere": Attack(config("trainer.default_root_dir", "OUT/r"), ("train",)),
    "profiler elsewhere": Attack(
        config("trainer.profiler", {"_target_": "pytorch_lightning.profilers.SimpleProfiler", "dirpath": "OUT"}),
        ("train",),
    ),
    "a plugin": Attack(
        config("trainer.plugins", [{"_target_": "pytorch_lightning.plugins.io.TorchCheckpointIO"}]), ("train",)
    ),
    "download": Attack(
        config(
            "dataset",
            {"_target_": "ebm_cli.datasets.MNIST", "root": "OUT/d", "download": True, "value_range": [-1.0, 1.0]},
        ),
        harmless=("sample",),
    ),
    "another run": Attack(config("run", "OUT/evil"), harmless=("eval", "sample", "train")),
    # files
    "yaml tag": Attack(text("config.yaml", "!!python/object/apply:os.system ['touch OUT/yaml']\n")),
    "yaml aliases": Attack(text("config.yaml", BOMB)),
    "yaml binary": Attack(text("config.yaml", b"\x80\x81\x82\x00\xff")),
    "yaml list": Attack(text("config.yaml", "- 1\n- 2\n")),
    "yaml without end": Attack(text("config.yaml", "[" * 20000)),
    "yaml with a number without end": Attack(config("seed", 10**400, ("config.yaml",))),
    "yaml with a date that is none": Attack(text("config.yaml", "seed: 2020-13-45\n")),
    "yaml empty": Attack(text("config.yaml", "")),
    "yaml tabs": Attack(text("config.yaml", "model:\n\t_target_: x\n")),
    "yaml date": Attack(config("recipe.lr", __import__("datetime").date(2020, 1, 1), ("config.yaml",))),
    "pickled checkpoint": Attack(evil_pickle("checkpoints/last.ckpt", torch_zip=True), ("eval", "sample", "train")),
    "bare pickle": Attack(evil_pickle("checkpoints/last.ckpt", torch_zip=False), ("eval", "sample")),
    "pickled best": Attack(evil_pickle("checkpoints/best.ckpt", torch_zip=True), ("eval",), ("checkpoint=best",)),
    "two records of a name": Attack(two_headed, ("eval", "sample")),
    "weights that are none": Attack(content(lambda c: c.update(state_dict={"energy.x": "text"}))),
    "more weights": Attack(content(lambda c: c["state_dict"].update({"energy.evil": torch.zeros(1)}))),
    "weights of another shape": Attack(
        content(lambda c: c["state_dict"].update({k: v[..., :1] for k, v in c["state_dict"].items() if v.ndim == 2}))
    ),
    "weights not finite": Attack(content(lambda c: next(iter(c["state_dict"].values())).fill_(float("nan")))),
    "facts that are none": Attack(content(lambda c: c["hyper_parameters"].update(facts=3)), ("eval", "sample")),
    "facts without support": Attack(
        content(lambda c: c["hyper_parameters"]["facts"].pop("support")), ("eval", "sample")
    ),
    "data called by a path": Attack(
        content(lambda c: c["hyper_parameters"]["facts"].update(name="../../../outside/x")),
        ("eval",),
        ("metric=[fd_classifier]", "~metric.fd_pixel.n"),
    ),
    "support of another kind": Attack(
        content(lambda c: c["hyper_parameters"]["facts"].update(support={"_target_": "x"})), ("eval", "sample")
    ),
    "a judge in the cache": Attack(
        evil_cache, ("eval",), ("metric=[fd_classifier]", "~metric.fd_pixel.n"), harmless=("eval",)
    ),
    "objects as samples": Attack(
        objects("x.npz"), ("eval",), ("samples=RUN/x.npz", "metric=[fd_pixel]")
    ),
    "objects as data": Attack(
        objects("x.npz"), ("train",), ("run=null", "dataset=npz", "dataset.file=RUN/x.npz", "trainer.max_epochs=1")
    ),
    # links
    "checkpoint a link": Attack(link("checkpoints/last.ckpt", "OUT/linked.ckpt")),
    "part a link": Attack(link("checkpoints/last.ckpt.part", "OUT/part"), ("train",)),
    "samples a link": Attack(link("samples", "OUT"), ("train",)),
    "log a link": Attack(link("train.log", "OUT/log"), ("train",)),
    "history a link": Attack(link("metrics.csv", "OUT/csv"), ("train",)),
    "holder a link": Attack(link(".holder", "OUT/holder"), ("train",)),
    "hydra a link": Attack(link(".hydra", "OUT"), ("train",)),
    "config a link": Attack(link("config.yaml", "OUT/config.yaml")),
    # tables
    "metrics.json of a run": Attack(text("metrics.json", "{x"), ("table",), ("table=runs",), harmless=("table",)),
    "config of a run": Attack(text("config.yaml", "a:\n\tb"), ("table",), ("table=runs",), harmless=("table",)),
    "overrides of a run": Attack(
        text(".hydra/overrides.yaml", "!!python/object/apply:os.system ['touch OUT/o']"), ("table",), ("table=runs",),
        harmless=("table",),
    ),
    "history of a run": Attack(text("metrics.csv", b"step,loss\n\x00\xff,x\n"), ("train",)),
}  # fmt: skip


# Running them ------------------------------------------------------------------------------------------------------


def call(verb: str, *words: str) -> tuple[int, str]:
    """A command in this process: its exit status and what it wrote to standard error."""
    out, err = io.StringIO(), io.StringIO()
    before = sys.argv
    sys.argv = [f"ebm-{verb}", *words]
    os.environ.pop("EBM_RUN_STAMP", None)
    status = 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            importlib.import_module(VERBS[verb]).main()
    except SystemExit as stop:
        status = int(stop.code or 0)
    finally:
        sys.argv = before
    return status, err.getvalue()


def prepare(folder: Path) -> Path:
    """The honest run, sampled and evaluated in ``folder``, which becomes the working directory."""
    os.chdir(folder)
    os.environ |= {"EBM_SECRET": SECRET, "WANDB_MODE": "offline", "HYDRA_FULL_ERROR": ""}
    os.environ.pop("EBM_ALLOW", None)
    status, err = call("train", *HONEST)
    assert status == 0, err
    run = next(Path("outputs/runs/honest").iterdir()).rename(folder / "run")
    for verb, words in (("eval", ("metric=[fd_pixel,fd_classifier]",)), ("sample", TAKE["sample"])):
        status, err = call(verb, f"run={run}", *words)
        assert status == 0, err
    return run


def try_one(name: str, verb: str, honest: Path) -> str | None:
    """What went wrong when a command met one attack, or None if the attack failed as it should."""
    attack, root = ATTACKS[name], honest.parent
    LAST.clear()
    outside, run = root / "outside", root / "outputs" / "runs" / "foreign" / "a"
    for folder in (outside, root / "outputs" / "runs"):
        shutil.rmtree(folder, ignore_errors=True)
    outside.mkdir()
    (outside / "secret").write_text(SECRET)
    (outside / "evil.yaml").write_text("# @package _global_\nname: evil\n")
    torch.save(Payload(), outside / "evil.pt")
    run.parent.mkdir(parents=True)
    shutil.copytree(honest, run, symlinks=True)
    attack.edit(run, outside)
    there = {path: path.stat().st_mtime_ns for path in outside.rglob("*")}
    words = [word.replace("RUN", str(run)) for word in attack.words]
    taken = [] if verb == "table" or "run=null" in words else [f"run={run}"]
    keys = {word.lstrip("~").split("=")[0] for word in words}
    with watching(root / "outputs"):
        status, err = call(
            verb, *taken, *[w for w in TAKE[verb] if w.split("=")[0] not in keys], *[w for w in words if w[0] != "~"]
        )
    if NOTED:
        return f"it came through: {'; '.join(dict.fromkeys(NOTED))}"
    if {path: path.stat().st_mtime_ns for path in outside.rglob("*")} != there:
        return "it changed files outside"
    if leaked := [
        str(p)
        for p in (root / "outputs").rglob("*")
        if SECRET in p.name or (p.is_file() and SECRET.encode() in p.read_bytes())
    ]:
        return f"it leaked into {leaked[0]}"
    refuses = verb not in attack.harmless
    if refuses != (status == 1):
        return f"status {status}, {'refusal' if refuses else 'success'} expected: {err[-300:]}"
    lines = [line for line in err.splitlines() if line.startswith(f"ebm-{verb}: ")]
    LAST["said"] = lines[0].replace(str(root), "") if lines else "went on as with the honest run"
    if refuses and (len(lines) != 1 or "Traceback" in err):
        return f"not refused in one line: {err[-300:]}"
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="each attack through one command")
    parser.add_argument("--only", help="attacks whose name contains this")
    options = parser.parse_args()
    sys.addaudithook(watch)
    with tempfile.TemporaryDirectory() as folder:
        honest = prepare(Path(folder).resolve())
        tried = failed = 0
        for name, attack in ATTACKS.items():
            if options.only and options.only not in name:
                continue
            for verb in attack.verbs[: 1 if options.short else None]:
                wrong = try_one(name, verb, honest)
                tried, failed = tried + 1, failed + bool(wrong)
                print(
                    f"{'CAME THROUGH' if wrong else 'ok'}  {name}  by ebm-{verb}  {wrong or LAST.get('said', '')}",
                    flush=True,
                )
        os.chdir("/")
    print(f"{len(ATTACKS)} attacks, {tried} tries: {failed} came through")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
