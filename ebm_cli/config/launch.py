"""From the command line to a task: Hydra composes, everything is checked, errors are one line."""

from __future__ import annotations

import os
import sys
import time
import typing
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from omegaconf import DictConfig

from ebm_cli.config import smoke
from ebm_cli.config.check import check_composed
from ebm_cli.config.errors import ConfigError
from ebm_cli.config.explain import explain
from ebm_cli.config.kept import leads_away
from ebm_cli.config.options import conf_dir
from ebm_cli.config.schema import SCHEMAS

TEACHING = {"--help", "-h", "--hydra-help", "--shell-completion", "-sc", "--version"}  # these need no run


def launch(
    verb: str,
    task: Callable,
    schema,
    choose: Callable[[list[str]], tuple[str, dict]],
    rewrite: Callable[[list[str]], list[str]] = list,
) -> None:
    """Composes a config, checks it, and runs ``task(cfg)``; the only place where Hydra starts.

    Every error becomes one line on standard error and exit status 1; HYDRA_FULL_ERROR=1 shows the stack as well.

    Args:
        verb: name of the command, in front of errors.
        task: called with the composed config.
        schema: the keys that it may have.
        choose: from the arguments to the name of the root config and the values that it inherits from a run.
        rewrite: from the arguments to those that Hydra shall see.
    """
    import hydra
    from hydra.core.config_store import ConfigStore
    from hydra.core.hydra_config import HydraConfig

    # The command line is read here and nowhere else.
    arguments = sys.argv[1:]
    wish = os.environ.get("HYDRA_FULL_ERROR")
    wants_stack = wish not in (None, "", "0")
    name_run()
    with answering(verb, wants_stack):
        refuse_name(values_in(arguments).get("name", ""))
        arguments = rewrite(arguments)
        sys.argv[1:] = arguments
        config_name, inherited = choose(arguments)

    # The run's config goes to Hydra in process; launchers that start other processes send the store along.
    for name, node in {**SCHEMAS, "inherited": inherited}.items():
        ConfigStore.instance().store(name=name, node=node, provider="ebm_cli")

    def run(cfg: DictConfig):
        swept, overrides = HydraConfig.get().mode.name != "RUN", list(HydraConfig.get().overrides.task)
        with answering(verb, wants_stack or swept, overrides, config_name, schema):
            if HydraConfig.get().runtime.choices.get("trainer") == "smoke":
                smoke.cap(cfg, conf_dir() / "smoke.yaml", overrides)
            check_composed(cfg, schema, HydraConfig.get())
            with environment("HYDRA_FULL_ERROR", wish):  # processes that the task starts see what the user set
                return task(cfg)

    given = [a for a in arguments if ("=" in a or a.startswith("~")) and not a.startswith("-")]
    with answering(verb, wants_stack, given, config_name, schema, folders_in(arguments)):
        with environment("HYDRA_FULL_ERROR", "1"):  # Hydra then hands its errors to us instead of printing them
            hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=config_name)(run)()


@contextmanager
def answering(verb: str, raises: bool, *context) -> Iterator[None]:
    """Ends the process with one line for any error, which ``explain`` writes in its ``context``; or lets it through."""
    try:
        yield
    except Exception as error:
        if raises:
            raise
        stop(verb, explain(error, *context))


def name_run() -> None:
    """Pins the name of this run's directory for this process and for the processes it starts."""
    os.environ.setdefault("EBM_RUN_STAMP", time.strftime("%Y-%m-%d_%H-%M-%S") + f"-{os.getpid()}")


def stop(verb: str, message: str) -> typing.NoReturn:
    """Prints one line and leaves with status 1."""
    sys.stderr.write(f"{verb}: {message}\n")
    sys.exit(1)


@contextmanager
def environment(name: str, value: str | None) -> Iterator[None]:
    """An environment variable set for a while; None is unset."""
    before = os.environ.get(name)
    set_variable(name, value)
    try:
        yield
    finally:
        set_variable(name, before)


def set_variable(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


def refuse_name(name: str) -> None:
    """Raises ConfigError for a name that is no folder below outputs/, before Hydra makes one of it."""
    if leads_away(name.strip("'\"")):
        raise ConfigError(f"name={name}: a run's name is a folder below outputs/; take one without .. or a root")


# What the arguments say before Hydra reads them --------------------------------------------------------------------


def values_in(arguments: Iterable[str]) -> dict[str, str]:
    """The values of the ``key=value`` arguments."""
    return dict(a.split("=", 1) for a in arguments if "=" in a and not a.startswith("-"))


def is_place(value: str) -> bool:
    """Whether a value of ``dataset=`` is a path and not the name of an option."""
    return "/" in value or "." in value or Path(value.strip("'\"")).expanduser().is_dir()


def folders_in(arguments: list[str]) -> list[Path]:
    """The user's own option folders: ``--config-dir PATH`` or ``-cd PATH``."""
    pairs = zip(arguments, [*arguments[1:], ""], strict=True)
    apart = [after for flag, after in pairs if flag in ("--config-dir", "-cd")]
    return [Path(p) for p in [*apart, *(a.split("=", 1)[1] for a in arguments if a.startswith("--config-dir="))]]
