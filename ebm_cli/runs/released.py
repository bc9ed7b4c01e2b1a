"""Released checkpoints of other code as runs of ours, by an explicit map of names: nothing is matched in silence.

A map is a YAML file, ``scripts/released/NAME.yaml``:

* ``preset``: the experiment whose config the run gets, and whose network the weights must fit entirely;
* ``weights``: key of the tensors in the file, null where the file is the mapping itself;
* ``chains``: key of a replay buffer ``(n, *shape)`` in the value range of the preset's data, or null;
* ``modules``: for each module of our network the prefix of the file's names that it takes weights from;
* ``negated``: modules of ours whose weights change sign (logits of theirs are minus energies of ours);
* ``ignored``: prefixes of names in the file that its own forward pass never reads.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from ebm_cli.config import ConfigError
from ebm_cli.config.kept import read_yaml
from ebm_cli.utils.whole import read_tensors


@dataclass
class KeyMap:
    """How the names in a file correspond to ours; see the head of this module."""

    preset: str
    modules: dict[str, str]
    weights: str | None = None
    chains: str | None = None
    negated: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)


def read_map(file: Path) -> KeyMap:
    """The map in a YAML file.

    Raises:
        ConfigError: for keys that are missing or unknown.
    """
    try:
        return KeyMap(**read_yaml(file))
    except TypeError as error:
        raise ConfigError(f"{file}: {error}; a map has {', '.join(KeyMap.__dataclass_fields__)}") from error


def read_file(file: Path, keys: KeyMap) -> tuple[dict[str, Tensor], Tensor | None]:
    """Tensors of a released file by their names, and its replay buffer or None; nothing in the file is executed.

    Raises:
        ConfigError: if the file cannot be read or lacks what the map names.
    """
    content = read_tensors(file)
    for key in (keys.weights, keys.chains):
        if key is not None and key not in content:
            raise ConfigError(f"{file}: has no {key}; it holds {', '.join(map(str, content))}")
    tensors = content if keys.weights is None else content[keys.weights]
    return tensors, None if keys.chains is None else content[keys.chains]


def translated(tensors: dict[str, Tensor], keys: KeyMap, wanted: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights for our network out of ``tensors``, every one of which must be used or ignored.

    Args:
        wanted: the network's ``state_dict()``, for its names and shapes.

    Raises:
        ConfigError: naming tensors that are missing, left over, or of another shape.
    """
    names = {name: source_of(name, keys) for name in wanted}
    refuse("lacks", [theirs for theirs in names.values() if theirs not in tensors])
    ignored = {name for name in tensors if any(within(name, prefix) for prefix in keys.ignored)}
    refuse("holds what this network has no place for:", sorted(set(tensors) - ignored - set(names.values())))
    shapes = [(theirs, tensors[theirs].shape, wanted[ours].shape) for ours, theirs in names.items()]
    refuse(
        "has other shapes:",
        [f"{name} {tuple(is_)} instead of {tuple(want)}" for name, is_, want in shapes if is_ != want],
    )
    signs = {ours: -1 if any(within(ours, prefix) for prefix in keys.negated) else 1 for ours in wanted}
    return {ours: signs[ours] * tensors[theirs].to(wanted[ours].dtype) for ours, theirs in names.items()}


def source_of(name: str, keys: KeyMap) -> str:
    """The name in the file of one of our tensors."""
    module, leaf = name.rsplit(".", 1)
    if module not in keys.modules:
        raise ConfigError(f"the map has no entry for {module} of our network")
    return f"{keys.modules[module]}.{leaf}"


def within(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(f"{prefix}.")


def refuse(what: str, names: list[str]) -> None:
    """Raises ConfigError if there are names, of which it shows the first few."""
    if names:
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        raise ConfigError(f"the file {what} {', '.join(names[:3])}{more}")
