"""Every reader, with valid files that the tests' own writers make."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import campaign_use
import campaign_world as world
import cv2
import h36m_handmade
import h36m_layouts
import itop_handmade
import mpii_release
import numpy as np
import scipy.io
import synth_motion_files
import ubc3v_sections
from campaign_inputs import (
    bytes_changed,
    chunks_changed,
    gzip_changed,
    json_changed,
    lines_changed,
    npy_changed,
    tar_changed,
    yaml_changed,
    zip_changed,
)
from fuzz import Target, command
from kt3d_h36m import archives, cdf, fetch, metadata, moon, video, videopose
from kt3d_itop import hdf5
from kt3d_mpii.annotations import read_annotations
from kt3d_mpii.layout import read_image
from kt3d_ubc3v import groundtruth
from kt3d_ubc3v.layout import read_rgba

from kt3d_bench.data import format as fields
from kt3d_bench.data.index import read_index
from kt3d_bench.data.manifest import read_manifest
from kt3d_bench.data.reader import ShardSet
from kt3d_bench.leaderboard.entries import read_entry
from kt3d_bench.metrics.benchmarks import read_benchmarks, read_published
from kt3d_bench.metrics.forms import read_prediction_file
from kt3d_bench.metrics.predictions import write_predictions
from kt3d_bench.nn.weights import read_weights
from kt3d_bench.plugins.cards import read_card
from kt3d_bench.report.log import read_log
from kt3d_bench.run_folder import read_run
from kt3d_bench.synth.motion.folder import read_motion
from kt3d_bench.training import checkpoint
from kt3d_bench.training.interim import read_worlds

NPZ = zip_changed(npy_changed)
PLUGINS = Path(hdf5.__file__).parents[1]


def _whole(read: Callable[[Path], Any], *names: str) -> Callable[[Path], Any]:
    """Return a reader that takes the file itself."""
    return lambda folder: read(folder.joinpath(*names))


def of_line(folder: Path) -> list[Target]:
    """Files of the line, and the commands that read them, from the station of a scored run."""
    if not (folder / "score").exists():
        world.World(folder, ("prepare", "train", "score"))
    home = folder / "score/home"
    data = home / "kt3d-data"
    shards, run, board = data / "shards/ubc3v", data / "runs/x", data / "leaderboards/generated/ubc3v-hard"
    (entry,) = (board / "entries").glob("*.json")
    predictions = run / "predictions/ubc3v-hard.npz"

    def opened(place: Path) -> None:
        found = ShardSet.open(place / "kt3d-data/shards/ubc3v", "test")
        for i in range(2):
            found.sample(i)

    def labels(place: Path) -> None:
        with contextlib.suppress(ValueError):
            fields.decode("a", {"labels.json": (place / "labels.json").read_bytes()})

    test = ShardSet.open(shards, "test")
    predicted = np.load(predictions)
    forms = {
        "mmpose.json": json.dumps({"unit": "mm", "predictions": [{"img_path": f"a/{i}.jpg", "keypoints": pose.tolist()}
                                   for i, pose in enumerate(predicted["joints_cam_mm"][:3])]}).encode(),
        "videopose3d.npz": _npz(**{"S9/Walking/54138969": predicted["joints_cam_mm"] / 1000}),
        "motionbert.npz": _npz(s_09_act_02_subact_01_ca_01=predicted["joints_cam_mm"]),
        "posepile.npz": _npz(image_path=predicted["keys"], coords3d_pred_world=predicted["joints_cam_mm"]),
    }  # fmt: skip
    write_predictions(folder / "given.npz", test.keys, test.labels.joints_cam_mm + np.float32(9))
    given = (folder / "given.npz").read_bytes()
    inside = "kt3d-data/shards/ubc3v"
    few = {"beside": home, "share": 0.1}
    score = ("score", "given.npz", "--benchmark", "ubc3v-hard", "--name", "a")
    return [
        Target("predictions", "p.npz", (given, predictions.read_bytes()), NPZ, _whole(read_prediction_file, "p.npz")),
        *(Target(name, name, (one,), json_changed if name.endswith("json") else NPZ, _whole(read_prediction_file, name))
          for name, one in forms.items()),
        Target("index", "a.index.npz", ((shards / "test-000000.index.npz").read_bytes(),), NPZ, _whole(read_index,
               "a.index.npz")),
        Target("manifest", "manifest.json", ((shards / "manifest.json").read_bytes(),), json_changed, read_manifest),
        Target("labels", "labels.json", (test.read(0, "labels"),), json_changed, labels),
        Target("depth image", "d.png", (test.read(0, "depth_mm"),), chunks_changed, _image("depth_mm", "d.png")),
        Target("parts image", "p.png", (test.read(0, "parts"),), chunks_changed, _image("parts", "p.png")),
        Target("rgb image", "r.jpg", (_jpeg(),), bytes_changed, _image("rgb", "r.jpg")),
        Target("entry", entry.name, (entry.read_bytes(),), json_changed, _whole(read_entry, entry.name)),
        Target("run", "run.yaml", ((run / "run.yaml").read_bytes(),), yaml_changed, read_run),
        Target("log", "log.jsonl", ((run / "log.jsonl").read_bytes(),), lines_changed, _whole(read_log, "log.jsonl")),
        Target("worlds", "checkpoints/processes.json", ((run / "checkpoints/processes.json").read_bytes(),),
               json_changed, read_worlds),
        Target("checkpoint", "c.pt", ((run / "checkpoints/final.pt").read_bytes(),), zip_changed(bytes_changed),
               _whole(checkpoint.load, "c.pt"), share=0.25),
        Target("weights", "w.pth", ((run / "checkpoints/final.pt").read_bytes(),), zip_changed(bytes_changed),
               _whole(read_weights, "w.pth"), share=0.25),
        *(Target(f"{what} {name.name}", f"{what}.yaml", ((name / f"{what}.yaml").read_bytes(),), yaml_changed, read)
          for what, read in (("card", read_card), ("benchmarks", read_benchmarks), ("published", read_published))
          for name in sorted(PLUGINS.iterdir()) if (name / f"{what}.yaml").exists() and name.name in ("kt3d_h36m",
                 "kt3d_itop")),
        Target("open index", f"{inside}/test-000000.index.npz", ((shards / "test-000000.index.npz").read_bytes(),),
               NPZ, opened, **few),
        Target("open tar", f"{inside}/test-000000.tar", ((shards / "test-000000.tar").read_bytes(),), bytes_changed,
               opened, **few),
        Target("kt3d inspect shards", f"{inside}/manifest.json", ((shards / "manifest.json").read_bytes(),),
               json_changed,
               command("inspect", inside), **few),
        Target("kt3d validate", f"{inside}/manifest.json", ((shards / "manifest.json").read_bytes(),), json_changed,
               command("validate", inside), **few),
        Target("kt3d validate index", f"{inside}/test-000000.index.npz",
               ((shards / "test-000000.index.npz").read_bytes(),), NPZ,
               command("validate", inside), **few),
        Target("kt3d validate tar", f"{inside}/test-000000.tar", ((shards / "test-000000.tar").read_bytes(),),
               tar_changed,
               command("validate", inside), **few),
        Target("kt3d prepare state", f"{inside}/prepare.json", ((shards / "prepare.json").read_bytes(),), json_changed,
               command("prepare", "ubc3v", "--workers", "1"), beside=home, share=0.02),
        Target("kt3d score FILE", "given.npz", (given,), NPZ, command(*score), **few),
        Target("kt3d score --run", "kt3d-data/runs/x/run.yaml", ((run / "run.yaml").read_bytes(),), yaml_changed,
               command("score", "--run", "x"), **few),
        Target("kt3d predict", "kt3d-data/runs/x/run.yaml", ((run / "run.yaml").read_bytes(),), yaml_changed,
               command("predict", "x"), **few),
        Target("kt3d report", "kt3d-data/runs/x/predictions/ubc3v-hard.npz", (predictions.read_bytes(),), NPZ,
               command("report", "x"), **few),
        Target("kt3d report scores", "kt3d-data/runs/x/scores/ubc3v-hard.json",
               ((run / "scores/ubc3v-hard.json").read_bytes(),),
               json_changed, command("report", "x", "--no-images"), **few),
        Target("kt3d report log", "kt3d-data/runs/x/log.jsonl", ((run / "log.jsonl").read_bytes(),), lines_changed,
               command("report", "x", "--no-images"), **few),
        Target("kt3d leaderboard check", str(entry.relative_to(home)), (entry.read_bytes(),), json_changed,
               command("leaderboard", "check", "--leaderboards", "kt3d-data/leaderboards"), **few),
        Target("kt3d leaderboard build", str(entry.relative_to(home)), (entry.read_bytes(),), json_changed,
               command("leaderboard", "build", "--leaderboards", "kt3d-data/leaderboards"), **few),
        *campaign_use.of_scored_run(folder, home),
    ]  # fmt: skip


def _image(field: str, name: str) -> Callable[[Path], None]:
    def read(folder: Path) -> None:
        with contextlib.suppress(ValueError):
            fields.decode_image(field, (folder / name).read_bytes())

    return read


def _npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def _jpeg() -> bytes:
    picture = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
    return bytes(cv2.imencode(".jpg", picture)[1])


def of_raw(folder: Path) -> list[Target]:
    """Files of the official downloads and of what others made of them."""
    raw = h36m_handmade.write_raw(folder / "h36m", {1: ["Directions 1"]})
    official = h36m_layouts.Official(raw.root)
    pose, clip = next(raw.root.rglob("*.cdf")), next(raw.root.rglob("*.mp4"))
    xml = (raw.root / "metadata.xml").read_bytes()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.add(pose, "S1/a.cdf")
        tar.addfile(tarfile.TarInfo("b" * 200), io.BytesIO())
    mats = folder / "mats"
    mpii_release.write_release(mats / "m.mat", [mpii_release.image_entry("a.jpg", mpii_release.EMPTY)], [1])
    ubc3v_sections.write_section(folder / "section")
    (truth,) = (folder / "section").rglob("groundtruth.mat")
    boxes = h36m_masks(folder / "masks.mat")
    itop = itop_handmade.write(folder / "itop", itop_handmade.frames(2), compression="gzip", chunks=(1, 240, 320))
    names = [f"S{1}/{name}" for name in ("Directions 1", "Greeting")]
    poses = _npz(**{name: np.zeros((3, 32, 3), np.float32) + 0.5 for name in names})
    camera = json.dumps({str(i): {"R": np.eye(3).tolist(), "t": [0, 0, 5000.0], "f": [1145, 1143], "c": [512, 515]}
                         for i in range(1, 5)}).encode()  # fmt: skip
    moved = json.dumps({"2": {"1": {str(i): np.ones((17, 3)).tolist() for i in range(2)}}}).encode()
    coco = json.dumps([{"image": "a.jpg", "joints": [[i, i] for i in range(16)], "joints_vis": [1] * 16}] * 2).encode()
    bvh = synth_motion_files.write_bvh(folder / "a.bvh", synth_motion_files.walker(3)).read_bytes()
    (folder / "acclaim").mkdir(exist_ok=True)
    acclaim = synth_motion_files.write_acclaim(folder / "acclaim", synth_motion_files.walker(3))
    skeleton = next((folder / "acclaim").glob("*.asf"))
    shutil.rmtree(folder / "h36m-fetch", ignore_errors=True)
    annotation = fetch_annotation(folder / "annot.h5")

    def itop_read(name: str, kind: str) -> Callable[[Path], None]:
        def read(place: Path) -> None:
            with hdf5.opened(place / name, kind) as file:
                hdf5.read_ids(file)
                for dataset in file.datasets:
                    file.read(dataset, 0, 2)

        return read

    def cameras(place: Path) -> None:
        metadata.read_cameras(place / "m.xml")
        metadata.read_frame_counts(place / "m.xml")

    def frames(place: Path) -> None:
        list(video.spread_pictures(place / "v.mp4", 2))
        list(video.frames_rgb(place / "v.mp4", 3, 1, where="v.mp4", name="v"))

    images = ubc3v_sections.depth_rgba((0.0, 0.0, 300.0))
    ubc3v_sections.save_rgba(folder / "rgba.png", images)
    assert official is not None
    return [
        Target("h36m cdf", "p.cdf", (pose.read_bytes(),), bytes_changed, lambda at: cdf.read_pose(at / "p.cdf", 3),
               child=True, share=0.25),
        Target("h36m metadata", "m.xml", (xml,), lines_changed, cameras, share=0.25),
        Target("h36m video", "v.mp4", (clip.read_bytes(),), bytes_changed, frames, share=0.5),
        Target("h36m tar", "a.tar", (buffer.getvalue(),), tar_changed,
               lambda at: list(archives.tar_members(at / "a.tar"))),
        Target("h36m tgz", "a.tgz", (gzip.compress(buffer.getvalue()),), gzip_changed(tar_changed),
               lambda at: list(archives.tar_members(at / "a.tgz"))),
        Target("h36m boxes", "b.mat", (boxes,), bytes_changed, lambda at: video.read_boxes(at / "b.mat", [0, 1],
               where="b.mat")),
        Target("h36m annotation", "a.h5", (annotation,), bytes_changed, lambda at: fetch.read_annotation(at / "a.h5",
               (1, 2, 1))),
        Target("h36m plain", "p.npz", (poses,), NPZ, lambda at: videopose.read_poses_mm(at / "p.npz",
               f"{names[0]}.npy")),
        Target("h36m joints", "j.json", (moved,), json_changed, lambda at: moon.read_joints(at / "j.json")),
        Target("h36m cameras", "c.json", (camera,), json_changed, lambda at: moon.read_moon_cameras(at / "c.json", 1)),
        Target("mpii json", "t.json", (coco,), json_changed, lambda at: read_annotations([at / "t.json"])),
        Target("mpii mat", "m.mat", ((mats / "m.mat").read_bytes(),), bytes_changed,
               lambda at: read_annotations([at / "m.mat"]), child=True, share=0.25),
        Target("mpii image", "i.jpg", (_jpeg(),), bytes_changed, lambda at: read_image(at, "i.jpg")),
        Target("ubc3v mat", "g.mat", (truth.read_bytes(), _plain_mat(truth)), bytes_changed,
               lambda at: groundtruth.read_ground_truth(at / "g.mat"), child=True, share=0.25),
        Target("ubc3v image", "i.png", ((folder / "rgba.png").read_bytes(),), chunks_changed,
               lambda at: read_rgba(at / "i.png")),
        *(Target(f"itop {kind}", path.name, (path.read_bytes(),), bytes_changed, itop_read(path.name, kind))
          for kind, path in itop.items()),
        Target("bvh", "a.bvh", (bvh,), lines_changed, lambda at: read_motion(at / "a.bvh")),
        Target("amc", acclaim.name, (acclaim.read_bytes(),), lines_changed, lambda at: read_motion(at / acclaim.name),
               beside=folder / "acclaim", share=0.5),
        Target("asf", skeleton.name, (skeleton.read_bytes(),), lines_changed, lambda at: read_motion(at / acclaim.name),
               beside=folder / "acclaim", share=0.5),
    ]  # fmt: skip


def _plain_mat(path: Path) -> bytes:
    buffer = io.BytesIO()
    content = {name: value for name, value in scipy.io.loadmat(path).items() if not name.startswith("__")}
    scipy.io.savemat(buffer, content, do_compression=False)
    return buffer.getvalue()


def h36m_masks(path: Path) -> bytes:
    """Two masks behind references, as the official file has them."""
    import h5py

    with h5py.File(path, "w") as file:
        masks = [file.create_dataset(f"#refs#/{i}", data=np.eye(6, dtype=np.uint8)).ref for i in range(2)]
        file.create_dataset("Masks", data=np.array([masks], h5py.ref_dtype), dtype=h5py.ref_dtype)
    return path.read_bytes()


def fetch_annotation(path: Path) -> bytes:
    """One recording of h36m-fetch."""
    import h5py

    with h5py.File(path, "w") as file:
        for name, value in (("subject", 1), ("action", 2), ("subaction", 1), ("camera", 54138969), ("frame", 1)):
            file.create_dataset(name, data=np.full(2, value))
        file.create_dataset("pose/3d", data=np.ones((2, 32, 3)), compression="gzip")
        file.create_dataset("pose/2d", data=np.ones((2, 32, 2)))
    return path.read_bytes()


def made(folder: Path, line: bool) -> list[Target]:
    """Return the targets that read raw files and what users have and, if wanted, those that read files of the line."""
    for name in ("raw-files", "users-files"):
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).mkdir(parents=True)
    plain = [*of_raw(folder / "raw-files"), *campaign_use.of_users(folder / "users-files")]
    return [*plain, *(of_line(folder / "world") if line else ())]
