"""Published entries say nothing of their maker's folders."""

import pytest

from kt3d_bench.leaderboard.entries import data_root, portable, portable_command

RUN = {
    "config": {
        "data_root": "/home/jane/my data",
        "shards": {"source": "/home/jane/my data/shards/ubc3v", "target": "/mnt/disk/h36m", "pretrain": "https://a/b/mpii"},
        "name": None, "seed": 3, "files": ["/etc/x.yaml", "runs/here", "file:///home/jane/shards/a%20b", "file:///home/jane/my%20data/c"],
    },
    "stages": [{"digest": "ab/cd", "seconds": 1.5}],
}  # fmt: skip


def test_paths_below_the_data_root_keep_their_place_in_it() -> None:
    found = portable(RUN, data_root(RUN))
    assert found["config"]["data_root"] == "my data"
    assert found["config"]["shards"] == {
        "source": "my data/shards/ubc3v", "target": "h36m", "pretrain": "https://a/b/mpii",
    }  # fmt: skip
    assert found["config"]["files"] == ["x.yaml", "runs/here", "a b", "my data/c"]
    assert (found["config"]["seed"], found["config"]["name"]) == (3, None)
    assert found["stages"] == RUN["stages"]
    assert "jane" not in repr(found)


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("kt3d demo", "kt3d demo"),
        ("kt3d reproduce table3 --data /tmp/a/data --out=/tmp/o", "kt3d reproduce table3 --data data --out=o"),
        ("kt3d train --shards 'source=/home/jane/my data/shards/u'", "kt3d train --shards 'source=my data/shards/u'"),
        ("kt3d train --shards target=https://host/x --set a=1", "kt3d train --shards target=https://host/x --set a=1"),
        ("kt3d train --shards source=file:///home/jane/shards", "kt3d train --shards source=shards"),
        ("a && b | c > $HOME/x  # as typed", "a && b | c > $HOME/x  # as typed"),
        ("kt3d train 'open", "kt3d train 'open"),
        ("kt3d score /", "kt3d score /"),
        ("", ""),
    ],
)
def test_commands_can_still_be_typed(command: str, expected: str) -> None:
    assert portable_command(command, "/home/jane/my data") == expected


@pytest.mark.parametrize("run", [{}, {"config": None}, {"config": "text"}, {"config": {"data_root": 3}}])
def test_odd_runs_have_no_data_root_and_stay(run: dict[str, object]) -> None:
    assert data_root(run) is None
    assert portable(run) == run
