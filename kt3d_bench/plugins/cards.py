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
    protocol: One paragraph on splits and frame steps.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from kt3d_bench.errors import PluginError, did_you_mean
from kt3d_bench.geometry.foreground import RULES
from kt3d_bench.skeletons import H36M17, Quality

CARD = "card.yaml"

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Modality = Literal["rgb", "depth", "parts"]
BoxRule = Literal["joints", "mask", "detector"]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class JointRow(_Strict):
    """How one common joint is obtained."""

    joint: str
    quality: Literal["absent", "approximate", "derived", "exact"]
    note: str = ""


class Card(_Strict):
    """The fields of ``card.yaml``; see this module's docstring for an example."""

    name: Text
    title: Text
    what: Text
    modalities: tuple[Modality, ...] = Field(min_length=1)
    homepage: Text
    how_to_obtain: tuple[Text, ...] = Field(min_length=1)
    download_size: Text
    licence: Text
    redistribution: Text
    citation: Text
    joints: tuple[JointRow, ...]
    num_parts: int = Field(ge=0, le=256)
    part_mirror: tuple[int, ...] | None = None
    box_rule: BoxRule
    foreground: str = "given"
    protocol: Text

    @model_validator(mode="after")
    def _check(self) -> Card:
        names = tuple(row.joint for row in self.joints)
        if names != H36M17.joints:
            raise ValueError(f"joints must name the {len(H36M17)} common joints in order: {', '.join(H36M17.joints)}")
        if (self.num_parts > 0) != ("parts" in self.modalities):
            raise ValueError("num_parts counts the classes of the part masks and is 0 exactly when there are none")
        if self.foreground not in RULES:
            raise ValueError(f"there is no foreground rule '{self.foreground}', {did_you_mean(self.foreground, RULES)}")
        if self.part_mirror is not None:
            mirror = self.part_mirror
            if sorted(mirror) != list(range(self.num_parts)) or any(mirror[mirror[part]] != part for part in mirror):
                raise ValueError("part_mirror must exchange parts in pairs: one id per part class, background included")
        return self

    @property
    def quality(self) -> npt.NDArray[np.uint8]:
        """(17,) ``skeletons.Quality`` codes."""
        return np.array([Quality[row.quality.upper()] for row in self.joints], np.uint8)


def read_card(folder: Path) -> Card:
    """The card in a dataset plugin's folder. Raises ``PluginError`` listing every field that is missing, unknown or
    wrong."""
    path = folder / CARD
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise PluginError(
            "the dataset has no card", where=path, hint="write one, see kt3d_bench/plugins/cards.py"
        ) from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise PluginError(f"the card cannot be read ({error})", where=path) from error
    try:
        return Card.model_validate(content)
    except ValidationError as error:
        problems = "; ".join(problem_text(one) for one in error.errors())
        raise PluginError(problems, where=path, hint="see kt3d_bench/plugins/cards.py for the fields") from error


def problem_text(problem: Any) -> str:
    """One pydantic error as ``field: what is wrong``."""
    place = ".".join(str(part) for part in problem["loc"])
    return f"{place}: {problem['msg']}" if place else str(problem["msg"])
