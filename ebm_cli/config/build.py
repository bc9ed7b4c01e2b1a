"""From a config node to the object that it describes: the one ``build``, and the checks of its keywords."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import inspect
import json
import os
import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence

from omegaconf import OmegaConf

from ebm_cli.config.bounds import out_of_bounds
from ebm_cli.config.errors import ConfigError, one_line, unknown
from ebm_cli.config.schema import BUILDS

ALLOWED = ("ebm_cli", "torch.nn", "torch.optim", "torchvision.transforms", "pytorch_lightning")

SUPPLIED = (  # keywords that the program fills in
    "shape", "support", "n_classes", "joint", "seed", "params", "directory", "save_dir",
)  # fmt: skip


COLLECTIONS = (list, tuple, dict, Sequence, Mapping)
VALUES = (int, float, bool, str)  # what a config can hold beside lists and mappings


def build(node, path: str = "", kind: type | tuple[type, ...] | None = None, **supplied):
    """Instantiates a config node: its ``_target_`` called with its keys, nested nodes first.

    Only classes are built, and only those that derive from what their place takes: an option of ``conf/sampler`` a
    ``Sampler``, a nested node what the annotation of its keyword says, or a torch module where there is none.

    Args:
        node: a mapping with ``_target_``; lists and nested mappings are built inside out, other values stay.
        path: where the node stands in the config, for messages; its first part is the group.
        kind: the class that the result derives from; None is that of the group.
        supplied: keywords that the program knows (shape, support, ...), passed where the class takes them.

    Raises:
        ConfigError: for a target outside the allowed packages or of another kind, an unknown or ill-typed key, or a
            value that the class refuses.

    Example:
        >>> build({"_target_": "ebm_cli.training.schedule.Schedule", "warmup_steps": 3}, "schedule").warmup_steps
        3
    """
    values = plain(node)
    target = resolve(values.pop("_target_", None), path, kind)
    check_keywords(target, values, path)
    kinds = nested_kinds(target)
    keywords = {key: build_value(value, f"{path}.{key}", kinds.get(key), supplied) for key, value in values.items()}
    takes, _ = collect_parameters(target)
    keywords |= {k: v for k, v in supplied.items() if k in takes and k not in keywords}
    try:
        return target(**keywords)
    except (TypeError, ValueError, AssertionError) as error:
        raise ConfigError(f"{path}: {one_line(error)}") from error


def build_value(value, path: str, kind, supplied: dict):
    """A nested value: nodes with ``_target_`` are built, mappings and lists are walked, the rest stays."""
    if isinstance(value, dict):
        if "_target_" in value:
            return build(value, path, kind or default_kind(), **supplied)
        return {k: build_value(v, f"{path}.{k}", kind, supplied) for k, v in value.items()}
    if isinstance(value, list):
        return [build_value(v, f"{path}[{i}]", kind, supplied) for i, v in enumerate(value)]
    return value


def group_kind(path: str) -> type | None:
    """What the options of the group that a path starts with build; None for a path of no group."""
    name = BUILDS.get(re.split(r"[.=\[]", path, maxsplit=1)[0])
    return None if name is None else locate(name)


def default_kind() -> type:
    """What a nested node builds where its keyword has no annotation, as in torch's own modules."""
    return locate("torch.nn.Module")


def nested_kinds(target) -> dict[str, tuple[type, ...]]:
    """The classes that the annotations of a class name, by keyword: what nodes inside its node may build."""
    found = {name: tuple(classes_in(hint)) for name, hint in collect_annotations(target).items()}
    return {name: kinds for name, kinds in found.items() if kinds}


def classes_in(hint) -> Iterator[type]:
    """The classes of an annotation that a node could build: all but numbers, text and collections."""
    if inspect.isclass(hint) and not is_plain(hint) and hint not in (object, list, dict, tuple, Sequence, Mapping):
        yield hint
    if typing.get_origin(hint) is Callable:
        yield Callable
        return
    for part in typing.get_args(hint):
        yield from classes_in(part)


def plain(node) -> dict:
    """A config node as plain, resolved dicts and lists."""
    values = OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else dict(node)
    return dict(values)


def allowed_packages() -> tuple[str, ...]:
    """Packages whose classes a config may name: ours, and those that EBM_ALLOW lists, separated by commas."""
    extra = [p.strip() for p in os.environ.get("EBM_ALLOW", "").split(",") if p.strip()]
    return ALLOWED + tuple(extra)


def resolve(target: str | None, path: str, kind: type | tuple[type, ...] | None = None) -> type:
    """The class called ``target``, if an allowed package defines it and it is of the kind that its place takes.

    The name alone is not enough (``torch.nn.os.system``): the module that defines the class counts too.

    Raises:
        ConfigError: naming the target and what is allowed.
    """
    if not isinstance(target, str):
        raise ConfigError(f"{path}._target_: missing; name the class to build")
    package = target.split(".")[0]
    if within(target, allowed_packages()) and importlib.util.find_spec(package) is None:
        raise ConfigError(f"{path}._target_={target}: there is no package {package}; put its folder on PYTHONPATH")
    private = any(part.startswith("_") for part in target.split("."))
    found = locate(target) if within(target, allowed_packages()) and not private else None
    home = getattr(found, "__module__", None)
    if not inspect.isclass(found) or not within(f"{home}.", allowed_packages()):
        packages = ", ".join(allowed_packages())
        raise ConfigError(
            f"{path}._target_={target}: not a class of {packages} (allow your own package with EBM_ALLOW=package)"
        )
    wanted = kind or group_kind(path)
    if wanted is not None and not issubclass(found, wanted):
        names = " or ".join(k.__name__ for k in (wanted if isinstance(wanted, tuple) else (wanted,)))
        raise ConfigError(f"{path}._target_={target}: this place takes a subclass of {names}")
    return found


