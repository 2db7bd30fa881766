"""After the table of times, the ratios: the figures that the README quotes."""

from __future__ import annotations

from typing import Any


def pytest_terminal_summary(terminalreporter: Any, config: Any) -> None:
    for measured in config._benchmarksession.benchmarks:
        for name, value in measured.extra_info.items():
            shown = f"{value:.3g}" if isinstance(value, float) else value
            terminalreporter.write_line(f"{measured.name}: {name} = {shown}")
