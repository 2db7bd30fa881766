"""From predictions to a row on a board: measure, write the entry, render the boards.

Runs, prediction files, submissions and rescoring differ only in what they know about the predictions. A submitted file
is converted to our own form and kept below the data root, so that ``rescore`` finds it again.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kt3d_bench.data.folders import shards_folder, with_target_found
from kt3d_bench.data.manifest import read_manifest
from kt3d_bench.errors import ArtefactError, Kt3dError, UsageError
from kt3d_bench.files import default_data_root, file_sha256, utf8_text, write_whole
from kt3d_bench.leaderboard.cards import card_path, write_card
from kt3d_bench.leaderboard.checks import problems
from kt3d_bench.leaderboard.entries import (
    ENTRIES,
    Entry,
    Submission,
    TrainingData,
    is_name,
    make_entry,
    read_boards,
    read_entries,
    rescored,
    write_entry,
)
from kt3d_bench.leaderboard.render import render_boards
from kt3d_bench.leaderboard.site.about import installed
from kt3d_bench.locks import held
from kt3d_bench.metrics.benchmarks import Benchmark
from kt3d_bench.metrics.evaluate import Answers, Scores, find_answers, write_scores
from kt3d_bench.metrics.forms import read_prediction_file
from kt3d_bench.metrics.plausibility import Suspicion
from kt3d_bench.metrics.predictions import Predictions, prediction_bytes, read_predictions
from kt3d_bench.plugins import registry
from kt3d_bench.plugins.hookspecs import MODALITIES
from kt3d_bench.run_folder import declared, read_run
from kt3d_bench.web.page import web_address

if TYPE_CHECKING:
    from rich.console import RenderableType

_NOT_STATED = "not stated"
_SUBMISSIONS = "submissions"
_PREDICTIONS = ("runs/*/predictions/*.npz", f"{_SUBMISSIONS}/*.npz")
_PATIENCE_S = 120.0
_SHARDS = ("shards/*/manifest.json", "generated/*/*/shards/manifest.json")


@dataclass(frozen=True)
class Result:
    """Predictions that were scored, and what was written."""

    benchmark: Benchmark
    scores: Scores
    entry: Entry
    entry_path: Path
    predictions: Path
    """Prediction file of our own form."""
    leaderboards: Path
    suspicions: tuple[Suspicion, ...] = ()
    """What looks wrong with a submitted file."""
    card_path: Path | None = None
    """Model card of a submission."""
    replaced: str = ""
    """The earlier result of a run that gave way to this one."""

    @property
    def board_folder(self) -> Path:
        return self.leaderboards / self.entry.board

    def table(self, width: int | None = None) -> RenderableType:
        """Return the board as a table for a terminal of ``width`` columns, this entry set off."""
        from kt3d_bench.leaderboard.tables import terminal_table

        published = registry.published().get(self.benchmark.id) if self.entry.origin == "official" else None
        entries, own = read_entries(self.board_folder), self.entry.file_name
        return terminal_table(self.benchmark, entries, published=published, highlight=own, width=width)


@dataclass(frozen=True)
class Rescored:
    """What became of one entry."""

    entry: Entry
    """As it is now."""
    done: bool
    """Whether it was measured again."""
    outcome: str


def default_leaderboards(data: Path | None = None) -> Path:
    """Return ``./leaderboards`` where it exists, else ``leaderboards`` below the data root."""
    here = Path("leaderboards")
    return here if here.is_dir() else (data or default_data_root()) / "leaderboards"


def build_boards(
    leaderboards: Path | None = None, *, data: Path | None = None, html: Path | None = None, url: str = ""
) -> list[Path]:
    """Render every board and their index from the entries; return the files. ``html``: another folder for the pages,
    which link to the documentation where it lies in ``html/docs``. ``url``: the address where they will be published,
    for previews of links.

    Raises ``UsageError`` for a folder that does not exist and for a ``url`` that is no http or https address,
    ``ArtefactError`` for a broken entry.
    """
    if url and not web_address(url):
        raise UsageError(
            "this is no http or https address", where=url, hint="give one such as https://example.org/boards"
        )
    folder = _boards_folder(leaderboards, data)
    with writing(folder):
        about = installed(html or folder, url)
        return render_boards(folder, registry.benchmarks(), registry.published(), html=html, about=about)


def check_boards(leaderboards: Path | None = None, *, data: Path | None = None) -> list[str]:
    """Return what a pull request with these boards would be refused for, one sentence each.

    Raises ``UsageError`` for a folder that does not exist.
    """
    return problems(_boards_folder(leaderboards, data), registry.benchmarks(), registry.published())


def _boards_folder(leaderboards: Path | None, data: Path | None) -> Path:
    if leaderboards is not None and not Path(leaderboards).is_dir():
        raise UsageError("there is no such folder", where=leaderboards, hint="name one that holds boards")
    return Path(leaderboards or default_leaderboards(data))


def score_file(
    path: Path,
    benchmark: str | None = None,
    *,
    data: Path,
    name: str | None = None,
    shards: Path | None = None,
    leaderboards: Path | None = None,
    incomplete: bool = False,
    replace: bool = False,
) -> Result:
    """Score a prediction file of any accepted form. ``benchmark`` and ``name`` default to what the file says of itself.

    ``incomplete`` as in ``metrics.evaluate.evaluate``. Raises what that raises, ``UsageError`` for a name that no entry
    may have, and ``ArtefactError`` where other results stand in the way, unless ``replace``.
    """
    file = read_prediction_file(path)
    meta = {field: value for field, value in file.meta.items() if isinstance(value, str) and value}
    method = _checked_name(name or meta.get("method") or path.stem, path)
    found = find_answers(benchmark, file, data=data, shards=shards)
    scores = found.scores(incomplete=incomplete)
    return _published_file(
        found,
        dataclasses.replace(scores, warnings=(*scores.warnings, *map(str, found.suspicions()))),
        data,
        leaderboards,
        replace,
        method=method,
        supervision=meta.get("supervision", _NOT_STATED),
        target_labels_seen=meta.get("target_labels_seen", _NOT_STATED),
    )


def score_run(
    folder: Path,
    benchmark: str | None = None,
    *,
    predict: Callable[[Path, str | None], Path],
    data: Path,
    leaderboards: Path | None = None,
    incomplete: bool = False,
) -> Result:
    """Score a run's predictions. ``predict(folder, benchmark)`` makes them where the final checkpoint's are missing.

    Raises what ``predict`` and ``score_file`` raise.
    """
    document = with_target_found(read_run(folder), folder.absolute().parents[1], data)
    fresh = _fresh_predictions(folder, benchmark, document)
    if fresh is None:
        path = predict(folder, benchmark)
        fresh = path, read_predictions(path)
    path, predictions = fresh
    found = find_answers(path.stem, predictions, shards=shards_of_test(document, path.stem, data))
    scores = dataclasses.replace(found, path=path).scores(incomplete=incomplete)
    write_scores(folder / "scores" / f"{path.stem}.npz", scores)
    facts = {**_facts_of_run(document), **_facts_of_files(found, file_sha256(path))}
    if isinstance(predicted := predictions.meta.get("shards_digest"), str):
        facts["test_manifest_digest"] = predicted
    entry = make_entry(scores, found.benchmark, **facts)
    boards = leaderboards or default_leaderboards(data)
    with writing(boards):
        replaced = _replaced(boards, entry)
        return dataclasses.replace(_published(found, scores, entry, path, boards), replaced=replaced)


def _replaced(boards: Path, entry: Entry) -> str:
    """Say which other result of the same settings and seed gives way to this one, "" for none."""
    for old in read_entries(boards / entry.board):
        other = old.provenance.predictions_sha256 != entry.provenance.predictions_sha256
        if other and old.file_name == entry.file_name:
            metric = next(iter(entry.scores))
            return f"an earlier result of the same settings and seed: {metric} {_shown(old, metric)}"
    return ""


def shards_of_test(document: Mapping[str, Any], benchmark: str, data: Path) -> Path:
    """Return where the test shards of a run's benchmark lie: with its target's, or below the data root."""
    target, dataset = document["shards"]["target"], registry.benchmark(benchmark).dataset
    return Path(target["folder"]) if target["dataset"] == dataset else shards_folder(data, dataset)


def _fresh_predictions(
    folder: Path, benchmark: str | None, document: Mapping[str, Any]
) -> tuple[Path, Predictions] | None:
    """The predictions that a run's final checkpoint made, of any benchmark where none is named."""
    wanted = registry.benchmark(benchmark).id if benchmark else None
    for path in sorted((folder / "predictions").glob("*.npz")):
        if path.stem == (wanted or path.stem):
            found = read_predictions(path)
            if found.meta.get("checkpoint_sha256") == document.get("checkpoint_sha256"):
                return path, found
    return None


