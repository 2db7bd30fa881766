"""Choose two rows of a board of stand-ins, find their predictions and test shards, and write the samples to show."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kt3d_bench.errors import ArtefactError, UsageError, did_you_mean
from kt3d_bench.files import default_data_root, write_whole
from kt3d_bench.leaderboard.answer import answer
from kt3d_bench.leaderboard.entries import GENERATED, Entry, read_boards
from kt3d_bench.leaderboard.publish import default_leaderboards, manifests, prediction_files, writing
from kt3d_bench.leaderboard.ranking import ranked_groups
from kt3d_bench.leaderboard.render import render_boards
from kt3d_bench.leaderboard.samples import MAX_BYTES, QUALITIES, SAMPLES, encode_samples, make_samples
from kt3d_bench.leaderboard.site.about import installed
from kt3d_bench.metrics.benchmarks import Benchmark
from kt3d_bench.metrics.evaluate import counted_joints, find_answers
from kt3d_bench.metrics.predictions import join, read_predictions
from kt3d_bench.plugins import registry


def show_samples(
    board: str, rows: Sequence[str] = (), *, data: Path | None = None, leaderboards: Path | None = None
) -> Path:
    """Write the poses that two rows of a board of stand-ins give to six test samples, render the board with them, and
    return the file (``samples.RULE`` says which samples).

    ``rows`` are two entries by file name; by default the first seeds of the source-only row and the best row that the
    board's answer names. Predictions and test shards are found below the data root by the digests in the entries.
    Raises ``UsageError`` for an unknown board, one of real data, and rows that are not there or not comparable;
    ``ArtefactError`` where predictions or shards are missing, or the images are too noisy for a small file.
    """
    root = data or default_data_root()
    boards = leaderboards or default_leaderboards(root)
    known = read_boards(boards)
    if board not in known:
        raise UsageError(f"there is no board '{board}', {did_you_mean(board, known)}", where=boards)
    if not board.startswith(f"{GENERATED}/"):
        raise UsageError(
            "only boards of stand-ins show samples: poses and images of real data may not be passed on", where=board
        )
    benchmark = registry.benchmark(board.removeprefix(f"{GENERATED}/"))
    chosen = _rows_to_show(board, known[board], rows, benchmark)
    files, shards = prediction_files(root), dict(manifests(root))
    found = []
    for entry in chosen:
        path = files.get(entry.provenance.predictions_sha256 or "")
        folder = shards.get(entry.provenance.test_manifest_digest or "")
        if path is None or folder is None:
            what = "predictions" if path is None else "the shards it was tested on"
            raise ArtefactError(
                f"{what} of '{entry.file_name}' are not here", where=root, hint="name the data folder in KT3D_DATA"
            )
        found.append(find_answers(benchmark, read_predictions(path), shards=folder))
    test, truth = found[0].test, found[0].truth
    poses = [join(one.predictions, truth.keys)[0] for one in found]
    counted = counted_joints(truth, benchmark)
    for quality in QUALITIES:
        content = encode_samples(make_samples(chosen, test, poses, counted, benchmark.root, quality))
        if len(content) <= MAX_BYTES:
            break
    else:
        what = f"six samples take {len(content)} bytes, more than the {MAX_BYTES} that a board may show"
        raise ArtefactError(what, where=board, hint="prepare the stand-ins with plainer images")
    path = boards / board / SAMPLES
    with writing(boards):
        write_whole(path, content)
        render_boards(boards, registry.benchmarks(), registry.published(), changed_only=True, about=installed(boards))
    return path


def _rows_to_show(board: str, entries: Sequence[Entry], rows: Sequence[str], benchmark: Benchmark) -> list[Entry]:
    """The two entries that are named or, without names, that the board's answer compares."""
    if not rows:
        groups = ranked_groups(entries, benchmark)
        said = answer(groups[0], benchmark) if groups else None
        if said is None or said.first is None or said.floor is None or said.floor is said.first:
            raise UsageError("its answer compares no two rows", where=board, hint="name two entries with --row")
        return [said.floor.entry, said.first.entry]
    named = {Path(entry.file_name).stem: entry for entry in entries}
    for row in rows:
        if row.removesuffix(".json") not in named:
            raise UsageError(f"there is no entry '{row}', {did_you_mean(row, named)}", where=board)
    chosen = [named[row.removesuffix(".json")] for row in dict.fromkeys(rows)]
    if len(chosen) != 2:
        raise UsageError("two different entries are shown side by side", where=board, hint="give --row twice")
    if len({(one.provenance.sample_list_digest, one.provenance.labels_digest) for one in chosen}) > 1:
        raise UsageError("these entries are of other test samples and not comparable", where=board)
    return chosen
