"""A dataset's ``card.yaml``: what it is, where it comes from, on which terms, and how its joints map onto ours.

Written by people, so plain YAML with every field required unless said otherwise and unknown fields refused::

    name: mydata
    title: My Dataset
    what: One or two sentences on what was recorded.
    modalities: [depth, parts]
    homepage: https://example.org/mydata
    how_to_obtain:
      - Register at the home page.
      - Unpack mydata.tar.gz into kt3d-data/raw/mydata.
    download_size: 36 GB
    licence: What the licence or the terms of use say.
    redistribution: Whether data, crops or trained weights may be passed on.
    citation: |
      @inproceedings{...}
    joints:                       # 17 rows in the order of skeletons.H36M17
      - {joint: hip, quality: exact}
      - {joint: right_hip, quality: approximate, note: taken at the surface}
    num_parts: 44                 # part classes of the masks, background included; 0 without masks
    part_mirror: [0, 2, 1]        # part id -> id of its left-right partner, for mirroring images; may be left out
    box_rule: joints              # joints, mask or detector: what the person box comes from
    foreground: given             # how the person is found in depth images: a rule of geometry.foreground; "given", the
                                  # default, for images that hold the person alone
    misfits: [s09_greeting_2]     # sequences whose labels are known not to fit their images; may be left out
    protocol: One paragraph on splits and frame steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt

from kt3d_bench.errors import PluginError
from kt3d_bench.geometry.foreground import RULES
from kt3d_bench.plugins.hookspecs import MODALITIES
from kt3d_bench.schema import DIFFERENT, SOME, STRICT, OneOf, Text, Whole, parse, read_yaml
from kt3d_bench.skeletons import H36M17, Quality

CARD = "card.yaml"
QUALITIES = tuple(one.name.lower() for one in Quality)
BOX_RULES = ("joints", "mask", "detector")
_HINT = "see kt3d_bench/plugins/cards.py for the fields"


@dataclass(frozen=True)
class JointRow:
    """How one common joint is obtained."""

    __pydantic_config__ = STRICT
    joint: str
    quality: Annotated[str, OneOf(QUALITIES)]
    note: str = ""


@dataclass(frozen=True)
class Card:
    """The fields of ``card.yaml``; see this module's docstring for an example."""

    __pydantic_config__ = {**STRICT, "str_strip_whitespace": True}  # noqa: RUF012
    name: Text
    title: Text
    what: Text
    modalities: Annotated[tuple[Annotated[str, OneOf(MODALITIES)], ...], SOME]
    homepage: Text
    how_to_obtain: Annotated[tuple[Text, ...], SOME]
    download_size: Text
    licence: Text
    redistribution: Text
    citation: Text
    joints: tuple[JointRow, ...]
    num_parts: Annotated[int, Whole(0, 256)]
    box_rule: Annotated[str, OneOf(BOX_RULES)]
    protocol: Text
    part_mirror: tuple[Annotated[int, Whole(0, 255)], ...] | None = None
    foreground: Annotated[str, OneOf(RULES)] = "given"
    misfits: Annotated[tuple[Text, ...], DIFFERENT] = ()

    def conflicts(self) -> Iterator[str]:
        """Yield a sentence on each field that contradicts another."""
        if tuple(row.joint for row in self.joints) != H36M17.joints:
            yield f"joints must name the {len(H36M17)} common joints in order: {', '.join(H36M17.joints)}"
        if (self.num_parts > 0) != ("parts" in self.modalities):
            yield "num_parts counts the classes of the part masks and is 0 exactly when there are none"
        mirror = self.part_mirror
        if mirror is not None and (
            sorted(mirror) != list(range(self.num_parts)) or any(mirror[mirror[part]] != part for part in mirror)
        ):
            yield "part_mirror must exchange parts in pairs: one id per part class, background included"

    @property
    def quality(self) -> npt.NDArray[np.uint8]:
        """(17,) ``skeletons.Quality`` codes."""
        return np.array([Quality[row.quality.upper()] for row in self.joints], np.uint8)


def read_card(folder: Path) -> Card:
    """Read the card in a dataset plugin's folder. Raise ``PluginError`` naming every field that is missing, unknown or
    wrong."""
    path = folder / CARD
    if not path.is_file():
        raise PluginError("the dataset has no card", where=path, hint="write one, see kt3d_bench/plugins/cards.py")
    return parse(Card, read_yaml(path, error=PluginError, hint=_HINT), error=PluginError, where=path, hint=_HINT)
