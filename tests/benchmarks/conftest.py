"""The fixture that takes figures, and the table at the end.

pytest tests/benchmarks/test_bench_nn.py                 # prints the rows of one file
pytest tests/benchmarks -m "not slow" --keep             # all of them, into results/ and docs/performance.md
"""

from __future__ import annotations

import os
import posix
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tests.benchmarks import results
from tests.benchmarks.rows import BY_NAME, RUNS

os.fsync = posix.fsync
"""Unlike other tests, these wait for the disk as a user does."""
_FOUND: dict[str, list[float]] = {}

FiveRuns = Callable[[Callable[[], Mapping[str, float]]], dict[str, list[float]]]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--keep", action="store_true", help="write the figures to tests/benchmarks/results and the page")


@pytest.fixture
def figures() -> FiveRuns:
    """A function that is given one run, takes it five times, and returns row -> its figures.

    A run returns row -> figure, for one row of ``rows.py`` or several; it takes its own best of a few turns where one
    timing is noisy. What needs no repeating (files, a first call that compiles) is made before. ::

        def test_rendering(figures: FiveRuns) -> None:
            found = figures(lambda: {"render-128-rate": COUNT / best_s(now=draw)["now"]})
            assert min(found["render-128-rate"]) > 100
    """

    def take(run: Callable[[], Mapping[str, float]]) -> dict[str, list[float]]:
        runs = [run() for _ in range(RUNS)]
        found = {name: [float(one[name]) for one in runs] for name in runs[0]}
        unknown = found.keys() - BY_NAME.keys()
        assert not unknown, f"tests/benchmarks/rows.py has no {unknown}"
        _FOUND.update(found)
        return found

    return take


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if not _FOUND:
        return
    measured = results.here().with_rows(_FOUND)
    terminalreporter.write_line("\n" + results.table(measured))
    if config.getoption("--keep"):
        measured.write()
        results.main()
