"""``kt3d reproduce``: shared stages once, finished rows kept, interrupted ones gone on with, the paper beside them."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from dataclasses import replace
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from kt3d_floor.recipes import ALL as ALL_METHODS
from kt3d_knowledge_transfer.recipes import ALL, JOINTS, LEVELS

from kt3d_bench.cli import main
from kt3d_bench.data.prepare import prepare
from kt3d_bench.errors import ArtefactError, Kt3dError, PluginError, UsageError
from kt3d_bench.leaderboard.entries import Clips
from kt3d_bench.leaderboard.publish import default_leaderboards
from kt3d_bench.locks import held
from kt3d_bench.method import Progress, Stage
from kt3d_bench.metrics.benchmarks import Published, PublishedRow
from kt3d_bench.plugins import registry
from kt3d_bench.plugins.hookspecs import Recipe, RecipeClaim, RecipePicture, RecipeRow
from kt3d_bench.progress import Reporter
from kt3d_bench.reproduction import pictures, plan, tables
from kt3d_bench.reproduction.reproduce import reproduce
from kt3d_bench.reproduction.runs import Outcome, Reproduction, run_all, run_name
from kt3d_bench.run_folder import finished, read_run
from kt3d_bench.training.sources import domain

SYNTHETIC = "ubc3v"
SMALL = {"synthetic_steps": 2, "input_px": 32, "batch_size": 4}
ROWS = (
    RecipeRow("mean-pose", target=SYNTHETIC, label="floor", seeds=2),
    *(
        RecipeRow(
            "knowledge-transfer", "full", target=SYNTHETIC, settings={**SMALL, "branch": branch},
            label=f"{branch} branch", reported={"method": "knowledge transfer", "input": word},
        )
        for branch, word in (("depth", "depth"), ("mask", "part mask"))
    ),
)  # fmt: skip
RECIPE = Recipe("small", "A small one", ROWS, (RecipePicture("poses", rows=("mask branch", "depth branch")),))


class Said(Reporter):
    """A reporter that remembers its notes and the stages that started."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.started: list[str] = []

    def start(self, task: str, total: int, *, done: int = 0) -> None:
        self.started.append(task.removeprefix("stage "))

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with a handful of depth images that pass for a dataset."""
    root = tmp_path_factory.mktemp("root")
    generate = registry.load_function("kt3d_ubc3v.generate", "generate")
    generate(root / "raw", people=1, frames=6, seed=0, test_postures=4, workers=1)
    prepare(registry.dataset(SYNTHETIC), raw=root / "raw", out=root / "shards" / SYNTHETIC, workers=1)
    return root


@pytest.fixture(scope="module")
def done(data: Path) -> tuple[Reproduction, Said, plan.Options]:
    options = plan.Options(data, "tiny", device="cpu")
    said = Said()
    return run_all(RECIPE, options, said, leaderboards=data / "boards"), said, options


def test_rows_run_seed_by_seed_and_share_their_stages(done: tuple[Reproduction, Said, plan.Options]) -> None:
    found, said, options = done
    floor = found.outcomes[0].result.entry.scores
    expected = f"floor, seed 0: MPJPE {floor['mpjpe_mm']:.1f} mm, PCK@100 {floor['pck_100']:.1f} %"
    assert expected in said.notes
    assert [(one.label, one.job.config.seed) for one in found.outcomes] == [
        ("floor", 0), ("depth branch", 0), ("mask branch", 0), ("floor", 1),
    ]  # fmt: skip
    assert said.started.count("synthetic") == 1
    assert not any(one.kept for one in found.outcomes)
    boards = default_leaderboards(options.data_root)
    entries = list((options.data_root / "boards" / "generated" / "ubc3v-hard" / "entries").glob("*.json"))
    assert len(entries) == 4
    assert boards != options.data_root / "boards"
    assert not found.failures
    assert not found.interrupted


def test_the_same_command_again_trains_nothing(done: tuple[Reproduction, Said, plan.Options]) -> None:
    found, _, options = done
    said = Said()
    again = run_all(RECIPE, options, said, leaderboards=options.data_root / "boards")
    assert [one.kept for one in again.outcomes] == [True] * 4
    assert not [stage for stage in said.started if not stage.startswith("predict")]
    assert [one.result.entry for one in again.outcomes] == [one.result.entry for one in found.outcomes]
    other = run_all(
        Recipe("other", "", ROWS[:1]), replace(options, seeds=1), said, leaderboards=options.data_root / "boards"
    )
    assert other.outcomes[0].kept


def test_a_run_that_differs_has_another_name(done: tuple[Reproduction, Said, plan.Options]) -> None:
    found, _, _ = done
    job = found.outcomes[1].job
    names = {run_name(job)}
    for changes in ({"seed": 1}, {"steps_scale": 0.5}, {"time_scale": 2.0}, {"settings": {"branch": "depth"}}):
        names.add(run_name(replace(job, config=replace(job.config, **changes))))
    assert len(names) == 5


def test_an_interrupted_row_goes_on(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from kt3d_bench.training import steps

    recipe = Recipe("long", "", (replace(ROWS[1], settings={**SMALL, "synthetic_steps": 5}, label="long"),))
    options = plan.Options(data, "tiny", device="cpu")
    take, taken = steps.Learner.step, []

    def stopping(self: Any, batches: Any, progress: Progress) -> Any:
        taken.append(progress.step)
        if len(taken) == 3:
            signal.raise_signal(signal.SIGINT)
        return take(self, batches, progress)

    monkeypatch.setattr(steps.Learner, "step", stopping)
    first = run_all(recipe, options, Said(), leaderboards=data / "boards")
    assert first.interrupted
    assert not first.outcomes
    second = run_all(recipe, options, Said(), leaderboards=data / "boards")
    assert not second.interrupted
    assert taken == [0, 1, 2, 3, 4]
    folder = data / "runs" / run_name(second.outcomes[0].job)
    assert finished(folder)
    assert read_run(folder)["stages"][0]["steps"] == 5


class Heard(Said):
    """A reporter that also sends its notes."""

    def __init__(self, notes: Queue[str]) -> None:
        super().__init__()
        self.sent = notes

    def note(self, text: str) -> None:
        super().note(text)
        self.sent.put(text)


def _beside(data: Path, recipe: Recipe, notes: Queue[str], results: Path) -> None:
    said, options = Heard(notes), plan.Options(data, "tiny", device="cpu")
    found = run_all(recipe, options, said, leaderboards=data / "boards")
    results.write_text(json.dumps([said.started, [(one.label, one.kept) for one in found.outcomes]]))


def test_two_at_once_wait_for_one_another_and_both_have_every_row(data: Path, tmp_path: Path) -> None:
    """In a data root of their own, since rows that an earlier test ran would be kept by both."""
    root = tmp_path / "root"
    root.mkdir()
    (root / "shards").symlink_to(data / "shards")
    rows = tuple(replace(row, settings={**row.settings, "synthetic_steps": 3} if row.settings else {}, seeds=3)
                 for row in ROWS[:2])  # fmt: skip
    recipe, options = Recipe("twice", "", rows), plan.Options(root, "tiny", device="cpu")
    spawn = multiprocessing.get_context("spawn")
    notes: Queue[str] = spawn.Queue()
    first = plan.with_data(plan.jobs(recipe, options), options, Said())[0]
    lock = root / "runs" / f".{run_name(first)}.lock"
    paths = (tmp_path / "one.json", tmp_path / "other.json")
    processes = [spawn.Process(target=_beside, args=(root, recipe, notes, path), daemon=True) for path in paths]
    with held(lock, "busy", "wait"):
        for process in processes:
            process.start()
        waiting: list[str] = []
        while len(waiting) < 2:
            waiting += [text] if "waiting" in (text := notes.get(timeout=60)) else []
    assert {text.partition(" (process")[0] for text in waiting} == {"another process runs floor, seed 0"}
    assert all(f"(process {os.getpid()} on " in text and text.endswith("): waiting for it") for text in waiting)
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    (started, one), (also_started, other) = (json.loads(path.read_text()) for path in paths)
    assert [label for label, _ in one] == [label for label, _ in other] == ["floor", "depth branch"] * 3
    assert all(kept != also_kept for (_, kept), (_, also_kept) in zip(one, other, strict=True))
    assert [*started, *also_started].count("synthetic") == 3
    assert not list((root / "runs").glob(".*.lock"))


def test_a_row_that_fails_does_not_keep_the_others_from_running(data: Path) -> None:
    wild = {**SMALL, "learning_rate": 1e30, "adversarial": False, "synthetic_steps": 6}
    recipe = Recipe("wild", "", (replace(ROWS[1], settings=wild, label="wild"), ROWS[0]))
    found = run_all(recipe, plan.Options(data, "tiny", seeds=1, device="cpu"), Said(), leaderboards=data / "boards")
    assert [one.label for one in found.outcomes] == ["floor"]
    assert [one.job.label for one in found.failures] == ["wild"]
    assert "loss" in found.failures[0].error.message


def test_the_budget_is_shared_by_the_stages_each_counted_once(data: Path) -> None:
    """Two steps of 0.17 s, which the two branches share."""
    options = plan.Options(data, "tiny", device="cpu", budget_minutes=1.0)
    planned = plan.jobs(RECIPE, options)
    assert plan.seconds_asked(planned) == pytest.approx([0.0, 0.34, 0.0, 0.0])
    assert plan.in_words(planned) == "4 runs with at most 1 minutes of training, and 1 for the longest, depth branch"
    assert {job.config.time_scale for job in planned} == {round(60 / 0.34, 4)}
    assert {job.config.time_scale for job in plan.jobs(RECIPE, replace(options, budget_minutes=None))} == {None}
    assert {job.config.time_scale for job in plan.jobs(RECIPE, replace(options, budget_minutes=1e6))} == {
        round(60 * 150 / 0.34, 4)
    }
    more = plan.jobs(RECIPE, replace(options, seeds=3))
    assert {job.config.time_scale for job in more} == {round(60 / 0.34, 4)}
    assert len(more) == 9


def test_a_stages_share_of_the_time_follows_its_steps() -> None:
    stage = Stage("a", {"source": ()}, (), {}, steps=600, step_s=0.1)
    assert stage.budget_s == pytest.approx(60)
    assert replace(stage, steps=None, epochs=0.5).budget_s == pytest.approx(50), "an epoch counts as 1000 steps"
    assert replace(stage, step_s=None).budget_s is None
    rows = (RecipeRow("martinez", target="h36m"),)
    asked = {
        preset: plan.seconds_asked(plan.jobs(Recipe("r", "", rows), plan.Options(preset=preset, device="cpu")))
        for preset in ("tiny", "laptop")
    }
    assert asked == {"tiny": pytest.approx([600 * 0.1 + 1500 * 0.01]), "laptop": pytest.approx([700.0])}


def test_the_budget_of_the_demo_is_what_its_methods_ask_for() -> None:
    recipe = plan.named("demo")
    planned = plan.jobs(recipe, plan.Options(preset="tiny", seeds=1, device="cpu"))
    assert 6 * 60 < sum(plan.seconds_asked(planned)) < 8 * 60
    assert recipe.report == "knowledge-transfer none"


def test_missing_targets_are_all_named_before_anything_is_made(tmp_path: Path) -> None:
    rows = (ROWS[0], RecipeRow("mean-pose", target="itop-front"), RecipeRow("mean-pose", target="itop-top"))
    with pytest.raises(ArtefactError, match=r"no shards of ubc3v, itop; make them \(kt3d prepare ubc3v; .*--generated"):
        run_all(Recipe("r", "", rows), plan.Options(tmp_path, "tiny", device="cpu"), Said(), leaderboards=tmp_path)
    assert not list(tmp_path.iterdir())


def test_generated_targets_are_made_once_with_all_their_splits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kt3d_ubc3v.generate.DEMO", {"people": 1, "frames": 4, "test_postures": 2})
    options = plan.Options(tmp_path, "tiny", seeds=1, device="cpu", generated=True, workers=1)
    recipe = Recipe("r", "", ROWS[:1])
    found = run_all(recipe, options, Said(), leaderboards=tmp_path / "boards")
    shards = found.outcomes[0].job.config.shards["target"]
    assert Path(shards) == tmp_path / "generated" / SYNTHETIC / "1x4" / "shards"
    assert found.outcomes[0].result.entry.board == "generated/ubc3v-hard"
    made = (Path(shards) / "manifest.json").stat().st_mtime_ns
    again = run_all(recipe, options, Said(), leaderboards=tmp_path / "boards")
    assert again.outcomes[0].kept
    assert (Path(shards) / "manifest.json").stat().st_mtime_ns == made


def test_settings_are_chosen_on_other_people_apart_from_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kt3d_ubc3v.generate.DEMO", {"people": 1, "frames": 4, "test_postures": 2})
    monkeypatch.setattr("kt3d_bench.reproduction.reproduce.named", lambda name: Recipe(name, "", ROWS[:1]))
    done = reproduce("r", preset="tiny", seeds=1, device="cpu", workers=1, held_out="validation", data=tmp_path)
    home = tmp_path / "validation" / "generated" / SYNTHETIC / "validation-1x4"
    assert Path(done.outcomes[0].job.config.shards["target"]) == home / "shards"
    assert json.loads((home / "raw" / "kt3d-generated.json").read_text())["held_out"] == "validation"
    assert (tmp_path / "validation" / "leaderboards" / "generated" / "ubc3v-hard" / "entries").is_dir()
    assert [path.name for path in tmp_path.iterdir()] == ["validation"]
    with pytest.raises(UsageError, match="held-out people are 'dev', expected one of test, validation"):
        reproduce("r", held_out="dev", data=tmp_path)


PUBLISHED = Published(
    "b",
    "a paper",
    (PublishedRow("Ours", {"mpjpe_mm": 50.0}, supervision="none"), PublishedRow("Ours", {"mpjpe_mm": 40.0})),
    ablation=(PublishedRow("Ours", {"mpjpe_mm": 30.0}, details={"loss": "with"}),),
)


def test_the_papers_row_is_found_by_its_words() -> None:
    def row(**words: str) -> RecipeRow:
        return RecipeRow("m", reported=words)

    assert tables.reported_row(row(), PUBLISHED) is None
    assert tables.reported_row(row(method="Ours"), None) is None
    assert tables.reported_row(row(method="Ours", supervision="none"), PUBLISHED) is PUBLISHED.rows[0]
    assert tables.reported_row(row(loss="with"), PUBLISHED) is PUBLISHED.ablation[0]
    for words in ({"method": "Ours"}, {"method": "Theirs"}):
        with pytest.raises(PluginError, match=r"published rows of 'b', expected 1"):
            tables.reported_row(row(**words), PUBLISHED)


@pytest.mark.parametrize("recipe", [*ALL, *ALL_METHODS], ids=lambda recipe: recipe.name)
def test_every_recipe_finds_its_reported_rows_and_its_pictures_rows(recipe: Recipe) -> None:
    assert plan.named(recipe.name) == recipe
    labels = [(plan.label(row), row.target) for row in recipe.rows]
    assert len(set(labels)) == len(labels)
    published = registry.published()
    for row in recipe.rows:
        benchmark = domain(row.target or "").benchmark
        assert benchmark is not None
        beside = tables.reported_row(row, published[benchmark.id])
        assert (beside is None) == (not row.reported)
    plan.jobs(recipe, plan.Options(preset="tiny", device="cpu"))


def test_the_tables_have_the_papers_rows() -> None:
    found = {recipe.name: recipe for recipe in ALL}
    published = registry.published()
    values = {
        name: [
            beside.scores["mpjpe_mm"]
            for row in found[name].rows
            if (beside := tables.reported_row(row, published[_benchmark(row)]))
        ]
        for name in ("table1", "table3", "table4")
    }
    assert values["table1"] == [17.3, 19.0]
    assert values["table3"] == [49.6, 78.5, 60.5, 57.8, 55.2, 56.4, 49.1, 46.3]
    assert values["table4"] == [19.06, 27.11, 21.34, 30.48]
    assert [row.supervision for row in found["table3"].rows[-7:]] == list(LEVELS)
    assert [row.joints for row in found["figure5"].rows[1:]] == list(JOINTS) == [1, 3, 6, 12, 17]
    assert len([row for row in found["table2"].rows if row.reported]) == 14


def _benchmark(row: RecipeRow) -> str:
    benchmark = domain(row.target or "").benchmark
    assert benchmark is not None
    return benchmark.id


def official(outcome: Outcome, mpjpe_mm: float, **changes: Any) -> Outcome:
    """The outcome as if it had been measured on official data."""
    scores = {**outcome.result.entry.scores, "mpjpe_mm": mpjpe_mm}
    entry = outcome.result.entry.model_copy(update={"origin": "official", "scores": scores, **changes})
    return replace(outcome, result=replace(outcome.result, entry=entry))


def test_differences_are_formed_on_official_data_alone(done: tuple[Reproduction, Said, plan.Options]) -> None:
    found, _, _ = done
    benchmark = found.outcomes[0].result.benchmark
    published = registry.published()[benchmark.id]
    header, rows = tables.cells(found.recipe, found.outcomes, benchmark, published)
    assert header[:5] == ["Row", "Seeds", "MPJPE (mm)", "paper", "difference"]
    assert [(row[0], row[1], row[3], row[4]) for row in rows] == [
        ("floor", "2", "–", "–"), ("depth branch", "1", "17.3", "–"), ("mask branch", "1", "19.0", "–"),
    ]  # fmt: skip
    assert "±" in rows[0][2]
    real = [official(one, 20.0 + number) for number, one in enumerate(found.outcomes)]
    _, rows = tables.cells(found.recipe, real, benchmark, published)
    assert [row[4] for row in rows] == ["–", "+3.7", "+3.0"]
    text = tables.markdown(found.recipe, found.outcomes, registry.published())
    assert tables.STAND_IN_NOTE in text
    assert "| depth branch | 1 |" in text
    assert tables.STAND_IN_NOTE not in tables.markdown(found.recipe, real, registry.published())


def test_pictures_show_the_rows_in_the_order_they_are_named(
    done: tuple[Reproduction, Said, plan.Options], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    titles: list[str] = []

    def remember(path: Path, samples: Any, columns: Any) -> Path:
        titles.extend(title.split("\n")[0] for title, _ in columns)
        return path

    found, _, _ = done
    (path,) = pictures.draw(found.recipe, found.outcomes, tmp_path)
    image = cv2.imread(str(path))
    assert path.name == "small-poses-ubc3v-hard.png"
    assert image is not None
    assert image.std() > 10
    monkeypatch.setattr(pictures, "comparison", remember)
    pictures.draw(found.recipe, found.outcomes, tmp_path)
    assert titles == ["image", "truth", "mask branch", "depth branch"]


def test_the_curve_falls_where_the_error_does(done: tuple[Reproduction, Said, plan.Options], tmp_path: Path) -> None:
    found, _, _ = done
    template, benchmark = found.outcomes[1], found.outcomes[1].result.benchmark

    def row(joints: int, error: float) -> Outcome:
        changed = replace(template.job.row, supervision="partial", joints=joints, label=f"{joints} joints")
        around = {"mpjpe_mm": (error - 4, error + 6)}
        return official(replace(template, job=replace(template.job, row=changed)), error, intervals=around)

    outcomes = [row(17, 60.0), row(1, 140.0), row(6, 90.0)]
    path = pictures.joints(tmp_path / "f.png", RecipePicture("joints"), outcomes, benchmark)
    assert path is not None
    image = cv2.imread(str(path)).astype(int)
    rows, columns = np.nonzero(np.abs(image - np.array([0xA8, 0x5F, 0x1F])).sum(-1) < 40)
    left, right = columns < np.percentile(columns, 15), columns > np.percentile(columns, 85)
    assert rows[left].mean() + 60 < rows[right].mean()
    points = pictures._series([(1, tables.measured(outcomes, benchmark.id)["1 joints"][1])], "mpjpe_mm")
    assert points == ([1], [140.0], [[4.0], [6.0]])
    assert pictures.joints(tmp_path / "g.png", RecipePicture("joints", rows=("none",)), outcomes, benchmark) is None


def test_what_cannot_be_asked_for_is_refused(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="table1"):
        plan.named("tabel1")
    with pytest.raises(UsageError, match="0 seeds were asked for; ask for at least 1"):
        plan.Options(seeds=0)
    with pytest.raises(UsageError, match="the budget is 0 minutes; give more than 0"):
        plan.Options(budget_minutes=0)
    wrong = replace(RECIPE, pictures=(RecipePicture("poses", rows=("mask brunch",)),))
    monkeypatch.setattr(registry, "recipe", lambda name: wrong)
    with pytest.raises(
        PluginError, match="names the row 'mask brunch', which the recipe does not have; did you mean 'mask branch'"
    ):
        plan.named("small")


def test_the_command_ends_with_table_and_pictures(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "recipe", lambda name: RECIPE)
    words = ["reproduce", "small", "--preset", "tiny", "--device", "cpu", "--data", str(data),
             "--leaderboards", str(data / "boards"), "--out", str(tmp_path)]  # fmt: skip
    found = CliRunner().invoke(main, words)
    assert found.exit_code == 0, found.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["small-poses-ubc3v-hard.png", "small.md"]
    for said in ("depth branch", "17.3", tables.STAND_IN_NOTE.split(".")[0], str(tmp_path / "small.md")):
        assert said in found.output
    assert json.loads(next((data / "boards").rglob("entries/*.json")).read_text())["benchmark"] == "ubc3v-hard"


def test_the_command_says_what_failed_and_what_was_interrupted(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kt3d_bench.reproduction import reproduce as module
    from kt3d_bench.reproduction.runs import Failure

    monkeypatch.setattr(registry, "recipe", lambda name: RECIPE)
    job = plan.jobs(RECIPE, plan.Options(data, "tiny", device="cpu"))[0]
    ends = {
        "1 of the runs failed: floor, seed 0: it broke": Reproduction(
            RECIPE, (), (Failure(job, Kt3dError("it broke")),)
        ),
        "stopped; nothing is lost; give the same command again": Reproduction(RECIPE, (), interrupted=True),
    }
    for said, end in ends.items():
        monkeypatch.setattr(module, "run_all", lambda *arguments, end=end, **options: end)
        found = CliRunner().invoke(main, ["reproduce", "small", "--preset", "tiny", "--data", str(data)])
        assert found.exit_code == 1
        assert said in found.output


def clipped(outcome: Outcome, label: str, means: list[float], seed: int = 0) -> Outcome:
    """The outcome as if its row had this label and these errors in clips of ten samples each."""
    entry = outcome.result.entry
    clips = Clips(names_sha256="0" * 64, samples=(10,) * len(means), means={"mpjpe_mm": tuple(means)})
    scores = {**entry.scores, "mpjpe_mm": float(np.mean(means))}
    changed = entry.model_copy(update={"scores": scores, "clips": clips, "seed": seed})
    job = replace(outcome.job, row=replace(outcome.job.row, label=label))
    return replace(outcome, job=job, result=replace(outcome.result, entry=changed))


def test_claims_are_tested_over_clips(done: tuple[Reproduction, Said, plan.Options]) -> None:
    found, _, _ = done
    template, benchmark = found.outcomes[0], found.outcomes[0].result.benchmark
    hard = [100.0 + 5 * number for number in range(12)]
    outcomes = [
        clipped(template, "start", hard),
        clipped(template, "none", [value - 30 + (-1) ** number for number, value in enumerate(hard)]),
        clipped(template, "noise", [value + 20 * (-1) ** number for number, value in enumerate(hard)]),
        clipped(template, "full", [value - 50 for value in hard]),
    ]
    asked = (RecipeClaim("none", "start", "full"), RecipeClaim("noise", "start"), RecipeClaim("start", "full"),
             RecipeClaim("absent", "start"))  # fmt: skip
    said = tables.claims(Recipe("r", "", (), (), asked), outcomes, benchmark)
    assert len(said) == 3
    assert said[0].startswith("none against start: -30.0 mm [-3")
    assert said[0].endswith("better; 60 % of the gap to full closed.")
    assert said[1].startswith("noise against start: +0.0 mm [-")
    assert said[1].endswith("not significant.")
    assert said[2] == "start against full: +50.0 mm [+50.0, +50.0], worse."
    few = [clipped(template, name, [1.0, 2.0]) for name in ("none", "start")]
    assert tables.claims(Recipe("r", "", (), (), asked[:1]), few, benchmark) == [
        "none against start: +0.0 mm not tested: too few clips."
    ]
