"""What is in a file of somebody's data: read, checked, brought to one form, and said in plain words.

The command line looks at a file before Hydra composes a config, to choose a recipe.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ebm_cli.config import ConfigError
from ebm_cli.utils.whole import read_arrays

LABELS = ("y", "label", "labels", "class", "target")  # names of arrays and columns of labels
SAMPLES = ("samples", "x", "X", "data", "images")  # names of arrays of examples
SERIES = 16  # vectors of at least so many entries that vary smoothly are drawn as lines


@dataclass
class Found:
    """Data as they were found.

    Attributes:
        x: examples ``(N, *shape)``, uint8 grey levels or float32.
        y: labels ``(N,)`` from 0, or None.
        class_names: what the labels were called, or None.
        columns: names of the columns of a table, or None.
        kind: ``number`` (one number per example), ``vectors``, ``series``, ``binary``, ``images``, ``clips`` or
            ``volumes``.
        notes: what was done to the data, in words.
    """

    x: np.ndarray
    y: np.ndarray | None = None
    class_names: list[str] | None = None
    columns: list[str] | None = None
    kind: str = "vectors"
    notes: list[str] = field(default_factory=list)

    def describe(self) -> str:
        """One line: how many, of what kind, and what was done to them."""
        shape = "x".join(map(str, self.x.shape[1:]))
        classes = f", {int(self.y.max()) + 1} classes" if self.y is not None else ""
        done = f"; {'; '.join(self.notes)}" if self.notes else ""
        return f"{len(self.x)} {self.kind} of {shape}{classes}{done}"


def inspect(file: Path) -> Found:
    """The data in an .npz, .npy, .csv or .parquet file.

    Raises:
        ConfigError: naming the file, and what in it cannot be data and why.
    """
    if file.suffix in (".csv", ".parquet"):
        found = read_table(file)
    else:
        arrays = read_arrays(file)
        key = next((key for key in SAMPLES if key in arrays), None)
        if key is None:
            raise ConfigError(f"{file}: holds {', '.join(arrays) or 'nothing'}; call the examples samples or x")
        label = next((name for name in LABELS if name in arrays), None)
        found = Found(arrays[key], None if label is None else arrays[label])
    arrange(found, file)
    if found.y is not None:
        check_labels(found, file)
    return found


# Examples ------------------------------------------------------------------------------------------------------------


def arrange(found: Found, file: Path) -> None:
    """Checks type and finiteness of the examples, and brings them to ``(N, *shape)``, channels first."""
    x = found.x
    if x.dtype.kind not in "fiub":
        what = {"c": "complex numbers", "O": "Python objects", "U": "text", "S": "text"}.get(x.dtype.kind, str(x.dtype))
        raise ConfigError(f"{file}: the examples are {what}; give numbers: uint8 for grey levels, else float32")
    if x.ndim == 0 or len(x) < 2:
        number = len(x) if x.ndim else 1
        raise ConfigError(f"{file}: holds {number} example{'s' if number != 1 else ''}; training needs more than one")
    if x.dtype.kind == "f":
        refuse_not_finite(x, file)
    if x.ndim == 1:
        x = x[:, None]
    pixels = looks_like_pixels(x)
    if pixels and x.ndim == 3:
        x = x[:, None]
        found.notes.append("a channel axis was added")
    elif pixels and x.ndim == 4 and x.shape[-1] in (1, 3, 4) and x.shape[1] not in (1, 3):
        x = np.ascontiguousarray(np.moveaxis(x, -1, 1))
        found.notes.append("channels stood last")
    if pixels and x.ndim == 4 and x.shape[1] == 4:
        x = on_white(x)
        found.notes.append("transparency was put on white")
    found.x = to_levels(x, found, pixels)
    found.kind = kind_of(found.x, pixels)


def refuse_not_finite(x: np.ndarray, file: Path) -> None:
    bad = ~np.isfinite(x.reshape(len(x), -1))
    rows = np.flatnonzero(bad.any(1))
    if len(rows):
        what = f"{int(bad.sum())} value{'s' if bad.sum() > 1 else ''} in {len(rows)} of {len(x)} examples"
        raise ConfigError(f"{file}: {what} not finite, the first in example {rows[0]}; fill them in or drop the rows")


def looks_like_pixels(x: np.ndarray) -> bool:
    """Whether examples are pictures of some kind: two axes or more, or grey levels in a channel axis of 1, 3 or 4."""
    if x.ndim < 3:
        return False
    return x.ndim >= 4 or (min(x.shape[1:]) >= 4 and (x.dtype.kind in "uib" or 0 <= x.min() and x.max() <= 255))


def on_white(x: np.ndarray) -> np.ndarray:
    """Three channels of images with a fourth one for opacity, over white."""
    top = np.iinfo(x.dtype).max if x.dtype.kind in "ui" else 1.0
    opacity = x[:, 3:].astype(np.float64) / top
    return (x[:, :3] * opacity + top * (1 - opacity)).round(0 if x.dtype.kind in "ui" else 9).astype(x.dtype)


def to_levels(x: np.ndarray, found: Found, pixels: bool) -> np.ndarray:
    """uint8 for what are grey levels, else float32."""
    if x.dtype.kind == "b":
        return x.astype(np.uint8) * 255 if pixels else x.astype(np.float32)
    if not pixels or x.dtype == np.uint8:
        return x if x.dtype == np.uint8 and pixels else x.astype(np.float32)
    if x.dtype.kind in "ui" and x.min() >= 0:
        if x.max() <= 255:
            return x.astype(np.uint8)
        bits = max(9, int(x.max()).bit_length())
        found.notes.append(f"{bits}-bit levels were scaled to [0, 1]")
        return (x / (2**bits - 1)).astype(np.float32)
    if x.max() > 1.5 and x.min() >= 0 and x.max() <= 255 and np.array_equal(x, x.round()):
        found.notes.append("whole numbers up to 255 were taken as grey levels")
        return x.astype(np.uint8)
    return x.astype(np.float32)


def kind_of(x: np.ndarray, pixels: bool) -> str:
    if x.shape[1:] == (1,):
        return "number"
    if not pixels:
        if x.ndim == 2 and np.isin(x, (0.0, 1.0)).all():
            return "binary"
        return "series" if x.ndim == 2 and x.shape[1] >= SERIES and is_smooth(x) else "vectors"
    if x.ndim == 5:
        return "clips" if x.shape[1] in (1, 3) and x.shape[2] != x.shape[3] else "volumes"
    return "images"


def is_smooth(x: np.ndarray) -> bool:
    """Whether neighbors along an example resemble each other: differences are half as large as deviations, or less."""
    spread = x.std(0).mean()
    return bool(np.abs(np.diff(x, axis=1)).mean() < 0.8 * spread) if spread > 0 else False


# Tables --------------------------------------------------------------------------------------------------------------


def read_table(file: Path) -> Found:
    """The columns of a .csv or .parquet file: numbers as they are, text one-hot, one called y or label as labels."""
    names, columns = read_parquet(file) if file.suffix == ".parquet" else read_csv(file)
    kept, called, y, notes = [], [], None, []
    for name, column in zip(names, columns, strict=True):
        numbers = as_numbers(column)
        if name.lower() in LABELS:
            y = column if numbers is None else numbers
        elif numbers is None:
            values = sorted(set(column))
            if len(values) > 50:
                raise ConfigError(f"{file}: column {name} holds {len(values)} different texts; drop it, or code it")
            kept += [(column == value).astype(np.float32) for value in values]
            called += [f"{name}={value}" for value in values]
            notes.append(f"{name} became {len(values)} columns of 0 and 1")
        else:
            kept.append(numbers)
            called.append(name)
    if not kept:
        raise ConfigError(f"{file}: has no column of numbers")
    return Found(np.stack(kept, 1), y, columns=called, notes=notes)


def read_csv(file: Path) -> tuple[list[str], list[np.ndarray]]:
    try:
        with file.open(newline="", encoding="utf-8-sig") as lines:
            rows = [row for row in csv.reader(lines) if row]
    except FileNotFoundError as error:
        raise ConfigError(f"{file}: no such file") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{file}: not readable as a table of text in UTF-8") from error
    if not rows:
        raise ConfigError(f"{file}: is empty")
    head = [] if as_numbers(np.array(rows[0])) is not None else rows.pop(0)
    names = head or [f"column {k}" for k in range(len(rows[0]))]
    odd = next((k for k, row in enumerate(rows) if len(row) != len(names)), None)
    if odd is not None:
        line = odd + 1 + bool(head)
        raise ConfigError(f"{file}: line {line} has {len(rows[odd])} entries, and there are {len(names)} columns")
    return names, [np.array(column) for column in zip(*rows, strict=True)]


def read_parquet(file: Path) -> tuple[list[str], list[np.ndarray]]:
    try:
        import pandas
    except ImportError as error:
        raise ConfigError(f"{file}: needs the packages pandas and pyarrow; or save it as .csv") from error
    try:
        frame = pandas.read_parquet(file)
    except Exception as error:
        raise ConfigError(f"{file}: not readable as parquet") from error
    columns = [frame[name] for name in frame]
    return [str(n) for n in frame], [(c if c.dtype.kind in "fiub" else c.astype(str)).to_numpy() for c in columns]


def as_numbers(column: np.ndarray) -> np.ndarray | None:
    """A column as float64, empty cells as NaN; None if it holds text."""
    if column.dtype.kind in "fiub":
        return column.astype(np.float64)
    try:
        return np.array([float(cell) if cell.strip() else np.nan for cell in column])
    except ValueError:
        return None


# Labels --------------------------------------------------------------------------------------------------------------


def check_labels(found: Found, file: Path) -> None:
    """Brings labels to whole numbers from 0, and keeps what they were called."""
    y = found.y
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim == 2 and np.isin(y, (0, 1)).all() and (y.sum(1) == 1).all():
        y = y.argmax(1)
        found.notes.append("labels were one-hot")
    if y.ndim != 1 or len(y) != len(found.x):
        raise ConfigError(f"{file}: labels of shape {tuple(y.shape)} for {len(found.x)} examples; give one for each")
    if y.dtype.kind in "fiub":
        if y.dtype.kind == "f" and not np.array_equal(y, y.round()):
            odd = y[~(y == y.round())][0]
            raise ConfigError(f"{file}: labels must be whole numbers or text, and there is {odd:g}")
        if y.min() < 0:
            raise ConfigError(
                f"{file}: labels below 0, the first {int(y[y < 0][0])}; number classes from 0, or name them"
            )
        y = y.astype(np.int64)
    elif y.dtype.kind not in "US":
        raise ConfigError(f"{file}: labels must be whole numbers or text")
    values, index = np.unique(y, return_inverse=True)
    if y.dtype.kind in "US" or not np.array_equal(values, np.arange(len(values))):
        found.class_names = [str(value) for value in values]
        if y.dtype.kind not in "US":
            found.notes.append(f"classes {', '.join(found.class_names[:5])} were numbered from 0")
    found.y = index.astype(np.int64)