def submit(
    file: Path,
    benchmark: str,
    *,
    name: str,
    title: str = "",
    supervision: str = _NOT_STATED,
    labels_seen: str = _NOT_STATED,
    seed: int | None = None,
    link: str = "",
    external: Sequence[str] = (),
    accept: Sequence[str] = (),
    data: Path | None = None,
    shards: Path | None = None,
    leaderboards: Path | None = None,
    replace: bool = False,
) -> Result:
    """Check and measure a prediction file made elsewhere; write its entry and model card for a pull request.

    ``file`` has any accepted form (``metrics.forms``); the other arguments are what only its author can say:
    ``labels_seen`` of the test's dataset, a ``link`` to code or paper, ``external`` weights or data. Raises what
    ``evaluate`` raises; ``ArtefactError`` for a file with severe suspicions, unless ``accept`` names each of them (the
    entry then records them) and where another result of this name, or these predictions under another name, are on the
    board, unless ``replace``; ``UsageError`` for a name that no entry may have and for an ``accept`` of something that
    is not suspected. Nothing is written then.
    """
    path, root = Path(file), data or default_data_root()
    _checked_name(name)
    found = find_answers(benchmark, path, data=root, shards=shards)
    scores = found.scores()
    _refuse(found.suspicions(), accept, path)
    return _published_file(
        found,
        scores,
        root,
        leaderboards,
        replace,
        method=name,
        link=link,
        title=title,
        supervision=supervision,
        target_labels_seen=labels_seen,
        seed=seed,
        external_data=external,
    )


