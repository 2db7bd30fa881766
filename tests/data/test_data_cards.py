"""Dataset cards: what a good one says and how a bad one is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from kt3d_bench.errors import PluginError
from kt3d_bench.plugins.cards import read_card


def change(folder: Path, old: str, new: str) -> None:
    path = folder / "card.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_card_is_read(card_folder: Path) -> None:
    change(card_folder, "{joint: nose, quality: exact}", "{joint: nose, quality: absent, note: helmet}")
    change(card_folder, "num_parts: 5", "num_parts: 5\npart_mirror: [0, 2, 1, 3, 4]")
    card = read_card(card_folder)
    assert card.modalities == ("rgb", "depth", "parts")
    assert card.how_to_obtain == ("Write it.",)
    assert card.quality.tolist() == [3] * 9 + [0] + [3] * 7
    assert card.joints[9].note == "helmet"
    assert card.part_mirror == (0, 2, 1, 3, 4)
    assert (card.citation, card.box_rule, card.num_parts) == ("@misc{fake}", "joints", 5)


def test_blank_lines_after_a_citation_are_no_part_of_it(card_folder: Path) -> None:
    """Manifests hold the citation, so their bytes depend on it."""
    change(card_folder, '"@misc{fake}"', "|\n  @misc{other}\n")
    assert read_card(card_folder).citation == "@misc{other}"


def test_all_problems_are_told_at_once(card_folder: Path) -> None:
    change(card_folder, "title: Fake", "tittle: Fake")
    change(card_folder, "box_rule: joints", "box_rule: guess")
    change(card_folder, "modalities: [rgb, depth, parts]", "modalities: [rgb, sound]")
    with pytest.raises(PluginError) as caught:
        read_card(card_folder)
    for part in (
        "card.yaml",
        "the field 'title' is missing",
        "unknown field 'tittle', did you mean 'title'?",
        "box_rule is 'guess' (str): known names: detector, joints, mask",
        "modalities.1 is 'sound' (str)",
        "see kt3d_bench",
    ):
        assert part in caught.value.message


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("{joint: nose,", "{joint: nase,", "joints must name the 17 common joints in order"),
        ("  - {joint: nose, quality: exact}\n", "", "joints must name the 17 common joints in order"),
        (
            "{joint: nose, quality: exact}",
            "{joint: nose, quality: fine}",
            r"joints\.9\.quality is 'fine' .*approximate",
        ),
        ("[rgb, depth, parts]", "[rgb, depth]", "num_parts counts the classes of the part masks and is 0 exactly"),
        ("num_parts: 5", "num_parts: 5\npart_mirror: [0, 2, 3, 1, 4]", "part_mirror must exchange parts in pairs"),
        ("num_parts: 5", "num_parts: 5\npart_mirror: [0, 2, 1]", "part_mirror must exchange parts in pairs"),
        ("how_to_obtain: [Write it.]", "how_to_obtain: []", r"how_to_obtain is \[\] \(list\): expected at least one"),
        ("licence: Do as you like.", 'licence: " "', "licence is ' ' .*expected text"),
        ("name: fake", "name: [", "is not readable YAML"),
        ("name: fake", "name: !!python/object/apply:os.getcwd []", "is not readable YAML"),
    ],
)
def test_a_wrong_card_is_refused(card_folder: Path, old: str, new: str, message: str) -> None:
    change(card_folder, old, new)
    with pytest.raises(PluginError, match=message):
        read_card(card_folder)


def test_a_missing_or_empty_card_is_named(card_folder: Path) -> None:
    (card_folder / "card.yaml").write_text("")
    with pytest.raises(PluginError, match=r"card\.yaml: expected a mapping"):
        read_card(card_folder)
    (card_folder / "card.yaml").unlink()
    with pytest.raises(PluginError, match=r"card\.yaml: the dataset has no card; write one"):
        read_card(card_folder)
