"""Write ``report.html`` of a run: one file that needs nothing else; the same run gives the same bytes.

The 3D library is the plotly.js that comes with the package ``plotly``, compressed and in base64 (2 MB instead of 4.8).
The browser unpacks it when the viewer is first seen. It writes styles of its own, so the page's policy allows inline
styles.
"""

from __future__ import annotations

import base64
import gzip
from functools import cache
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace

from markupsafe import Markup

from kt3d_bench.errors import ArtefactError, UsageError
from kt3d_bench.files import default_data_root, write_whole
from kt3d_bench.plugins import registry
from kt3d_bench.report import curves
from kt3d_bench.report.page import report_page
from kt3d_bench.run_folder import RUN_FILE, found_run, read_run
from kt3d_bench.web.page import policy_hash, render

REPORT = "report.html"
SAMPLES, MAX_SAMPLES = 3, 8


def write_report(
    run: Path | str | None = None,
    *,
    images: bool = True,
    samples: int = SAMPLES,
    shards: Path | None = None,
    out: Path | None = None,
    data: Path | None = None,
) -> Path:
    """Write a run's report as one HTML file and return its path, by default ``report.html`` in the run's folder.

    ``run`` is a folder, or a name below ``runs/`` of the data root ``data``; ``None`` = the newest finished run, or
    the newest of all where none has finished. ``images=False`` leaves the dataset's images out; ``samples`` is how many
    of the best, of the median and of the worst are shown; ``shards`` is the folder of the test shards, if not where
    the run found them. The report names what is missing or corrupt.

    Raises ``ArtefactError`` when there is no run or the file cannot be written, ``UsageError`` for an unknown run or
    an impossible number of samples.
    """
    if not 1 <= samples <= MAX_SAMPLES:
        raise UsageError(f"{samples} samples of each kind were asked for", hint=f"choose 1 to {MAX_SAMPLES}")
    folder = run_to_report(run, data)
    document = read_run(folder)
    page = report_page(folder, document, registry.benchmarks(), shards=shards, samples=samples, images=images)
    path = out or folder / REPORT
    write_whole(path, _render(page).encode())
    return path


def run_to_report(run: Path | str | None = None, data: Path | None = None) -> Path:
    """Return the folder of the run that ``write_report`` means, with the same arguments."""
    root = data or default_data_root()
    try:
        return found_run(run, root)
    except ArtefactError:
        found = list((root / "runs").glob(f"*/{RUN_FILE}"))
        if not found:
            raise
        return max(found, key=lambda path: (path.stat().st_mtime_ns, path.parent.name)).parent


def _render(page: SimpleNamespace) -> str:
    packed, allowed = packed_plotly() if page.has_samples else (Markup(""), [])
    return render(
        "kt3d_bench.report", "report.html", own="report", scripts=allowed, any_style=True, page=page, curves=curves,
        packed=packed,
    )  # fmt: skip


@cache
def packed_plotly() -> tuple[Markup, list[str]]:
    """plotly.js as base64 of gzip, and the hash by which the policy knows it."""
    script = files("plotly").joinpath("package_data", "plotly.min.js").read_bytes()
    return Markup(base64.b64encode(gzip.compress(script, 9, mtime=0)).decode()), [policy_hash(script)]