def _published_file(
    found: Answers,
    scores: Scores,
    data: Path,
    leaderboards: Path | None,
    replaces: bool,
    *,
    link: str = "",
    **statement: Any,
) -> Result:
    """Keep a scored file's predictions in our own form, write their entry and card, and render the boards."""
    assert found.file is not None
    path, suspicions = found.file.path, found.suspicions()
    digest = file_sha256(path)
    kept = data / _SUBMISSIONS / f"{digest[:16]}-{found.benchmark.id}.npz"
    given, meta = found.predictions, {"benchmark": found.benchmark.id}
    content = prediction_bytes(given.keys, given.joints_cam_mm, meta=meta)
    entry = make_entry(
        scores,
        found.benchmark,
        training_data=(),
        submission=Submission(
            form=found.file.form, file_sha256=digest, suspicions=tuple(map(str, suspicions)), link=link
        ),
        **statement,
        **_facts_of_files(found, hashlib.sha256(content).hexdigest()),
    )
    boards = leaderboards or default_leaderboards(data)
    with writing(boards):
        _make_room(boards, entry, replaces)
        write_whole(kept, content)
        result = _published(found, scores, entry, kept, boards)
    return dataclasses.replace(result, suspicions=suspicions)


def _make_room(boards: Path, entry: Entry, replaces: bool) -> None:
    """Refuse a second result of a name, or predictions that are on the board under another name, or remove them.

    Names are equal whatever their case. The author's notes go with the new entry.
    """
    for old in read_entries(boards / entry.board):
        same = bool(old.provenance.predictions & entry.provenance.predictions)
        named = old.key == entry.key
        if (named and same and old.file_name == entry.file_name) or not (named or same):
            continue
        if not replaces:
            metric = next(iter(entry.scores))
            what = "there is another result" if named else "the same predictions are there"
            raise ArtefactError(
                f"{what} under the name '{old.method}': {metric} {_shown(old, metric)}, now {_shown(entry, metric)}",
                where=boards / old.board / ENTRIES / old.file_name,
                hint="replace it with --replace, or give another --name",
            )
        if old.file_name != entry.file_name:
            (boards / old.board / ENTRIES / old.file_name).unlink()
            if card_path(boards, old).is_file():
                card_path(boards, old).replace(card_path(boards, entry))


