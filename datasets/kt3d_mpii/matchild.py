"""The child process that reads the annotation file: ``python -m kt3d_mpii.matchild FILE.mat OUT.npz MEMORY_BYTES``.

``scipy.io.loadmat`` is not hardened: damaged bytes can end the interpreter, loop, or ask for any amount of memory. So
it runs here, under limits, and hands back plain arrays. Exit status 3 means that the file is not MPII's; the
sentence is on standard output.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

NUM_JOINTS = 16
NOT_MPII = 3


class StructureError(Exception):
    """The file is a .mat file, but not MPII's."""


def records(value: Any) -> Iterator[Any]:
    """The elements of a struct array of any shape, or of a cell array of structs; none for anything else."""
    if isinstance(value, np.ndarray) and value.dtype.names:
        yield from value.ravel(order="F")
    elif isinstance(value, np.ndarray) and value.dtype == object:
        for item in value.ravel(order="F"):
            yield from records(item)


def field(record: Any, name: str) -> Any:
    """A field of a struct element, ``None`` when this element's struct has no such field."""
    return record[name] if record is not None and name in (record.dtype.names or ()) else None


def number(value: Any) -> float:
    """A number stored as number, character or 1 x 1 cell; NaN when absent, empty or anything else."""
    if isinstance(value, np.ndarray):
        return number(value.ravel()[0]) if value.size == 1 else float("nan")
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


def text(value: Any) -> str:
    """A char array (or cell holding one) as ``str``; empty when absent."""
    while isinstance(value, np.ndarray) and value.size == 1:
        value = value.ravel()[0]
    return str(value) if isinstance(value, str) else ""


def person(record: Any) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int8]]:
    """(16, 2) joints in 1-based px as annotated, NaN = not annotated; (16,) visibility, -1 = not known."""
    joints, visible = np.full((NUM_JOINTS, 2), np.nan), np.full(NUM_JOINTS, -1, np.int8)
    for container in records(field(record, "annopoints")):
        for point in records(field(container, "point")):
            joint = number(field(point, "id"))
            x, y = number(field(point, "x")), number(field(point, "y"))
            if joint not in range(NUM_JOINTS) or not (np.isfinite(x) and np.isfinite(y)):
                continue
            joints[int(joint)] = x, y
            seen = number(field(point, "is_visible"))
            visible[int(joint)] = int(seen) if seen in (0, 1) else -1
    return joints, visible


def read(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Flat arrays: one row per image (I of them), one per person with the image's row in ``person_image``."""
    import scipy.io

    variables = scipy.io.loadmat(path, variable_names=["RELEASE"])
    releases = list(records(variables.get("RELEASE")))
    release = releases[0] if releases else None
    images = list(records(field(release, "annolist")))
    train = field(release, "img_train")
    if release is None or not images or not isinstance(train, np.ndarray):
        raise StructureError("expected a struct RELEASE with annolist and img_train")
    if train.size != len(images):
        raise StructureError(f"annolist has {len(images)} images, img_train {train.size}")
    activities = list(records(field(release, "act")))
    names, videos, seconds, actions = [], [], [], []
    rows, persons, joints, visible = [], [], [], []
    for row, image in enumerate(images):
        picture = next(records(field(image, "image")), None)
        names.append(text(field(picture, "name")))
        videos.append(number(field(image, "vidx")))
        seconds.append(number(field(image, "frame_sec")))
        activity = activities[row] if len(activities) == len(images) else None
        labelled = number(field(activity, "act_id")) >= 0
        actions.append(text(field(activity, "cat_name")) if labelled else "")
        for index, rectangle in enumerate(records(field(image, "annorect"))):
            points, seen = person(rectangle)
            rows.append(row)
            persons.append(index)
            joints.append(points)
            visible.append(seen)
    return {
        "name": np.array(names, np.str_),
        "train": train.ravel(order="F").astype(np.int64) == 1,
        "video": np.array(videos),
        "second": np.array(seconds),
        "action": np.array(actions, np.str_),
        "person_image": np.array(rows, np.int64),
        "person": np.array(persons, np.int64),
        "joints": np.array(joints, np.float64).reshape(-1, NUM_JOINTS, 2),
        "visible": np.array(visible, np.int8).reshape(-1, NUM_JOINTS),
    }


def _limit_memory(limit_bytes: int) -> None:
    try:
        import resource
    except ImportError:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if hard == resource.RLIM_INFINITY or limit_bytes < hard:
        resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, hard))


def main(source: str, target: str, memory_bytes: str) -> int:
    _limit_memory(int(memory_bytes))
    try:
        found = read(Path(source))
    except StructureError as error:
        sys.stdout.write(str(error))
        return NOT_MPII
    with Path(target).open("wb") as file:
        np.savez(file, allow_pickle=False, **found)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
