"""The options of a config group, as Hydra finds them: which there are, and what one of them holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ebm_cli.config.errors import ConfigError

# One option is composed into this root. Options may choose among these groups in their own defaults, so it lists them.
ROOT = {"defaults": [{"recipe": None}, {"buffer": None}, "_self_"]}


def option_node(group: str, option: str, folders: Sequence[Path] = ()) -> dict:
    """An option by name, as plain values with its interpolations unresolved and its ``defaults`` followed.

    Args:
        folders: the user's own option folders, where Hydra is not running yet; it knows them once it runs.

    Raises:
        ConfigError: listing the options that there are.

    Example:
        >>> option_node("optimizer", "sgd")["_target_"]
        'torch.optim.SGD'
    """
    from hydra import compose
    from hydra.core.config_store import ConfigStore
    from hydra.errors import MissingConfigException
    from omegaconf import OmegaConf

    ConfigStore.instance().store(name="one_option", node=ROOT)
    with composing():
        try:
            cfg = compose("one_option", [f"+{group}@node={option}", *search_path(folders)])
        except MissingConfigException as error:
            known = ", ".join(options(group, folders))
            raise ConfigError(f"{group}={option}: no such option; choose one of: {known}") from error
    return OmegaConf.to_container(cfg.node) if "node" in cfg else {}


def options(group: str, folders: Sequence[Path] = ()) -> list[str]:
    """Names of a group's options, the user's own included; those with a leading _ are parts of others."""
    from hydra.core.global_hydra import GlobalHydra

    with composing():
        names = GlobalHydra.instance().config_loader().get_group_options(group, overrides=search_path(folders))
    return sorted(name for name in names if not name.startswith("_"))


@contextmanager
def composing() -> Iterator[None]:
    """Hydra ready to compose: the running one, or one over the package's options where none runs (a notebook)."""
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    if GlobalHydra.instance().is_initialized():
        yield
        return
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        yield


def search_path(folders: Sequence[Path]) -> list[str]:
    """The override by which Hydra searches folders of the user's too."""
    places = ",".join(f"'file://{Path(folder).absolute()}'" for folder in folders)
    return [f"hydra.searchpath=[{places}]"] if places else []


def conf_dir() -> Path:
    """Where the option files are: inside the package as the wheel has it, beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"