def rescore(leaderboards: Path | None = None, *, data: Path | None = None) -> list[Rescored]:
    """Measure every entry again whose predictions and test shards lie below the data root; render the boards.

    Both are recognised by the digests that the entry carries; any other entry stays as it is. Raises ``ArtefactError``
    for a broken entry; whatever else stands in the way of one entry is its outcome.
    """
    root = data or default_data_root()
    boards = leaderboards or default_leaderboards(root)
    files, shards = prediction_files(root), dict(manifests(root))
    entries = [entry for board in read_boards(boards).values() for entry in board]
    outcomes = [_measured_again(entry, files, shards, boards) for entry in entries]
    with writing(boards):
        render_boards(boards, registry.benchmarks(), registry.published(), about=installed(boards))
    return outcomes


def _measured_again(entry: Entry, files: Mapping[str, Path], shards: Mapping[str, Path], boards: Path) -> Rescored:
    facts, benchmark = entry.provenance, registry.benchmarks().get(entry.benchmark)
    path, folder = files.get(facts.predictions_sha256 or ""), shards.get(facts.test_manifest_digest or "")
    if benchmark is None or benchmark.version != entry.benchmark_version:
        return Rescored(entry, False, f"version {entry.benchmark_version} of the benchmark is not installed")
    if path is None:
        return Rescored(entry, False, "its predictions are not here")
    if folder is None:
        return Rescored(entry, False, "the shards it was tested on are not here")
    try:
        found = dataclasses.replace(find_answers(benchmark, read_predictions(path), shards=folder), path=path)
        now = rescored(entry, found.scores(incomplete=True), benchmark)
    except Kt3dError as error:
        return Rescored(entry, False, error.message)
    with writing(boards):
        write_entry(boards, now)
        if card_path(boards, now).is_file():
            write_card(boards, now)
    metric = benchmark.headline[0]
    return Rescored(now, True, f"{metric} {_shown(entry, metric)} -> {_shown(now, metric)}")


def prediction_files(data: Path) -> dict[str, Path]:
    """Digest -> prediction file of our own form below the data root."""
    return {file_sha256(path): path for pattern in _PREDICTIONS for path in sorted(data.glob(pattern))}


def manifests(data: Path) -> Iterator[tuple[str, Path]]:
    """Digest -> folder of all shards below the data root, and of those that its runs were made with."""
    folders = {path.parent for pattern in _SHARDS for path in data.glob(pattern)}
    for run in data.glob("runs/*/run.yaml"):
        with suppress(Kt3dError):
            folders |= {Path(read["folder"]) for read in read_run(run.parent)["shards"].values()}
    for folder in sorted(folders):
        with suppress(Kt3dError):
            yield read_manifest(folder).digest, folder


def _shown(entry: Entry, metric: str) -> str:
    value = entry.scores.get(metric)
    return f"{'undefined' if value is None else f'{value:.2f}'} (metric version {entry.provenance.metric_version})"


def _checked_name(method: str, where: Path | None = None) -> str:
    if not is_name(method):
        raise UsageError(
            f"'{method}' cannot be the name of a method",
            where=where,
            hint="give one of at most 100 letters, digits, '-', '_' and '.' with --name",
        )
    return method


def _refuse(found: Sequence[Suspicion], accept: Sequence[str], path: Path) -> None:
    unknown = sorted(set(accept) - {one.name for one in found})
    if unknown:
        raise UsageError(f"the file is not suspected of '{unknown[0]}'", where=path, hint="leave that --accept out")
    severe = [one for one in found if one.severe and one.name not in accept]
    if severe:
        accepted = " ".join(f"--accept '{one.name}'" for one in severe)
        raise ArtefactError(
            "; ".join(map(str, severe)),
            where=path,
            hint=f"correct the file or, if it is right as it is, add {accepted}",
        )


def _published(found: Answers, scores: Scores, entry: Entry, path: Path, leaderboards: Path) -> Result:
    """Write the entry, the card of a submission, and the boards, which are locked."""
    written = write_entry(leaderboards, entry)
    card = write_card(leaderboards, entry) if entry.provenance.submission is not None else None
    about = installed(leaderboards)
    render_boards(leaderboards, registry.benchmarks(), registry.published(), changed_only=True, about=about)
    return Result(found.benchmark, scores, entry, written, path, leaderboards, card_path=card)


