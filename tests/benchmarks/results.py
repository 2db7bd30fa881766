"""The files of results, one for each machine, and the tables made from them.

    python -m tests.benchmarks.results

writes the table of docs/performance.md again. A file is named by the processor and the number of cores. It holds these,
the memory and the GPU, the versions, and for each row the date and the figures of its runs. Rows are added to the file
of a machine while the versions are the same; with others it starts anew. A file that says ``"superseded": true`` holds
single figures of an earlier state of the code. They are shown only where no other file has the row.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import re
import statistics
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tests.benchmarks.rows import BY_NAME, ROWS, Row

FOLDER = Path(__file__).parent / "results"
PAGE = Path(__file__).parents[2] / "docs" / "performance.md"
_BETWEEN = "<!-- made by: python -m tests.benchmarks.results -->\n{}<!-- to here -->\n"
_PACKAGES = ("torch", "numpy", "numba", "opencv-python-headless", "simplejpeg", "av", "h5py", "onnxruntime",
             "ai-edge-litert")  # fmt: skip


@dataclass(frozen=True)
class Results:
    """What is known from one machine."""

    machine: Mapping[str, Any]
    """``cpu``, ``cores``, ``memory_gb`` and, where there is one, ``gpu``."""
    versions: Mapping[str, str]
    rows: Mapping[str, Mapping[str, Any]]
    """Name -> ``date`` and ``runs``."""
    superseded: bool = False

    @property
    def path(self) -> Path:
        words = f"{self.machine['cpu']} {self.machine['cores']} cores {self.machine.get('gpu', '')}"
        return FOLDER / f"{re.sub(r'[^a-z0-9]+', '-', words.lower()).strip('-')}.json"

    @property
    def title(self) -> str:
        """The machine, versions and dates in one line."""
        about = [str(self.machine["cpu"]), f"{self.machine['cores']} cores"]
        about += [f"{self.machine['memory_gb']} GB"] if "memory_gb" in self.machine else []
        about += [str(self.machine["gpu"])] if "gpu" in self.machine else []
        about += [f"{name} {number}" for name, number in self.versions.items()]
        return ", ".join([*about, " to ".join(sorted({min(self._dates()), max(self._dates())}))])

    def _dates(self) -> list[str]:
        return [row["date"] for row in self.rows.values()] or [_today()]

    def with_rows(self, found: Mapping[str, Iterable[float]]) -> Results:
        """Return these results with the runs of some rows, rounded, of today."""
        new = {name: {"date": _today(), "runs": [float(f"{run:.4g}") for run in runs]} for name, runs in found.items()}
        rows = {**self.rows, **new}
        return Results(self.machine, self.versions, {name: rows[name] for name in BY_NAME if name in rows})

    def write(self) -> None:
        """Write the file of this machine; the rows of an earlier one stay if its versions are the same."""
        rows = dict(self.rows)
        if self.path.exists():
            before = read(self.path)
            rows = {**(before.rows if before.versions == self.versions else {}), **rows}
        content = {"machine": self.machine, "versions": self.versions, "rows": rows}
        text = re.sub(r'\{\s*"date"[^}]*\}', lambda row: " ".join(row[0].split()), json.dumps(content, indent=1))
        self.path.write_text(text + "\n", encoding="utf-8")


def read(path: Path) -> Results:
    return Results(**json.loads(path.read_text(encoding="utf-8")))


def here(gpu: str | None = None) -> Results:
    """Return this machine and its versions, without rows."""
    memory_gb = round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
    found: dict[str, Any] = {"cpu": _cpu(), "cores": os.cpu_count(), "memory_gb": memory_gb}
    versions = {"Python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return Results(found | ({} if gpu is None else {"gpu": gpu}), versions, {})


def table(results: Results) -> str:
    """Return the Markdown table of one machine's rows."""
    return "\n".join(
        [
            results.title,
            "",
            "| row | unit | better | target | median | worst | limit |",
            "|---|---|---|---|---|---|---|",
            *(
                f"| {row.what} (`{name}`) | {row.unit} | {row.better} | {shown(row.target)} "
                f"| {shown(statistics.median(runs))} | {_worst(row, tuple(runs))} | {row.limit} |"
                for name, row, runs in ((name, BY_NAME[name], one["runs"]) for name, one in results.rows.items())
            ),
        ]
    )


def over_machines(known: Iterable[Results]) -> str:
    """Return the page's tables: every row that some machine measured, and the machines."""
    machines = sorted(known, key=lambda one: (one.superseded, one.path.name))
    lines = ["| what | unit | target | median | worst | limit | measured by |", "|---|---|---|---|---|---|---|"]
    for file, rows in ROWS.items():
        for row in rows:
            having = [one for one in machines if row.name in one.rows]
            having = [one for one in having if not one.superseded] or having
            if having:
                runs = [tuple(one.rows[row.name]["runs"]) for one in having]
                medians = [statistics.median(one) for one in runs]
                worst = "" if having[0].superseded else _worst(row, tuple(run for one in runs for run in one))
                median = _range(medians) + (" (earlier)" if having[0].superseded else "")
                cells = (row.what, row.unit, shown(row.target), median, worst, row.limit, f"`{file}`")
                lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", *_machines(machines)]) + "\n"


def _machines(machines: Iterable[Results]) -> Iterator[str]:
    for one in machines:
        what = "Earlier figures, single ones of an earlier state of the code" if one.superseded else "Machine"
        yield f"* {what}: {one.title}."


def shown(value: float | None) -> str:
    """Return a number with two or three digits, and thousands apart.

    >>> [shown(value) for value in (0.0123, 0.87, 5.32, 17.4, 3300.0, None)]
    ['0.012', '0.87', '5.3', '17', '3,300', '']
    """
    if value is None:
        return ""
    for least, digits in ((10.0, ",.0f"), (1.0, ".1f"), (0.1, ".2f")):
        if abs(value) >= least:
            return format(value, digits)
    return format(value, ".2g")


def _range(values: list[float]) -> str:
    return " to ".join(dict.fromkeys((shown(min(values)), shown(max(values)))))


def _worst(row: Row, runs: tuple[float, ...]) -> str:
    """In bold where it misses the target."""
    worst = row.worst(runs)
    return shown(worst) if row.reached(worst) else f"**{shown(worst)}**"


def every() -> list[Results]:
    """Return what the files of all machines hold."""
    return [read(path) for path in sorted(FOLDER.glob("*.json"))]


def page(text: str, known: Iterable[Results]) -> str:
    """Return the page with its table made from results."""
    start, end = _BETWEEN.split("{}")
    before, _, rest = text.partition(start)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"the page has no two lines {start.strip()} and {end.strip()}")
    return before + start + over_machines(known) + end + after


def _cpu() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0]
    except OSError:
        return platform.processor() or platform.machine()
    facts = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in text.splitlines())}
    name = facts.get("model name", platform.machine())
    numbers = [f"{what} {facts[key]}" for key, what in (("cpu family", "family"), ("model", "model")) if key in facts]
    return " ".join([name, *numbers])


def _today() -> str:
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def main() -> None:
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), every()), encoding="utf-8")


if __name__ == "__main__":
    main()
