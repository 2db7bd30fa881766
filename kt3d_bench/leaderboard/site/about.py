"""What pages say beyond their entries: datasets with their terms and citations, methods, and where to read more."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated

from markupsafe import Markup, escape
from pydantic import Field, RootModel

from kt3d_bench.budgets import read_whole
from kt3d_bench.errors import ArtefactError
from kt3d_bench.leaderboard.ranking import RankedGroup, Row
from kt3d_bench.leaderboard.wording import supervision_name
from kt3d_bench.metrics.benchmarks import Benchmark
from kt3d_bench.metrics.functional import METRICS
from kt3d_bench.plugins import registry
from kt3d_bench.plugins.cards import Card
from kt3d_bench.plugins.hookspecs import MethodPlugin

STRIP = "strip.png"
PARAMETERS = "parameters.json"
"""In the documentation: method -> preset -> trained parameters."""
PICTURE = "picture.png"
"""Beside a dataset's card: generated people in its layout, never the dataset itself."""
_READS = {"rgb": "RGB image", "depth": "depth image"}
BIBTEX = """@software{kt3d_bench,
  title = {kt3d\\_bench: Datasets, methods and one benchmark harness for 3D human pose estimation across domains},
  author = {{The kt3d\\_bench contributors}},
  year = {2026}
}"""


@dataclass(frozen=True)
class About:
    """What is installed, and which pages of the documentation lie in ``docs/`` below the boards' index."""

    cards: Mapping[str, Card] = field(default_factory=dict)
    folders: Mapping[str, Path] = field(default_factory=dict)
    """Dataset -> the folder of its plugin."""
    methods: Mapping[str, MethodPlugin] = field(default_factory=dict)
    parameters: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Method -> preset -> trained parameters; empty without the documentation, which counts them."""
    docs: frozenset[str] = frozenset()
    url: str = ""
    """Where the pages will be published; "" = not known, and previews have no picture."""

    def page(self, name: str) -> str:
        """Return the address of a page of the documentation from the index, "" where it is not there."""
        return f"docs/{name}" if name in self.docs else ""

    def dataset_page(self, name: str) -> str:
        folder = self.folders.get(name)
        return "" if folder is None else self.page(f"datasets/{folder.name.removeprefix('kt3d_')}.html")

    def method_page(self, name: str) -> str:
        method = self.methods.get(name)
        package = "" if method is None else method.load.partition(".")[0]
        return self.page(f"methods/{package.removeprefix('kt3d_')}.html")


def installed(html: Path, url: str = "") -> About:
    """Return what is installed, with the documentation that lies in ``html/docs``."""
    docs = Path(html) / "docs"
    return About(
        cards={name: registry.card(name) for name in registry.datasets()},
        folders={name: plugin.folder for name, plugin in registry.datasets().items()},
        methods=registry.methods(),
        parameters=_parameters(docs / PARAMETERS),
        docs=frozenset(path.relative_to(docs).as_posix() for path in docs.rglob("*.html")),
        url=url.rstrip("/"),
    )


class _Parameters(RootModel[dict[str, dict[str, Annotated[int, Field(ge=0)]]]]):
    """What ``PARAMETERS`` holds."""


def _parameters(path: Path) -> Mapping[str, Mapping[str, int]]:
    if not path.is_file():
        return {}
    try:
        return _Parameters.model_validate_json(read_whole(path)).root
    except (OSError, ValueError) as error:
        hint = "build the documentation again: python docs/build.py FOLDER"
        raise ArtefactError("is not what the documentation's build writes", where=path, hint=hint) from error


def millions(count: int) -> str:
    """Return a number of parameters as text: 43.1 M, 0.80 M; 0 = none."""
    return "none" if count == 0 else f"{count / 1e6:.{1 if count >= 1e6 else 2}f} M"


def strip() -> bytes:
    """Return the picture of the front page, a PNG: generated people only."""
    return files("kt3d_bench.leaderboard.site").joinpath("assets", STRIP).read_bytes()


def embedded(content: bytes, kind: str = "png") -> Markup:
    """Return a picture as an address that loads nothing, which pages take as it is, however long."""
    return Markup(f"data:image/{kind};base64,{base64.b64encode(content).decode()}")


def verbatim(text: str) -> Markup:
    """Return text of several lines for a page: escaped, without control characters, its line ends kept."""
    lines = ("".join(char for char in line if char.isprintable()) for line in text.splitlines())
    return Markup("\n").join(map(escape, lines))


def dataset_cards(about: About) -> list[SimpleNamespace]:
    """Return what the front page says of every dataset."""
    found = []
    for name, card in about.cards.items():
        picture = about.folders[name] / PICTURE
        found.append(
            SimpleNamespace(
                name=name, card=card, page=about.dataset_page(name),
                picture=embedded(picture.read_bytes()) if picture.is_file() else "",
            )
        )  # fmt: skip
    return found


def method_cards(about: About, boards: Sequence[tuple[str, Benchmark, Sequence[RankedGroup]]]) -> list[SimpleNamespace]:
    """Return what the front page says of every method: what it reads and gives, the labels that it can learn from, and
    its best ranked row on the first board that has one."""
    inputs = {one.id: one.modality for _, one, _ in boards} | {one.dataset: one.modality for _, one, _ in boards}
    found = []
    for name, method in about.methods.items():
        modality = inputs.get(method.defaults.get("target", ""), "")
        rows = [(row, board, benchmark) for board, benchmark, groups in boards for row in _ranked(groups, name)]
        number = _number(*rows[0]) if rows else None
        found.append(
            SimpleNamespace(
                name=name, summary=method.summary, reads=_READS.get(modality, "image"),
                size=_size(about.parameters.get(name, {})),
                levels=method.supervision, external=method.external_data, number=number, page=about.method_page(name),
            )
        )  # fmt: skip
    return found


def _size(parameters: Mapping[str, int]) -> str:
    """The trained parameters of the largest and the smallest preset of a method, "" where they were not counted."""
    names = list(parameters)
    if not any(parameters.values()):
        return "no trained parameters" if parameters else ""
    ends = dict.fromkeys((names[0], names[-1]))
    return "trained parameters: " + ", ".join(f"{millions(parameters[name])} ({name})" for name in ends)


def _ranked(groups: Sequence[RankedGroup], method: str) -> list[Row]:
    return [row for row in (groups[0].rows if groups else ()) if row.rank is not None and row.entry.method == method]


def _number(row: Row, board: str, benchmark: Benchmark) -> SimpleNamespace:
    metric = METRICS[benchmark.headline[0]]
    words = f"{row.value(metric.name):.1f} {metric.unit} {metric.title}, {supervision_name(row.entry)}"
    return SimpleNamespace(text=words, board=board)