@contextmanager
def writing(leaderboards: Path) -> Iterator[None]:
    """Lock the boards; wait a while for another process that writes them."""
    with ExitStack() as stack:
        try:
            lock = held(
                leaderboards / ".lock", "another process writes these boards", "wait for it", wait_s=_PATIENCE_S
            )
            stack.enter_context(lock)
        except OSError as error:
            what = f"cannot be written ({error})"
            raise ArtefactError(what, where=leaderboards, hint="free space or choose a folder") from error
        yield


def _facts_of_files(found: Answers, predictions_sha256: str) -> dict[str, Any]:
    """What an entry records of the prediction file and the shards, as arguments of ``make_entry``."""
    reads = found.predictions.meta.get("reads")
    told, masks = reads if isinstance(reads, list) else [], found.predictions.meta.get("masks")
    named = {"foreground": f"masks by {masks}"} if isinstance(masks, str) else {}
    return {
        "also_reads": [named.get(one, one) for one in MODALITIES if one in told and one != found.benchmark.modality],
        "test_manifest_digest": found.test.digest,
        "predictions_sha256": predictions_sha256,
        "generator_version": found.test.manifest.generator_version,
    }


def _facts_of_run(document: Mapping[str, Any]) -> dict[str, Any]:
    """What ``run.yaml`` knows of a run, as arguments of ``make_entry``."""
    config = document["config"]
    supervision = str(config["supervision"])
    stages = [stage for stage in document.get("stages") or [] if isinstance(stage, Mapping)]
    told = document.get("stages") is not None and all("roles" in stage for stage in stages)
    seconds = [float(spent) for stage in stages if isinstance(spent := stage.get("seconds"), int | float)]
    read = {role for stage in stages for role in stage["roles"]} if told else set(document["shards"])
    """Roles that a stage of the run trained on; all of them where the run does not say."""
    began = (document.get("init") or {}).get("supervision", "none")
    seen = supervision if began in ("none", supervision) else f"{supervision}, and {began} by the weights it began with"
    datasets = {role: shards["dataset"] for role, shards in document["shards"].items()}
    also = sorted(role for role in read if role != "target" and datasets[role] == datasets.get("target"))
    return {
        "method": config["method"],
        "supervision": supervision,
        "joints": int(config["joints"]) if supervision.startswith("partial") else None,
        "settings": {"preset": config["preset"], **config["settings"], **_held_out(config)},
        "seed": config["seed"],
        "selection_rule": document.get("selection_rule"),
        "settings_rule": document.get("settings_rule") or "not stated",
        "external_data": declared(document),
        "training_data": _training_data(document, supervision, read),
        "target_labels_seen": f"full ({also[0]} is the same dataset)" if also else seen,
        "checkpoint_sha256": document.get("checkpoint_sha256"),
        "run": {key: document[key] for key in ("config", "method_config", "stages") if key in document},
        "versions": document.get("versions", {}),
        "command": utf8_text(document.get("command", "")),
        "device": f"{document.get('accelerator', '')} {document.get('precision', '')}".strip(),
        "wall_seconds": round(sum(seconds), 1) if seconds else None,
    }


def _held_out(config: Mapping[str, Any]) -> dict[str, Any]:
    """A run that trained on fewer samples, or on what others say of the target's images, is another result."""
    return {name: config[name] for name in ("hold_out", "masks", "pseudo_labels") if config.get(name)}


def _training_data(document: Mapping[str, Any], supervision: str, read: set[str]) -> tuple[TrainingData, ...]:
    """Every data set that the run read for training, with what it saw of the labels."""
    seen = {"source": "all", "pretrain": "2d", "target": "" if supervision == "none" else supervision}
    found = []
    for role, shards in sorted(document["shards"].items()):
        if role in read:
            stream = shards.get("stream")
            drawn = "" if stream is None else f" on the fly, version {stream['version']}"
            split_digest = (shards.get("split_digest") or None) if stream is None else None
            found.append(
                TrainingData(
                    role=role,
                    dataset=shards["dataset"] + drawn,
                    origin=shards["origin"],
                    labels=seen[role],
                    split_digest=split_digest,
                    manifest_digest=None if split_digest or stream else shards["manifest_digest"],
                )
            )
    return tuple(found)
