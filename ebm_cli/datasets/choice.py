"""The options that suit somebody's data, chosen by what a file or folder holds, before Hydra composes a config."""

from __future__ import annotations

from pathlib import Path

from ebm_cli.config import ConfigError
from ebm_cli.config.launch import is_place, values_in

SIDE = 16  # of images that a convolutional network is taken for, at least
LARGEST = 32  # side to which the images of a folder are resized, at most
LOOKED_AT = 20  # images of a folder that decide


def choose_options(arguments: list[str]) -> list[str]:
    """The arguments with ``dataset=PATH`` spelled out, and with recipe, network and value range by kind of data.

    What the command line gives is left as it is; a preset (``experiment=``) decides all but the path.

    Raises:
        ConfigError: for a path that holds no data.

    Example:
        >>> choose_options(["dataset=digits", "seed=1"])
        ['dataset=digits', 'seed=1']
    """
    arguments = spell_out(arguments)
    given = values_in(arguments)
    group, file = given.get("dataset"), given.get("dataset.file")
    root = given.get("dataset.root")
    if "experiment" in given or {"npz": file, "folder": root}.get(group) is None:
        return arguments
    place = Path((file if group == "npz" else root).strip("'\"")).expanduser()
    chosen = options_for_file(place) if group == "npz" else options_for_folder(place)
    added = [f"{key}={value}" for key, value in chosen.items() if key not in given]
    if added:
        print(f"chosen for these data: {' '.join(added)}")
    return [*arguments, *added]


def spell_out(arguments: list[str]) -> list[str]:
    """``dataset=PATH`` as the option for files or for folders, and its key."""
    found = []
    for argument in arguments:
        key, _, value = argument.partition("=")
        place = Path(value.strip("'\"")).expanduser() if key == "dataset" and value else None
        if place is None or not is_place(value):
            found.append(argument)
        elif place.is_dir():
            found += ["dataset=folder", f"dataset.root={place}"]
        elif place.is_file():
            found += ["dataset=npz", f"dataset.file={place}"]
        else:
            raise ConfigError(f"dataset={value}: no such file or folder, and no option of this name")
    return found


def options_for_file(file: Path) -> dict[str, str]:
    """Options for the data in a file."""
    from ebm_cli.datasets.inspection import inspect

    if not file.is_file():
        return {}  # the data set itself says so
    found = inspect(file)
    if found.kind == "images":
        return options_for_images(found.x.shape[1], min(found.x.shape[2:]))
    if found.kind in ("clips", "volumes"):
        return {"recipe": "rendered", "model": "convnet3d", "dataset.value_range": "[-1,1]"}
    # a Langevin step of the recipe (.005) must stay below the narrowest direction of the base: .1^2 = .01
    options = {"recipe": "vectors", "base": "full_gaussian", "base.floor": "0.1", "objective": "nce"}
    return options | {"threads": "1", "trainer.max_epochs": "10"}


def options_for_images(channels: int, side: int) -> dict[str, str]:
    """Options for images of some channels and pixels."""
    options = {"dataset.value_range": "[-1,1]", "dataset.noise_std": "0.05", "dataset.dequantize": "false"}
    if side < SIDE:
        return {"recipe": "grey8", **options}
    return {"recipe": "grey28" if channels == 1 else "patches", "model": "convnet", **options}


def options_for_folder(root: Path) -> dict[str, str]:
    """Options for a folder of images, by the first of them: grey or color, and a side of at most 32 pixels."""
    from PIL import Image

    from ebm_cli.datasets.folder import images_below, read_image

    sizes, grey = [], True
    for path in images_below(root)[:LOOKED_AT]:
        try:
            picture = read_image(root / path, "RGB")
        except ConfigError:  # the data set itself names it
            continue
        sizes.append(min(picture.size))
        bands = picture.resize((8, 8), Image.Resampling.BILINEAR).split()
        grey = grey and bands[0].tobytes() == bands[1].tobytes() == bands[2].tobytes()
    side = min([LARGEST, *sizes])
    channels = 1 if grey and sizes else 3
    own = {"dataset.channels": str(channels), "dataset.size": str(side), "dataset.workers": "0"}
    return options_for_images(channels, side) | own
