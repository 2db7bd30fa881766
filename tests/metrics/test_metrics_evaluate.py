"""Scoring: folds against plain loops, keys that do not fit, what is undefined, and what may not be imported."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from kt3d_bench.errors import ArtefactError, UsageError
from kt3d_bench.metrics.benchmarks import Benchmark
from kt3d_bench.metrics.evaluate import measure, write_scores
from kt3d_bench.metrics.functional import METRIC_VERSION, mpjpe, pa_mpjpe, pck
from kt3d_bench.metrics.predictions import Predictions, write_predictions
from kt3d_bench.metrics.truth import Truth, truth_from_shards
from kt3d_bench.skeletons import H36M17, Quality

BENCHMARK = Benchmark(
    id="toy-test",
    version=3,
    title="Toy",
    dataset="toy",
    split="test",
    modality="rgb",
    headline=("mpjpe_mm", "pa_mpjpe_mm"),
    beside=("pck_100", "mpjpe_root_mm"),
    root=0,
    reference="root-given",
    box_rule="joints",
    sees="the crop",
    action_mean=True,
)


def truth(count: int = 60, seed: int = 0) -> Truth:
    rng = np.random.default_rng(seed)
    joints = (rng.normal(size=(count, 17, 3)) * 300 + np.array([0, 0, 4000])).astype(np.float32)
    number = np.arange(count)
    return Truth(
        keys=np.array([f"s_{i:04d}" for i in number]),
        joints_cam_mm=joints,
        quality=np.full((count, 17), Quality.EXACT, np.uint8),
        action=np.array(["walk", "sit", "eat"])[np.minimum(number % 5, 2)],
        subject=np.where(number < count // 3, "S9", "S11"),
        sequence=np.array([f"clip{i // 6}" for i in number]),
        sample_list_digest="a" * 64,
        labels_digest="b" * 64,
        origin="generated",
        dataset="toy",
        split="test",
        box_rule="joints",
    )


def noisy(known: Truth, noise_mm: float = 80.0) -> Predictions:
    noise = np.random.default_rng(1).normal(size=known.joints_cam_mm.shape) * noise_mm
    return Predictions(known.keys, (known.joints_cam_mm + noise).astype(np.float32), {})


def test_folds_equal_plain_loops() -> None:
    known = truth()
    predictions = noisy(known)
    found = measure(predictions, known, BENCHMARK)
    pred, true = predictions.joints_cam_mm, known.joints_cam_mm
    per_sample = {
        "mpjpe_mm": mpjpe(pred, true, root=0),
        "pa_mpjpe_mm": pa_mpjpe(pred, true),
        "pck_100": pck(pred, true, root=0),
        "mpjpe_root_mm": mpjpe(pred, true, root=0),
    }
    for name, values in per_sample.items():
        assert found.overall[name] == pytest.approx(sum(values) / len(values), abs=1e-9)
        actions: dict[str, list[float]] = {}
        for action, value in zip(known.action, values, strict=True):
            actions.setdefault(str(action), []).append(float(value))
        means = {action: sum(some) / len(some) for action, some in actions.items()}
        assert {action: fold[name] for action, fold in found.by_action.items()} == pytest.approx(means, abs=1e-9)
        assert found.action_mean[name] == pytest.approx(sum(means.values()) / 3, abs=1e-9)
        assert found.by_subject["S9"][name] == pytest.approx(values[:20].mean(), abs=1e-9)
    knee = [
        np.linalg.norm((p[2] - p[0]).astype(float) - (t[2] - t[0]))
        for p, t in zip(pred.astype(float), true, strict=True)
    ]
    assert found.by_joint["right_knee"]["mpjpe_mm"] == pytest.approx(np.mean(knee), abs=1e-4)
    assert found.by_joint["hip"]["mpjpe_mm"] == 0
    assert found.by_joint["hip"]["pck_100"] == 100
    assert tuple(found.by_joint) == H36M17.joints
    assert found.action_mean["mpjpe_mm"] != pytest.approx(found.overall["mpjpe_mm"], abs=1e-3)
    assert (found.samples, found.unanswered, found.warnings) == (60, 0, ())
    assert set(found.undefined.values()) == {0}
    assert (found.sample_list_digest, found.labels_digest) == ("a" * 64, "b" * 64)
    assert (found.benchmark_version, found.metric_version, found.origin) == (3, METRIC_VERSION, "generated")


def test_values_are_kept_per_sample_and_joint() -> None:
    known = truth()
    found = measure(noisy(known), known, BENCHMARK)
    np.testing.assert_allclose(found.values["pa_mpjpe_mm"].mean(), found.overall["pa_mpjpe_mm"])
    assert found.values["mpjpe_mm"].shape == (60, 17)
    assert found.counted.all()


def test_further_metrics_can_be_asked_for() -> None:
    known = truth()
    predictions = noisy(known)
    found = measure(predictions, known, BENCHMARK, also=["pa_mpjpe_mirror_mm", "pck_100"])
    assert list(found.overall) == [*BENCHMARK.metrics, "pa_mpjpe_mirror_mm"]
    expected = pa_mpjpe(predictions.joints_cam_mm, known.joints_cam_mm, reflection=True).mean()
    assert found.overall["pa_mpjpe_mirror_mm"] == pytest.approx(expected)
    with pytest.raises(UsageError, match=r"there is no metric 'pck_1000'; did you mean 'pck_100'\?"):
        measure(predictions, known, BENCHMARK, also=["pck_1000"])


def test_the_order_of_a_prediction_file_does_not_matter() -> None:
    known = truth()
    predictions = noisy(known)
    order = np.random.default_rng(2).permutation(60)
    shuffled = Predictions(predictions.keys[order], predictions.joints_cam_mm[order], {})
    assert measure(shuffled, known, BENCHMARK).summary() == measure(predictions, known, BENCHMARK).summary()


def test_absolute_positions_without_a_root() -> None:
    known = truth()
    shifted = Predictions(known.keys, known.joints_cam_mm + np.float32(30.0), {})
    found = measure(shifted, known, replace(BENCHMARK, root=None))
    assert found.overall["mpjpe_mm"] == pytest.approx(30 * 3**0.5, rel=1e-4)
    assert found.overall["mpjpe_root_mm"] == pytest.approx(0, abs=1e-3)
    assert found.overall["pa_mpjpe_mm"] == pytest.approx(0, abs=1e-3)
    assert found.overall["pck_100"] == 100


def test_map_counts_the_datasets_own_joints_where_they_are() -> None:
    known = truth()
    quality = known.quality.copy()
    quality[:, 1] = Quality.APPROXIMATE
    joints = known.joints_cam_mm.copy()
    joints[7, 4] = np.nan
    known = replace(known, quality=quality, joints_cam_mm=joints)
    own = (1, 4, 9)
    benchmark = replace(BENCHMARK, joints=(0, 5, 6), min_quality="exact", beside=("map_100",), original_joints=own)
    predictions = noisy(known)
    found = measure(predictions, known, benchmark)
    shares = []
    for pred, true in zip(predictions.joints_cam_mm.astype(float), joints.astype(float), strict=True):
        right = [np.linalg.norm(pred[j] - true[j]) <= 100.0 for j in own if np.isfinite(true[j]).all()]
        shares.append(100.0 * sum(right) / len(right))
    assert len({*shares}) > 2
    assert found.overall["map_100"] == pytest.approx(np.mean(shares), abs=1e-9)
    assert np.isnan(found.by_joint["hip"]["map_100"])
    assert np.isfinite(found.by_joint["nose"]["map_100"])
    with pytest.raises(UsageError, match="'map_100' counts the dataset's own joints, and benchmark 'toy-test' names"):
        measure(predictions, known, BENCHMARK, also=["map_100"])


def test_the_truth_and_the_benchmark_decide_which_joints_count() -> None:
    known = truth()
    joints = known.joints_cam_mm.copy()
    joints[3, 5] = np.nan
    quality = known.quality.copy()
    quality[:, 9] = Quality.APPROXIMATE
    quality[:, 7] = Quality.ABSENT
    benchmark = replace(BENCHMARK, joints=tuple(j for j in range(17) if j != 2), min_quality="derived")
    found = measure(noisy(known), replace(known, joints_cam_mm=joints, quality=quality), benchmark)
    assert found.counted.sum() == 60 * 14 - 1
    quality[:, 8] = Quality.DERIVED
    known = replace(known, joints_cam_mm=joints, quality=quality)
    holes = noisy(known).joints_cam_mm.copy()
    holes[:, [2, 7, 9]] = np.nan
    assert measure(Predictions(known.keys, holes, {}), known, benchmark).unanswered == 0
    np.testing.assert_array_equal(measure(noisy(known), known, benchmark).counted, found.counted)
    assert not found.counted[:, [2, 7, 9]].any()
    assert not found.counted[3, 5]
    assert np.isnan(found.values["mpjpe_mm"][~found.counted]).all()
    assert np.isnan(found.by_joint["nose"]["mpjpe_mm"])
    assert "right_knee" not in found.by_joint
    assert found.unanswered == 0
    assert set(found.undefined.values()) == {0}
    assert found.summary()["by_joint"]["nose"]["mpjpe_mm"] is None


def test_joints_without_an_answer_are_counted_and_never_help() -> None:
    known = truth()
    joints = noisy(known).joints_cam_mm.copy()
    before = measure(Predictions(known.keys, joints, {}), known, BENCHMARK)
    joints[4, 3] = np.nan
    joints[8] = np.nan
    with pytest.raises(ArtefactError, match=r"2 samples lack a finite prediction of a counted joint.*--incomplete"):
        measure(Predictions(known.keys, joints, {}), known, BENCHMARK)
    found = measure(Predictions(known.keys, joints, {}), known, BENCHMARK, incomplete=True)
    assert found.unanswered == 2
    assert found.undefined == {"mpjpe_mm": 2, "pa_mpjpe_mm": 2, "pck_100": 0, "mpjpe_root_mm": 2}
    assert found.overall["pck_100"] < before.overall["pck_100"]
    assert any("the row is not ranked" in said for said in found.warnings)
    assert any("MPJPE is undefined for 2 samples" in said for said in found.warnings)


def test_degenerate_predictions_are_counted_by_kind_and_never_zero() -> None:
    known = truth()
    joints = noisy(known).joints_cam_mm.copy()
    joints[1] = 0
    joints[2] = [10.0, 20.0, 3000.0]
    joints[3] = np.outer(np.arange(17), [30.0, 0.0, 40.0])
    joints[4, 6] = np.inf
    quality = known.quality.copy()
    quality[5, 2:] = Quality.ABSENT
    given, asked = Predictions(known.keys, joints, {}), replace(known, quality=quality)
    found = measure(given, asked, BENCHMARK, also=["n_mpjpe_mm", "auc_150"], incomplete=True)
    assert found.degenerate == {
        "every joint at the origin": 1,
        "all joints in one point": 1,
        "all joints on one line": 1,
        "a counted joint without a finite answer": 1,
        "fewer than three counted joints": 1,
    }
    per_sample = {name: values[1:4].mean(axis=1) for name, values in found.values.items()}
    assert found.undefined == {
        "mpjpe_mm": 1, "pa_mpjpe_mm": 4, "pck_100": 0, "mpjpe_root_mm": 1, "n_mpjpe_mm": 3, "auc_150": 0,
    }  # fmt: skip
    assert (per_sample["mpjpe_mm"] > 100).all()
    assert per_sample["pa_mpjpe_mm"][2] > 50
    assert "1 samples: all joints on one line" in found.warnings
    assert not any("fewer than three" in said for said in found.warnings)
    assert found.summary()["degenerate"]["all joints in one point"] == 1


def test_the_curve_is_aligned_as_the_benchmark_says() -> None:
    known = truth()
    found = measure(noisy(known), known, BENCHMARK)
    assert len(found.pck_curve) == 31
    assert found.pck_curve[20] == pytest.approx(found.overall["pck_100"])
    shifted = Predictions(known.keys, known.joints_cam_mm + np.float32(30.0), {})
    assert measure(shifted, known, BENCHMARK).pck_curve[1] == pytest.approx(100)
    assert measure(shifted, known, replace(BENCHMARK, root=None)).pck_curve[10] == 0


def test_per_clip_means_add_up() -> None:
    known = truth()
    found = measure(noisy(known), known, BENCHMARK)
    assert list(found.clips.names) == sorted({*known.sequence})
    assert found.clips.counts.tolist() == [6] * 10
    for name, means in found.clips.means.items():
        assert np.average(means, weights=found.clips.counts) == pytest.approx(found.overall[name])


def test_nothing_answered_is_refused_and_next_to_nothing_is_undefined_not_perfect() -> None:
    known = truth()
    nothing = Predictions(known.keys, np.full((60, 17, 3), np.nan, np.float32), {})
    with pytest.raises(ArtefactError, match="no joint has finite coordinates"):
        measure(nothing, known, BENCHMARK)
    nothing.joints_cam_mm[7, 3] = 1e6
    found = measure(nothing, known, BENCHMARK, incomplete=True)
    assert np.isnan(found.overall["mpjpe_mm"])
    assert found.overall["pck_100"] == 0
    assert found.unanswered == 60
    assert "mpjpe_mm" not in found.intervals
    json.dumps(found.summary(), allow_nan=False)


def test_missing_and_extra_keys_are_named() -> None:
    known = truth()
    predictions = noisy(known)
    keys = predictions.keys.copy()
    keys[:5] = [f"other{i}" for i in range(5)]
    wrong = Predictions(keys, predictions.joints_cam_mm, {})
    with pytest.raises(ArtefactError) as caught:
        measure(wrong, known, BENCHMARK, where="run/p.npz")
    assert caught.value.where == "run/p.npz"
    assert "5 of 60 test samples have no prediction (s_0000, s_0001, s_0002, ... (5 in all))" in caught.value.message
    assert "5 predictions are of no test sample (other0, other1, other2, ..." in caught.value.message
    assert "toy-test" in caught.value.message
    found = measure(wrong, known, BENCHMARK, incomplete=True)
    assert found.unanswered == 5
    assert any(said.startswith("5 test samples have no prediction") for said in found.warnings)
    assert any("were left out" in said for said in found.warnings)


def test_predictions_of_more_than_the_test_are_left_out() -> None:
    known = truth()
    small = Truth(**{
        name: getattr(known, name)[:20] if isinstance(getattr(known, name), np.ndarray) else getattr(known, name)
        for name in Truth.__dataclass_fields__
    })  # fmt: skip
    with pytest.raises(
        ArtefactError, match=r"40 predictions are of no test sample \(s_0020.*or leave these out with kt3d"
    ):
        measure(noisy(known), small, BENCHMARK)
    found = measure(noisy(known), small, BENCHMARK, incomplete=True)
    assert found.samples == 20
    assert found.warnings == (
        "40 predictions are of no test sample and were left out (s_0020, s_0021, s_0022, ... (40 in all))",
    )


def test_predictions_of_another_test_set_are_refused_even_when_gaps_are_allowed() -> None:
    known = truth()
    strange = Predictions(np.array(["x"]), known.joints_cam_mm[:1], {})
    with pytest.raises(ArtefactError, match="60 of 60 test samples have no prediction"):
        measure(strange, known, BENCHMARK, incomplete=True)


def test_metres_are_refused() -> None:
    known = truth()
    with pytest.raises(ArtefactError, match="in metres; write joints_cam_mm in millimetres"):
        measure(Predictions(known.keys, known.joints_cam_mm / 1000, {}), known, BENCHMARK)


def test_a_test_set_without_labels_is_refused() -> None:
    known = truth()
    with pytest.raises(ArtefactError, match="hold no 3D labels"):
        measure(noisy(known), replace(known, joints_cam_mm=np.full_like(known.joints_cam_mm, np.nan)), BENCHMARK)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dataset": "other"}, "tests on 'toy/test', these shards hold 'other/test'"),
        ({"split": "train"}, "these shards hold 'toy/train'"),
        ({"box_rule": "detector"}, "takes person boxes from 'joints', these shards hold 'detector'"),
        ({"foreground": "other"}, "finds persons in depth images by the rule 'given', these shards hold 'other'"),
    ],
)
def test_another_test_set_than_the_benchmarks_is_refused(change: dict[str, str], message: str) -> None:
    known = truth()
    with pytest.raises(UsageError, match=message):
        measure(noisy(known), replace(known, **change), BENCHMARK)


def test_a_pinned_sample_list_binds_the_real_data_alone() -> None:
    pinned = replace(BENCHMARK, sample_list_digest="c" * 64)
    known = truth()
    assert measure(noisy(known), known, pinned).samples == 60
    real = replace(known, origin="official")
    assert measure(noisy(known), known, pinned).warnings == ()
    [warning] = measure(noisy(known), real, pinned).warnings
    assert warning.startswith("sample list aaaaaaaaaaaa is not the official one (cccccccccccc): the row is shown apart")
    assert warning.endswith("prepare the whole official download with default options to be ranked")
    assert measure(noisy(known), replace(real, sample_list_digest="c" * 64), pinned).warnings == ()


def test_a_dataset_without_actions_has_no_action_mean() -> None:
    known = replace(truth(), action=np.full(60, ""))
    found = measure(noisy(known), known, BENCHMARK)
    assert found.by_action == {}
    assert found.action_mean == {}


@dataclass
class FakeShards:
    """What ``shards.reader.ShardSet`` offers and scoring uses."""

    keys: np.ndarray
    labels: object
    sample_list_digest: str = "c" * 64
    labels_digest: str = "d" * 64
    origin: str = "official"
    split: str = "test"

    @property
    def manifest(self) -> object:
        return SimpleNamespace(dataset="toy", box_rule="joints", foreground="given")


def test_truth_from_shards() -> None:
    known = truth()
    labels = SimpleNamespace(
        joints_cam_mm=known.joints_cam_mm,
        quality=known.quality[0],
        action=known.action,
        subject=known.subject,
        sequence=known.sequence,
        camera_id=np.array(["left", "right"])[np.arange(60) % 2],
    )
    found = truth_from_shards(FakeShards(known.keys, labels))
    assert (found.dataset, found.split, found.box_rule, found.origin) == ("toy", "test", "joints", "official")
    assert found.foreground == "given"
    assert (found.sample_list_digest, found.labels_digest) == ("c" * 64, "d" * 64)
    scored = measure(noisy(known), found, BENCHMARK)
    assert scored.overall == measure(noisy(known), known, BENCHMARK).overall
    per_sample = mpjpe(noisy(known).joints_cam_mm, known.joints_cam_mm, root=0)
    assert scored.by_camera["right"]["mpjpe_mm"] == pytest.approx(per_sample[1::2].mean(), abs=1e-9)
    assert measure(noisy(known), known, BENCHMARK).by_camera == {}


def test_truth_refuses_arrays_that_do_not_fit() -> None:
    known = truth()
    with pytest.raises(ValueError, match="quality codes"):
        replace(known, quality=known.quality[:5])
    with pytest.raises(ValueError, match="60 values of 'action'"):
        replace(known, action=known.action[:5])


def test_scores_on_disk(tmp_path: Path) -> None:
    known = truth()
    found = measure(noisy(known), known, BENCHMARK)
    for name in ("a", "b"):
        write_scores(tmp_path / name / "toy-test.npz", found)
    with np.load(tmp_path / "a" / "toy-test.npz", allow_pickle=False) as stored:
        np.testing.assert_array_equal(stored["keys"], known.keys)
        np.testing.assert_array_equal(stored["mpjpe_mm"], found.values["mpjpe_mm"])
        assert set(stored.files) == {"keys", "sequence", "counted", *BENCHMARK.metrics}
    summary = json.loads((tmp_path / "a" / "toy-test.json").read_text())
    assert summary["overall"]["mpjpe_mm"] == found.overall["mpjpe_mm"]
    for name in ("toy-test.npz", "toy-test.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


SCRIPT = """
import sys
from pathlib import Path
import numpy as np
from kt3d_bench.leaderboard import entries, tables
from kt3d_bench.metrics import benchmarks, predictions
from kt3d_bench.metrics.evaluate import measure
from kt3d_bench.metrics.truth import Truth
found = predictions.read_predictions(Path(sys.argv[1]))
count = len(found.keys)
names = np.full(count, "x")
quality = np.full((count, 17), 3, np.uint8)
truth = Truth(found.keys, found.joints_cam_mm, quality, names, names, names, "", "", "official")
[one] = benchmarks.read_benchmarks(Path(sys.argv[2]))
print(measure(found, truth, one).overall)
heavy = {"torch", "webdataset", "scipy", "cv2", "h5py", "matplotlib"} & set(sys.modules)
sys.exit(f"imported {sorted(heavy)}" if heavy else 0)
"""


def test_scoring_a_file_imports_nothing_heavy(tmp_path: Path) -> None:
    known = truth()
    write_predictions(tmp_path / "p.npz", known.keys, known.joints_cam_mm)
    place = next(iter(sorted((Path(__file__).parents[2] / "datasets").glob("*/benchmarks.yaml")))).parent
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, tmp_path / "p.npz", place], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "'mpjpe_mm': 0.0" in done.stdout
