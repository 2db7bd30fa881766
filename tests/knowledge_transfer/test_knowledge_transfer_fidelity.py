"""``fidelity``: one word chooses the paper's losses, generator and anchor; what is set by name wins."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from kt3d_knowledge_transfer.config import BUNDLES, LETTER, PRESETS, Config
from kt3d_knowledge_transfer.method import KnowledgeTransfer

from kt3d_bench.errors import UsageError
from kt3d_bench.training.settings import build_config


def chosen(preset: str = "tiny", **settings: Any) -> Config:
    config: Config = build_config(Config, PRESETS, preset, settings, KnowledgeTransfer.BUNDLES)
    return config


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_the_letter_overrules_every_preset_and_nothing_else(preset: str) -> None:
    ours, letter = dataclasses.asdict(chosen(preset)), dataclasses.asdict(chosen(preset, fidelity="letter"))
    changed = {name for name in ours if ours[name] != letter[name]}
    assert {name: letter[name] for name in LETTER} == dict(LETTER)
    assert changed <= {*LETTER, "fidelity"}
    assert {"generator", "generator_schedule", "reconstruction", "anchor", "fidelity"} <= changed
    assert (letter["generator"], letter["reconstruction"], letter["anchor"]) == ("dcgan", "si-log", "none")


def test_ours_is_the_default_and_changes_nothing() -> None:
    assert chosen() == chosen(fidelity="ours")
    assert dict(BUNDLES["fidelity"]["ours"]) == {}


@pytest.mark.parametrize("name", sorted(LETTER))
def test_each_departure_can_be_taken_alone_whatever_the_order(name: str) -> None:
    kept = getattr(chosen(), name)
    first, second = chosen(fidelity="letter", **{name: kept}), chosen(**{name: kept}, fidelity="letter")
    assert first == second
    assert getattr(first, name) == kept
    assert all(getattr(first, other) == value for other, value in LETTER.items() if other != name)


def test_text_from_the_command_line_does_the_same() -> None:
    assert chosen(fidelity="letter", generator_hide_depth="0.25").generator_hide_depth == 0.25
    assert chosen(fidelity="letter").generator_hide_depth == 0.0


def test_another_word_is_refused() -> None:
    with pytest.raises(UsageError, match=r"'fidelity' is 'leter': did you mean 'letter'"):
        chosen(fidelity="leter")
