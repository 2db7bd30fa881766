"""``kt3d check`` names each part of the contract that a plugin breaks, what happened, and the function to change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from kt3d_bench.cli import main
from kt3d_bench.cli.extensions import tell
from kt3d_bench.errors import PluginError, UsageError
from kt3d_bench.testing import Finding, check_plugin

Offer = Callable[..., Path]
Edit = tuple[str, str, str]


def broken(name: str) -> dict[str, Finding]:
    """Rule -> what broke it."""
    return {finding.rule: finding for finding in check_plugin(name) if not finding.holds}


def levels(wanted: str) -> Edit:
    """Let the written method accept only these levels of supervision, so that its check is short."""
    return "__init__.py", '("partial-3d", "partial", "full-3d", "full")', wanted


TO_TRUTH = "        output = self._output(batch)\n        truth"
MAKE_NET = "        self.net = IntegralNet("
ANNOTATIONS = "import annotations\n"


def test_a_method_that_breaks_many_parts_hears_of_each(offer: Offer) -> None:
    """Every fault is told, though the run goes on: hidden state, statistics of the batch, an unreached submodule."""
    idle = "        self.idle = torch.nn.Linear(2, 2)\n        self.seen = 0.0\n"
    hidden = "        output = self._output(batch)\n        self.seen += 1.0\n        truth"
    offer(
        "method",
        "mutant-many",
        [
            ("__init__.py", ANNOTATIONS, f"{ANNOTATIONS}\nimport scipy.linalg  # noqa\n"),
            ("method.py", MAKE_NET, idle + MAKE_NET),
            ("method.py", "Literal, cast\n", "Literal, cast\n\nimport torch\n"),
            ("method.py", 'trains=("net",)', 'trains=("net", "idle")'),
            ("method.py", TO_TRUTH, hidden),
            ("method.py", "self.config.side)\n        losses", "self.config.side) + self.seen\n        losses"),
            ("method.py", "z_mm - z_mm[:, :1]", "z_mm - z_mm[:, :1] + z_mm.mean() * 40 + batch.size * 30"),
        ],
    )
    found = broken("mutant-many")
    assert set(found) == {
        "importing kt3d_mutant_many imports nothing heavy (torch, webdataset, scipy, cv2, h5py, ...)",
        "every submodule that a stage trains is reached by a loss",
        "an interrupted run resumes to the same weights",
        "predict() is deterministic and does not depend on the batch size",
    }
    said = " ".join(finding.sentence for finding in found.values())
    assert "it imports scipy, which makes every kt3d command slow" in said
    assert "no loss reached 'idle' in stage 'mutant-many'" in said
    assert "registered buffers" in said
    assert "use no statistics over the batch in predict()" in said


def test_a_moving_average_that_a_stage_names_counts_as_trained(offer: Offer) -> None:
    offer(
        "method",
        "mutant-slow",
        [
            levels('("full",)'),
            ("method.py", MAKE_NET, f"        self.slow = torch.nn.Linear(2, 2)\n{MAKE_NET}"),
            ("method.py", "Literal, cast\n", "Literal, cast\n\nimport torch\n"),
            ("method.py", 'trains=("net",)', 'trains=("net", "slow")'),
            ("method.py", "    def predict(", AFTER_STEP),
        ],
    )
    assert broken("mutant-slow") == {}


AFTER_STEP = """    def after_step(self, stage: Stage, progress: Progress) -> None:
        self.slow.weight.lerp_(self.net.offset.weight[:, :2] + 1, 0.5)

    def predict("""


def test_a_method_without_parameters_keeps_the_contract() -> None:
    findings = check_plugin("mean-pose")
    assert [finding.sentence for finding in findings if not finding.holds] == []
    assert any("target's labels change nothing" in finding.rule for finding in findings)


@pytest.mark.parametrize(
    ("number", "edits", "rule", "messages"),
    [
        (1, [("method.py", "    input_px: int = 256", "    input_px: int")], "Config is a frozen dataclass",
         ["these fields have no default: input_px", "the preset 'paper'"]),
        (2, [("method.py", "@dataclass(frozen=True)", "@dataclass")], "Config is a frozen dataclass",
         ["Config is not frozen", "write @dataclass(frozen=True) above it"]),
        (3, [("method.py", "learning_rate: float = 1e-3", "learning_rate: complex = 1j")], "Config is a frozen",
         ["--set cannot set 'learning_rate'"]),
        (4, [("method.py", '"steps": 500', '"stepz": 500')], "PRESETS are", ["sets 'stepz', did you mean 'steps'?"]),
        (12, [("method.py", "    PRESETS: ClassVar", '    PRECISIONS = {"tinny": "32-true"}\n    PRESETS: ClassVar')],
         "PRESETS are", ["PRECISIONS maps 'tinny' to '32-true'; map presets to one of auto, 32-true, bf16-mixed"]),
        (5, [("__init__.py", '("paper", "tiny")', '("paper", "small")')], "PRESETS are",
         ["the record says paper, small"]),
        (6, [("method.py", 'trains=("net",)', 'trains=("nets",)')], "every preset builds",
         ["trains 'nets', which is no", "did you mean 'net'"]),
        (7, [("method.py", 'roles={"target":', 'roles={"source":')], "every preset builds", ["reads source data",
             "MethodPlugin.defaults"]),
        (8, [("method.py", '"side": config.side}', '"side": config}')], "every preset builds",
         ["is not plain data: Object of type Config"]),
        (9, [("method.py", "def predict(", "def foretell(")], "its class can be loaded",
         ["lacks predict", "define predict"]),
        (10, [("method.py", "import IntegralNet,", "import IntegralNed,")], "its class can be loaded",
         ["method:Mutant10 of plugin 'mutant-10': cannot be loaded (ImportError", "IntegralNed"]),
        (11, [("__init__.py", '"target": "h36m"', '"target": "h36n"')], "the datasets it uses by default",
         ["no dataset or benchmark 'h36n'; did you mean 'h36m'"]),
    ],
)  # fmt: skip
def test_what_is_wrong_before_training_is_named(
    offer: Offer, number: int, edits: list[Edit], rule: str, messages: list[str]
) -> None:
    offer("method", f"mutant-{number}", edits)
    if number == 11:
        found = {finding.rule: finding for finding in _until_training(f"mutant-{number}")}
    else:
        found = broken(f"mutant-{number}")
    (finding,) = [finding for name, finding in found.items() if name.startswith(rule)]
    for message in messages:
        assert message in finding.sentence


class _EnoughError(KeyboardInterrupt):
    """The rehearsal need not go on."""


def _until_training(name: str) -> list[Finding]:
    found: list[Finding] = []

    def say(finding: Finding) -> None:
        if "short run" in finding.rule:
            raise _EnoughError
        if not finding.holds:
            found.append(finding)

    with pytest.raises(_EnoughError):
        check_plugin(name, say=say)
    return found


@pytest.mark.parametrize(
    ("number", "edit", "messages"),
    [
        (21, ("method.py", "losses = {", "losses = {'odd': output.voxels.sum() * float('nan'), "),
         ["the loss 'odd' of step() of stage 'mutant-21' is nan", "mask what is not labelled"]),
        (22, ("method.py", "losses = {", "losses = {'odd': output.voxels.detach().sum(), "),
         ["the loss 'odd'", "depends on nothing that learns", "do not detach a loss"]),
        (23, ("method.py", "losses = {", "losses = {'odd': output.voxels, "),
         ["the loss 'odd'", "is not a single number"]),
        (24, ("method.py", "return StepResult(losses)", "return losses"),
         ["step() of stage 'mutant-24' returned dict", "return StepResult"]),
        (25, ("method.py", "losses = {", "losses = {'odd': self.config.colour, "),
         ["AttributeError: 'Config' object has no attribute 'colour'", "change step() in method.py, line"]),
        (26, ("method.py", TO_TRUTH, f"        self.extra.requires_grad_(True)\n{TO_TRUTH}"),
         ["switched gradients on in 'extra', which it does not train"]),
    ],
)  # fmt: skip
def test_a_step_that_breaks_the_contract_is_named(offer: Offer, number: int, edit: Edit, messages: list[str]) -> None:
    edits = [edit, levels('("full",)')]
    if number == 26:
        edits += [("method.py", MAKE_NET, f"        self.extra = IntegralNet(1, backbone='tiny', side=8)\n{MAKE_NET}")]
    offer("method", f"mutant-{number}", edits)
    (finding,) = broken(f"mutant-{number}").values()
    assert "a short run with supervision 'full' trains" in finding.rule
    for message in messages:
        assert message in finding.sentence


PEEP = '''def peeped() -> float:
    """Finds the shards that the harness has open, and reads what it must not."""
    import gc

    from kt3d_bench.training.feeds import RoleData

    gc.collect()
    feeds = [one for one in gc.get_objects() if type(one) is RoleData]
    (target,) = [one.shards for one in feeds if one.shards.manifest.dataset.endswith("target")]
    return float(abs(target.labels.joints_px).mean())


@dataclass(frozen=True)
'''


def test_labels_that_are_read_behind_the_harness_are_found(offer: Offer) -> None:
    truth = (
        "        truth = to_voxels(batch.joints_px, batch.joints_root_mm[..., 2], self.input_px, self.config.side)\n"
        '        losses = {"joints": smooth_l1(output.voxels, truth, batch.mask_3d)}\n'
    )
    offer(
        "method",
        "mutant-peeper",
        [
            levels('("none",)'),
            ("method.py", truth, '        losses = {"joints": (output.voxels - peeped()).square().mean()}\n'),
            ("method.py", "@dataclass(frozen=True)\n", PEEP),
        ],
    )
    (finding,) = broken("mutant-peeper").values()
    assert finding.rule == "without supervision, the target's labels change nothing"
    assert "read the target only through the batches that step() is given" in finding.hint


def test_randomness_of_its_own_is_found(offer: Offer) -> None:
    offer(
        "method",
        "mutant-dice",
        [
            levels('("full",)'),
            ("method.py", "smooth_l1(output", "(1 + int.from_bytes(os.urandom(1))) * smooth_l1(output"),
            ("method.py", ANNOTATIONS, f"{ANNOTATIONS}\nimport os\n"),
        ],
    )
    found = broken("mutant-dice")
    assert (
        "the same seed gave other weights, in net." in found["the same seed gives the same weights, bit for bit"].what
    )


def test_a_prediction_with_holes_is_found(offer: Offer) -> None:
    offer(
        "method",
        "mutant-holes",
        [
            levels('("full",)'),
            ("method.py", "z_mm - z_mm[:, :1]", "z_mm / (z_mm - z_mm[:, :1])"),
        ],
    )
    (finding,) = broken("mutant-holes").values()
    assert "5 of 5 samples have positions that are not finite, in joints 0" in finding.what


RECORDED = "def recorded(item: WorkItem) -> tuple[()]:\n    return ()\n\n\ndef convert("
NO_SPLIT = "        raise MissingDataError("
DATASET_FAULTS = [
    ("card.yaml is valid", "card.yaml", "num_parts: 0", "num_parts: 3", "num_parts counts the classes"),
    ("benchmarks.yaml", "benchmarks.yaml", "split: test", "split: tset", "names split 'tset', there are train, test"),
    ("describe() returns", "convert.py", 'return [f"{split}:', 'return "x" or [f"{split}:', "returned 'x', expected a"),
    ("recorded(), where", "convert.py", "def convert(", RECORDED, "returned tuple, expected Recorded or None"),
    ("plan() refuses an empty", "convert.py", NO_SPLIT, f"        return []\n{NO_SPLIT}",
     "for split 'train' it listed 0 items; raise MissingDataError with the file that was expected: plan() in kt3d_m"),
    ("generate() leaves its marker", "generate.py", '"dataset": "mutant-data"', '"dataset": "data"',
     "expected the dataset mutant-data"),
]  # fmt: skip


def test_a_dataset_that_breaks_many_parts_hears_of_each(offer: Offer) -> None:
    offer("dataset", "mutant-data", [(file, old, new) for _, file, old, new, _ in DATASET_FAULTS])
    found = broken("mutant-data")
    for rule, *_, message in DATASET_FAULTS:
        (finding,) = [one for name, one in found.items() if name.startswith(rule)]
        assert message in finding.sentence, finding.sentence


def test_a_converter_and_a_generator_at_fault_are_told_apart(offer: Offer) -> None:
    offer(
        "dataset",
        "mutant-lines",
        [
            ("generate.py", "rng = np.random.default_rng(take.stream)", "rng = np.random.default_rng()"),
            ("generate.py", "return {split: count * frames", "return {split: count * frames + 1"),
            ("convert.py", 'payload={"path": str(path), "split": split}', 'payload={"path": path, "split": split}'),
            ("convert.py", "    yield _sample(", "    path.with_name('seen').touch()\n        yield _sample("),
        ],
    )
    found = broken("mutant-lines")
    sentences = {rule: finding.sentence for rule, finding in found.items()}
    same = sentences["generate() writes the same bytes with two workers"]
    assert "one worker and two write different files: " in same
    assert "depend only on the seed and on what is drawn: generate() in kt3d_mutant_lines.generate" in same
    assert (
        "holds a PosixPath, which is not plain data"
        in sentences["plan() lists the same plain work for every split each time"]
    )
    assert "promised were 5" in sentences["prepare finds exactly the samples that generate() promised"]
    assert "these raw files changed: " in sentences["plan() and convert() do not change the raw data"]


def test_wrong_geometry_quality_published_numbers_and_claims_are_found(offer: Offer) -> None:
    """The converter takes every folder for its own too: ``kt3d inspect`` would speak of it wherever it looks."""
    late = "def describe(", "def deferred(raw: Path, split: str) -> int:\n    return 7\n\n\ndef describe("
    folder = offer(
        "dataset",
        "mutant-bent",
        [
            ("convert.py", "joints_px=crop.to_crop(joints_px)", "joints_px=joints_px"),
            ("card.yaml", "{joint: nose, quality: exact}", "{joint: nose, quality: approximate}"),
            ("convert.py", "raise MissingDataError(", "raise RawDataError("),
            ("convert.py", *late),
        ],
    )
    (folder / "published.yaml").write_text("sources: {x: A paper}\npublished: {elsewhere: {source: x, rows: []}}\n")
    found = broken("mutant-bent")
    refusals = [
        f"plan() refuses {one} with MissingDataError" for one in ("an empty folder", "another dataset's folder")
    ]
    assert set(found) == {
        "benchmarks.yaml and published.yaml are valid and name what exists",
        *refusals,
        "describe() returns sentences on what is there",
        "the samples pass kt3d validate",
        "the samples' joints have the quality that the card states",
    }
    for rule in refusals:
        sentence = found[rule].sentence
        assert "it raised RawDataError ('there is no train/<sequence>/sequence.json'), as if part of" in sentence
    described = found["describe() returns sentences on what is there"].sentence
    assert "deferred() returned 7, expected a sentence or None" in described
    assert "change convert() in kt3d_mutant_bent.convert" in found["the samples pass kt3d validate"].hint
    assert "quality of nose" in found["the samples' joints have the quality that the card states"].what
    assert "published.yaml names 'elsewhere', which benchmarks.yaml does not define" in "".join(
        finding.what for finding in found.values()
    )


def test_an_exception_is_a_sentence_with_the_authors_line_and_a_traceback_on_request(
    offer: Offer, capsys: pytest.CaptureFixture[str]
) -> None:
    offer("dataset", "mutant-raises", [("convert.py", "    found = sorted(", "    found = 1 / 0 * sorted(")])
    finding = broken("mutant-raises")["plan() lists the same plain work for every split each time"]
    tell(finding, False)
    plain = capsys.readouterr().out
    assert "Traceback" not in plain
    assert "ZeroDivisionError: division by zero" in plain
    assert "change plan() in convert.py, line" in plain
    assert plain.splitlines()[-1].endswith('found = 1 / 0 * sorted(raw.glob(f"{split}/*/{SEQUENCE}"))')
    tell(finding, True)
    assert "Traceback (most recent call last)" in capsys.readouterr().out


def test_a_break_ends_the_command_with_1(offer: Offer) -> None:
    offer("method", "mutant-last", [("method.py", "@dataclass(frozen=True)", "@dataclass")])
    done = CliRunner().invoke(main, ["check", "mutant-last"])
    assert done.exit_code == 1
    assert "Config is not frozen" in done.output
    assert done.output.splitlines()[-1] == "4 of 5 rules of the contract hold."


def test_kept_files_lie_where_they_are_asked_for(offer: Offer, tmp_path: Path) -> None:
    offer("dataset", "mutant-kept")
    keep = tmp_path / "kept"
    done = CliRunner().invoke(main, ["check", "mutant-kept", "--keep", str(keep)])
    assert done.exit_code == 0, done.output
    assert (keep / "dataset-mutant-kept" / "shards" / "manifest.json").is_file()
    again = CliRunner().invoke(main, ["check", "mutant-kept", "--keep", str(keep)])
    assert again.exit_code == 2
    assert "is not an empty folder; choose another --keep" in again.output


def test_unknown_names_come_with_a_suggestion() -> None:
    with pytest.raises(
        UsageError, match=r"no plugin, method, dataset or metric is called 'mean-pse'; did you mean 'mean-pose'"
    ):
        check_plugin("mean-pse")


def test_a_plugin_that_cannot_be_registered_stops_with_its_name(offer: Offer) -> None:
    with pytest.raises(PluginError, match=r"plugin 'mutant-odd': defines kt3d_methods\(\), which is not marked"):
        offer("method", "mutant-odd", [("__init__.py", "@hookimpl\n", "")])
