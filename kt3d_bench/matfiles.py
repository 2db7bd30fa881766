"""MATLAB files of every version as ``scipy.io.loadmat`` returns them: it reads v5 to v7, and v7.3 is HDF5.

The layout of v7.3, which MATLAB does not describe: a 1 x 1 struct is a group with a node per field; a larger struct
array is a group whose fields are datasets of references, one per element; a cell array is a dataset of references; text
is UTF-16 code units. All are transposed, and an empty array holds its shape and says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kt3d_bench.budgets import require_bytes, require_dataset
from kt3d_bench.errors import RawDataError

MOST_OBJECTS = 250_000
"""Arrays that are read of a v7.3 file, each of which takes 0.15 ms. One that is referred to twice is read twice."""
_DEEPEST = 16
_HDF5 = b"\x89HDF\r\n\x1a\n"


def is_matlab_73(path: Path) -> bool:
    """Return whether a file is HDF5, perhaps behind 512 bytes of text. Raises ``OSError``."""
    with path.open("rb") as file:
        head = file.read(520)
    return head.startswith(b"MATLAB 7.3") or _HDF5 in (head[:8], head[512:])


def load_mat(path: Path, names: Sequence[str]) -> dict[str, Any]:
    """Return those of the variables ``names`` that are there: structs as structured arrays, cells as object arrays,
    texts as strings, numbers, all of at least two dimensions.

    To be called by a ``BoundedReader``, since damaged bytes can crash both libraries. Raises ``RawDataError`` for a
    v7.3 file of too many arrays, ``OverBudgetError`` for one of too many bytes, and what the libraries raise.
    """
    if not is_matlab_73(path):
        import scipy.io

        return dict(scipy.io.loadmat(path, variable_names=list(names)))
    import h5py

    with h5py.File(path) as file:
        if "#refs#" in file:
            _Read(path.name).add(len(_child(file, "#refs#")))  # refused at once, not after half a minute
        read = _Read(path.name)
        return {name: _value(file, _child(file, name), 0, read) for name in names if name in file}


def variables_of(path: Path) -> list[str]:
    """Return the names of a file's variables."""
    if not is_matlab_73(path):
        import scipy.io

        return [name for name, *_ in scipy.io.whosmat(path)]
    import h5py

    with h5py.File(path) as file:
        return [name for name in file if not name.startswith("#")]


@dataclass
class _Read:
    """What was read of the file ``name`` so far: references may repeat and nest, so its size says little."""

    name: str
    arrays: int = 0
    size: int = 0

    def add(self, arrays: int, size: int = 0) -> None:
        """Count what is about to be read. Raises ``RawDataError`` and ``OverBudgetError`` when it is too much."""
        self.arrays += arrays
        self.size += size
        require_bytes("its arrays", self.size)
        if self.arrays > MOST_OBJECTS:
            raise RawDataError(
                f"is a MATLAB v7.3 file of more than {MOST_OBJECTS:,} arrays, which would take minutes to read",
                hint=f"convert it in MATLAB: s = load('{self.name}'); save('{self.name}', '-struct', 's', '-v7')",
            )


def _child(group: Any, name: str) -> Any:
    import h5py

    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise RawDataError(f"its {name} is a link, as in no file of MATLAB's")
    return group[name]


def _value(file: Any, node: Any, depth: int, read: _Read) -> npt.NDArray[Any]:
    import h5py

    if depth > _DEEPEST:
        raise RawDataError(f"is nested more than {_DEEPEST} deep")
    if isinstance(node, h5py.Group):
        return _struct(file, node, depth, read)
    kind = node.attrs.get("MATLAB_class")
    if node.attrs.get("MATLAB_empty"):
        return np.zeros((0, 0), object if kind in (b"struct", b"cell") else np.float64)
    if node.external or node.is_virtual:
        raise RawDataError(f"its {node.name} keeps values in another file")
    require_dataset(node)
    refers = h5py.check_ref_dtype(node.dtype) is not None
    read.add(node.size if refers else 0, node.size * node.dtype.itemsize)
    values = np.asarray(node[()]).T
    if refers:
        return _objects(values.shape, (_value(file, file[one], depth + 1, read) for one in values.ravel(order="F")))
    return _texts(values) if kind == b"char" else values


def _texts(units: npt.NDArray[Any]) -> npt.NDArray[np.str_]:
    """(rows, n) UTF-16 code units -> (rows,)."""
    if units.ndim != 2 or units.dtype.kind != "u" or units.dtype.itemsize != 2:
        raise RawDataError(f"holds text as {units.dtype} {units.shape}, not as rows of UTF-16")
    try:
        return np.array([row.astype("<u2").tobytes().decode("utf-16-le") for row in units])
    except UnicodeDecodeError as error:
        raise RawDataError("holds text that is no UTF-16") from error


def _struct(file: Any, group: Any, depth: int, read: _Read) -> npt.NDArray[Any]:
    read.add(len(group))
    nodes = {name: _child(group, name) for name in group}
    fields = {name: _value(file, node, depth + 1, read) for name, node in nodes.items()}
    several = not any("MATLAB_class" in node.attrs for node in nodes.values())
    shape = next((value.shape for value in fields.values()), (1, 1)) if several else (1, 1)
    found = np.empty(shape, [(name, object) for name in fields])
    for name, value in fields.items():
        found[name] = value if several else _objects((1, 1), [value])
    return found


def _objects(shape: tuple[int, ...], values: Iterable[Any]) -> npt.NDArray[np.object_]:
    found = np.empty(int(np.prod(shape)), object)
    for number, value in enumerate(values):
        found[number] = value
    return found.reshape(shape, order="F")
