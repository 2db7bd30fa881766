"""``report.html`` of a run: one file that needs nothing else; the same run gives the same bytes.

Style, scripts, pictures and the 3D library are inside, and a Content-Security-Policy lets nothing load and only those
scripts run whose digests it names. Text from files is data: Jinja2 escapes all of it. The 3D library is the plotly.js
that comes with the package ``plotly``, compressed and in base64 (2 MB instead of 4.8) and unpacked by the browser when
the viewer is first seen. It writes styles of its own, which is why the policy admits inline ones.
"""

from __future__ import annotations

import base64
import gzip
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from kt3d_bench.errors import ArtefactError, UsageError
from kt3d_bench.files import write_whole
from kt3d_bench.leaderboard.site import charts
from kt3d_bench.leaderboard.site.html import SITE, asset, source_hash, spoken, templates
from kt3d_bench.plugins import registry
from kt3d_bench.progress import duration
from kt3d_bench.report import curves
from kt3d_bench.report.page import ReportPage, report_page
from kt3d_bench.run_folder import RUN_FILE, newest_run, read_run

REPORT = "report.html"
SAMPLES, MAX_SAMPLES = 3, 8
_PACKAGE = "kt3d_bench.report"


def write_report(
    folder: Path, *, images: bool = True, samples: int = SAMPLES, shards: Path | None = None, out: Path | None = None
) -> Path:
    """Write a run's report and return its path, by default ``<folder>/report.html``.

    ``images=False`` leaves the dataset's images out; ``samples`` is how many of the best, of the median and of the
    worst are shown. What is missing or damaged is said in the report. Raises ``ArtefactError`` when there is no run or
    the file cannot be written, ``UsageError`` for an impossible number of samples.
    """
    if not 1 <= samples <= MAX_SAMPLES:
        raise UsageError(f"{samples} samples of each kind were asked for", hint=f"choose 1 to {MAX_SAMPLES}")
    document = read_run(folder)
    page = report_page(folder, document, registry.benchmarks(), shards=shards, samples=samples, images=images)
    path = out or folder / REPORT
    write_whole(path, render(page).encode())
    return path


def run_to_report(data_root: Path) -> Path:
    """The newest finished run, or the newest at all where none has finished. Raises ``ArtefactError`` without any."""
    try:
        return newest_run(data_root)
    except ArtefactError:
        found = list((data_root / "runs").glob(f"*/{RUN_FILE}"))
        if not found:
            raise
        return max(found, key=lambda path: (path.stat().st_mtime_ns, path.parent.name)).parent


def render(page: ReportPage) -> str:
    return _environment().get_template("report.html").render(page=page, **_library(page.has_samples)) + "\n"


@cache
def _packed_plotly() -> tuple[str, str]:
    """plotly.js as base64 of gzip, and the hash by which the policy knows it."""
    script = files("plotly").joinpath("package_data", "plotly.min.js").read_bytes()
    packed = gzip.compress(script, 9, mtime=0)
    return base64.b64encode(packed).decode(), source_hash(script)


def _library(needed: bool) -> dict[str, Any]:
    packed, allowed = _packed_plotly() if needed else ("", "")
    own = asset(_PACKAGE, "report.js")
    shared = asset(SITE, "site.js")
    hashes = " ".join(one for one in (source_hash(shared.encode()), source_hash(own.encode()), allowed) if one)
    return {
        "packed": Markup(packed),
        "script": Markup(own),
        "shared_script": Markup(shared),
        "style": Markup(asset(SITE, "site.css") + asset(_PACKAGE, "report.css")),
        "policy": f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {hashes}; "
        "base-uri 'none'; form-action 'none'",
    }


def _environment() -> Environment:
    environment = templates(_PACKAGE)
    environment.globals.update(charts=charts, curves=curves, figure=charts.figure())
    environment.filters.update(spoken=spoken, duration=duration)
    return environment