def within(name: str, packages) -> bool:
    return any(name.startswith(f"{package}.") for package in packages)


def locate(name: str):
    """The object at a dotted name, or None; imports modules on the way, and nothing else."""
    parts = name.split(".")
    for split in range(len(parts) - 1, 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:split]))
        except ModuleNotFoundError as error:
            if error.name and ".".join(parts[:split]).startswith(error.name):
                continue
            raise ConfigError(f"{name}: needs the package {error.name}, which is not installed") from error
        except Exception as error:
            raise ConfigError(f"{name}: cannot be imported ({type(error).__name__}: {one_line(error)})") from error
        for part in parts[split:]:
            found = getattr(found, part, None)
        return found
    return None


def collect_parameters(target) -> tuple[dict[str, inspect.Parameter], bool]:
    """Keywords of what a node builds, and whether those are all that it takes.

    A constructor that ends in ``**supplied`` hands the rest on to its parent, whose keywords are then among them.
    """
    signature = inspect.signature(target).parameters
    rest = next((p.name for p in signature.values() if p.kind is p.VAR_KEYWORD), None)
    if rest != "supplied" or not inspect.isclass(target):
        return dict(signature), rest is None
    found = {}
    for kind in target.__mro__:
        if "__init__" not in vars(kind):
            continue
        _, *own = inspect.signature(kind.__init__).parameters.values()
        found = {p.name: p for p in own if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)} | found
        if not any(p.kind is p.VAR_KEYWORD and p.name == "supplied" for p in own):
            break
    return found, True


def check_keywords(target, values: dict, path: str) -> None:
    """Raises ConfigError for keys that ``target`` does not take, or values that its annotations exclude."""
    parameters, complete = collect_parameters(target)
    for key in values:
        if complete and key not in parameters:
            raise ConfigError(unknown(f"{path}.{key}", [p for p in parameters if p not in SUPPLIED]))
    hints = collect_annotations(target)
    for key, value in values.items():
        if key in hints and (wrong := mismatch(value, hints[key])):
            raise ConfigError(f"{path}.{key}={shown(value)}: {wrong}")
        if key not in SUPPLIED and (wrong := out_of_bounds(key, value)):
            raise ConfigError(f"{path}.{key}={shown(value)}: {wrong}")


def collect_annotations(target) -> dict:
    """Annotations of the keywords; those of a dataclass are its fields', whichever module a parent stands in."""
    if dataclasses.is_dataclass(target):
        sources = [target]
    else:
        sources = [k.__init__ for k in reversed(target.__mro__)] if inspect.isclass(target) else [target]
    try:
        return {name: hint for source in sources for name, hint in typing.get_type_hints(source).items()}
    except (NameError, TypeError, AttributeError):  # torch's own classes carry hints that only type checkers resolve
        return {}


def mismatch(value, hint) -> str | None:
    """What an annotation wanted instead of a value, or None; only numbers, text, and lists of those are checked."""
    import pydantic

    if not is_plain(hint):
        # of an annotation such as float | Tensor | Callable a config can hold the plain parts
        arguments = typing.get_args(hint)
        parts = [part for part in arguments if is_plain(part)]
        holds_many = any(typing.get_origin(part) in COLLECTIONS or part in COLLECTIONS for part in arguments)
        node = isinstance(value, dict) and "_target_" in value
        many = isinstance(value, list | dict)
        if (
            not set(parts) - {type(None)}
            or node
            or (many and holds_many)
            or not (value is None or many or isinstance(value, VALUES))
        ):
            return None
        hint = typing.Union[tuple(parts)]  # noqa: UP007
    try:  # as JSON: an integer serves as a float and a list as a tuple, but true is no number and "3" no integer
        pydantic.TypeAdapter(hint).validate_json(json.dumps(value), strict=True)
    except pydantic.ValidationError as error:
        return describe(error.errors(include_url=False), nullable=type(None) in typing.get_args(hint))
    except TypeError:  # no value of a config: an object that a caller from Python passes
        return None
    return None


def shown(value) -> str:
    """A value as the command line spells it."""
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)


def describe(errors: list[dict], nullable: bool) -> str:
    """Pydantic's findings as one phrase: ``expected an integer or null, got str``."""
    prefix = "Input should be "
    wanted = [e["msg"].removeprefix(prefix) for e in errors if e["msg"].startswith(prefix)]
    if not wanted:
        return errors[0]["msg"]
    wanted = [w.replace("a valid ", "an " if w.startswith(("a valid i", "a valid a")) else "a ") for w in wanted]
    choices = dict.fromkeys([*wanted, "null"] if nullable else wanted)
    found = type(errors[0]["input"]).__name__
    return f"expected {' or '.join(choices)}, got {'null' if found == 'NoneType' else found}"


def is_plain(hint) -> bool:
    """Whether an annotation is made of what YAML can hold: numbers, text, booleans, null, and collections of them."""
    origin = typing.get_origin(hint)
    if origin is typing.Literal:
        return True
    if origin in (typing.Union, types.UnionType, *COLLECTIONS):
        return all(is_plain(part) for part in typing.get_args(hint) if part is not Ellipsis)
    return hint in (int, float, bool, str, type(None))
