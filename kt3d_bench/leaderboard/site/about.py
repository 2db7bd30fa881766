"""What pages say beyond their entries: datasets with their terms and citations, methods, and where to read more."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace

from markupsafe import Markup, escape

from kt3d_bench.leaderboard.ranking import RankedGroup, Row
from kt3d_bench.leaderboard.wording import supervision_name
from kt3d_bench.metrics.benchmarks import Benchmark
from kt3d_bench.metrics.functional import METRICS
from kt3d_bench.plugins import registry
from kt3d_bench.plugins.cards import Card
from kt3d_bench.plugins.hookspecs import MethodPlugin

STRIP = "strip.png"
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
        docs=frozenset(path.relative_to(docs).as_posix() for path in docs.rglob("*.html")),
        url=url.rstrip("/"),
    )


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
                levels=method.supervision, external=method.external_data, number=number, page=about.method_page(name),
            )
        )  # fmt: skip
    return found


def _ranked(groups: Sequence[RankedGroup], method: str) -> list[Row]:
    return [row for row in (groups[0].rows if groups else ()) if row.rank is not None and row.entry.method == method]


def _number(row: Row, board: str, benchmark: Benchmark) -> SimpleNamespace:
    metric = METRICS[benchmark.headline[0]]
    words = f"{row.value(metric.name):.1f} {metric.unit} {metric.title}, {supervision_name(row.entry)}"
    return SimpleNamespace(text=words, board=board)
