"""The forest plot as a file: what it shows lies where the entries say, and nothing is drawn without a rank."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from kt3d_bench.leaderboard.entries import Clips, Entry, Flags, Provenance, write_entry
from kt3d_bench.leaderboard.render import board_forest, render_boards
from kt3d_bench.metrics.benchmarks import Benchmark

BENCHMARK = Benchmark(
    id="toy-test", version=1, title="Toy set", dataset="toy", split="test", modality="rgb", headline=("mpjpe_mm",),
    root=0, reference="root-given", box_rule="joints", sees="the crop", sample_list_digest="a",
)  # fmt: skip


def entry(method: str, value: float, seen: str = "none", clips: int = 8, **changes: Any) -> Entry:
    whole: dict[str, Any] = {
        "benchmark": "toy-test", "benchmark_version": 1, "origin": "official", "method": method, "supervision": "none",
        "scores": {"mpjpe_mm": value}, "intervals": {"mpjpe_mm": (value - 10, value + 20)}, "samples": clips,
        "clips": Clips(names_sha256="f" * 64, samples=(1,) * clips, means={"mpjpe_mm": (value,) * clips}),
        "provenance": Provenance(sample_list_digest="a", labels_digest="b", metric_version=1),
        "flags": Flags(target_labels_seen=seen, training_data=(), reference="root-given", box_rule="joints",
                       selection_rule="last"),
    }  # fmt: skip
    return Entry(**(whole | changes))


def drawn(*entries: Entry) -> ElementTree.Element:
    return ElementTree.fromstring(board_forest(entries, BENCHMARK))


def texts(svg: ElementTree.Element) -> list[str]:
    return ["".join(one.itertext()).strip() for one in svg.iter("{http://www.w3.org/2000/svg}text")]


def test_places_are_those_of_the_values() -> None:
    """The axis runs from the least to the greatest end of an interval, 3 % free at both sides of 420 units from 210."""
    svg = drawn(entry("near", 100.0), entry("far", 130.0), entry("taught", 80.0, "full"))
    low, high = 80.0 - 10, 130.0 + 20

    def place(value: float) -> float:
        return 210 + 420 * (0.03 + 0.94 * (value - low) / (high - low))

    dots = [float(one.get("cx", "")) for one in svg.iter("{http://www.w3.org/2000/svg}circle")]
    assert dots == pytest.approx([place(100), place(130), place(80)], abs=0.3)
    spans = [one.get("d", "") for one in svg.iter("{http://www.w3.org/2000/svg}path") if "H" in one.get("d", "")]
    ends = [(float(one[1:].split()[0]), float(one.split("H")[1])) for one in spans]
    assert ends == [pytest.approx((place(v - 10), place(v + 20)), abs=0.5) for v in (100, 130, 80)]
    shown = texts(svg)
    assert [
        shown.index(one) for one in ("Without target labels", "near", "far", "With all target labels", "taught")
    ] == (
        sorted(shown.index(one) for one in ("Without target labels", "near", "far", "With all target labels", "taught"))
    )
    assert "100.0 90 to 120" in shown


def test_of_a_method_the_best_row_is_drawn_and_values_far_off_are_arrows() -> None:
    svg = drawn(entry("m", 100.0), entry("m", 120.0, settings={"a": 1}), entry("lost", 900.0))
    assert texts(svg).count("m") == 1
    assert "►" in texts(svg)
    assert len(list(svg.iter("{http://www.w3.org/2000/svg}circle"))) == 1


def test_names_are_text() -> None:
    assert "<script>x" in texts(drawn(entry("m", 1.0, title="<script>x")))


def test_nothing_is_drawn_where_nothing_is_ranked_and_an_old_drawing_goes(tmp_path: Path) -> None:
    assert board_forest([], BENCHMARK) == ""
    assert board_forest([entry("m", 100.0, clips=2)], BENCHMARK) == ""
    written = write_entry(tmp_path, entry("m", 100.0))
    assert tmp_path / "toy-test" / "forest.svg" in render_boards(tmp_path, {"toy-test": BENCHMARK}, {})
    written.unlink()
    render_boards(tmp_path, {"toy-test": BENCHMARK}, {})
    assert not (tmp_path / "toy-test" / "forest.svg").exists()
