"""MATLAB v7.3 files as MATLAB writes them, from what ``scipy.io.loadmat`` returns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np


def write_mat73(path: Path, variables: dict[str, Any]) -> None:
    """Write structured arrays as structs, object arrays as cells, strings as text and numbers as they are."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, value in variables.items():
            _write(file, file, name, value)
    with path.open("r+b") as block:
        block.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64, Created on: Mon Jan  1 00:00:00 2024 HDF5 schema 1.00 .")


def _write(file: h5py.File, place: h5py.Group, name: str, value: Any) -> None:
    value = np.atleast_2d(value)
    names = value.dtype.names or ()
    kind = "struct" if names else {"U": "char", "O": "cell", "f": "double"}.get(value.dtype.kind, value.dtype.name)
    if value.size == 0:
        node = place.create_dataset(name, data=np.array(value.shape, np.uint64))
        node.attrs["MATLAB_empty"] = np.uint8(1)
    elif names:
        node = place.create_group(name)
        for field in names:
            if value.size == 1:
                _write(file, node, field, value.item(0)[names.index(field)])
            else:
                _references(file, node, field, value[field])
    elif kind == "cell":
        node = _references(file, place, name, value)
    elif kind == "char":
        units = np.array([[ord(one) for one in row] for row in value.ravel()], np.uint16)
        node = place.create_dataset(name, data=units.T)
    else:
        node = place.create_dataset(name, data=value.T)
    node.attrs["MATLAB_class"] = np.bytes_(kind)


def _references(file: h5py.File, place: h5py.Group, name: str, value: Any) -> h5py.Dataset:
    refs = file.require_group("#refs#")
    found = np.empty(value.T.shape, h5py.ref_dtype)
    for at in np.ndindex(found.shape):
        own = f"r{len(refs)}"
        _write(file, refs, own, value[at[::-1]])
        found[at] = refs[own].ref
    return place.create_dataset(name, data=found, dtype=h5py.ref_dtype)
