"""Whether labels belong to their images: checked at the end of ``prepare`` and by ``validate``, for every dataset.

Labels may be right in themselves and still be another person's, another video's or another moment's. What a split can
show depends on what it holds; a check that cannot be made says why (``Unchecked``). Shapes: N samples, G clips (one
sequence seen by one camera), K limbs.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from kt3d_bench.data.checks import bodies, images
from kt3d_bench.data.checks.findings import Check, Finding, Found, Outcome, Unchecked, found, spread
from kt3d_bench.data.checks.moments import Lookup, Moments
from kt3d_bench.data.checks.views import Views
from kt3d_bench.data.index import Labels
from kt3d_bench.data.reader import ShardSet
from kt3d_bench.errors import ArtefactError
from kt3d_bench.skeletons import H36M17, Quality

FloatArray = npt.NDArray[np.float64]

FIT = Check(
    "clips fit", "the joints of every clip lie on the person in its images", "a third of the joints beside", "%"
)
TAKES = Check("one body", "a subject has the same limbs in all takes", "5 % off the subject's median", "%")
HEADS = Check("heads", "heads are shorter than trunks", "25 % of people", "%")

EACH = 5
"""Images looked at per clip."""
SHARE = {"foreground": 8, "depth": 16, "parts": 16}
"""Of images that show people in this way at most one in so many is looked at, but one of each recording and camera in
any case. On Human3.6M stand-ins of 400 px (``tests/benchmarks/test_bench_checks.py``) all checks of this module take
about 3 % of the processor time of ``prepare`` where every clip has one frame, and 2 % where clips have up to 60."""
FEWEST_IMAGES = 64
"""So many images are looked at in any case."""
FEWEST_EMPTY = 3
"""Images of a clip that must all show nobody before its labels are called wrong: in one the person may keep still."""
FEWEST_CLIPS = 8
FEWEST_RECORDINGS = 4
"""A subject's recordings by one camera without which its motion foreground proves nothing: the empty scene is their
median image, and whoever keeps still in one of two belongs to it."""
MOST_BESIDE = images.MOST_BESIDE
"""Share of a clip's joints that may lie beside the person. With the motion foreground of a stand-in, clips
have 6 % at most, and 63 % on average when videos of one subject and camera are exchanged."""
BEFORE_MM, BEHIND_MM = 2000.0, 150.0
"""A measured surface lies at most so far in front of a joint (a whole person hides the feet from a camera overhead) and
so far behind it (sensor noise, joints labelled at the surface)."""
BLURRED = 0.15
"""With more than this share in the median clip, a foreground is too poor to tell one clip from another."""
MANY_CLIPS, MOST_IN_MEDIAN = 40, (0.5, 0.25)
"""Share in the median clip beyond which the labels of the whole split are at fault, in a few clips and in many, which
show their empty scenes well: on a stand-in it is 0 to 6 %, 29 to 76 % with the labels of another view or with mirrored
ones, and 35 % with those of another moment."""
STEADY_TAKE = 2.0
"""Per cent that limbs vary within a take where the recorded skeleton is rigid (others vary by 20)."""
OTHER_BODY = 5.0
"""Per cent that separates two people: the stature of adults of one sex varies by 4 % (standard deviation; Pheasant and
Haslegrave, Bodyspace, 2006)."""
ALIKE_TAKES = 0.8
"""Share of a subject's takes that must agree before one that differs is called wrong: else "subject" names several
people."""
HUMAN_ASYMMETRY = 25.0
"""Per cent by which left and right limbs differ in the median sample, above which the labels are no people's."""
MOST_LONG_HEADS = 25.0
BLIND = "the shards hold no depth, parts or foreground, so that exchanged or mirrored images would not be noticed"


def belonging(shards: ShardSet, misfits: Collection[str] = (), recorded: Lookup | None = None) -> Found:
    """Run every check of this module on a split. ``misfits``: sequences that are known not to fit their images;
    ``recorded``: the labels of all frames of a sample's recording, by default those in the shards."""
    outcomes: list[Outcome] = []
    unchecked: list[Unchecked] = []
    looks = (Moments(shards, recorded), Views(shards)) if "foreground" in shards.modalities else ()
    every = [fit(shards, misfits, looks), takes(shards.labels, shards.split), heads(shards)]
    every += [look.found() for look in looks]
    for results, missing in every:
        outcomes += results
        unchecked += missing
    return outcomes, [*unchecked, *unseen_sides(shards.labels, shards.split)]


def unseen_sides(labels: Labels, split: str) -> Iterator[Unchecked]:
    """Yield the checks of left and right, and of size, that too few people allow."""
    made = {check.name for check, _, _ in bodies.split_facts(labels)}
    spatial = np.isfinite(labels.joints_cam_mm).any()
    for check, what in ((bodies.AXES, "people with hips and shoulders"), (bodies.KNEES, "bent knees"),
                        (bodies.ELBOWS, "bent elbows")):  # fmt: skip
        if check.name not in made:
            few = f"fewer than {bodies.FEWEST} {what}"
            yield Unchecked(check, split, few if spatial or check is bodies.AXES else "there are no 3D joints")
    if bodies.SIZE.name not in made:
        yield Unchecked(bodies.SIZE, split, "there are no 3D legs")


def people(labels: Labels) -> bool:
    """Return whether the 3D joints are people's at all: left and right limbs alike in the median sample."""
    off = bodies.symmetry(bodies.bone_lengths_mm(labels)).value
    return not len(off) or float(np.median(off)) <= HUMAN_ASYMMETRY


def fit(shards: ShardSet, misfits: Collection[str] = (), looks: Sequence[Moments | Views] = ()) -> Found:
    """Compare joints with the person in the images, clip by clip: of depth, parts or the motion foreground, which
    ``looks`` are given too."""
    split, labels = shards.split, shards.labels
    shown = next((name for name in ("depth", "parts", "foreground") if name in shards.modalities), None)
    if shown == "depth" and not np.isfinite(labels.joints_cam_mm).any():
        shown = "parts" if "parts" in shards.modalities else None
    if shown is None:
        return [], [Unchecked(FIT, split, BLIND)]
    unchecked = []
    known = np.isin(labels.sequence, sorted(misfits))
    if known.any():
        names = ", ".join(np.unique(labels.sequence[known]).tolist())
        unchecked.append(Unchecked(FIT, split, f"{names}: known not to fit, by the dataset's card"))
    seen = ~known
    if shown == "foreground":
        poor = _few_recordings(labels)
        if (poor & seen).any():
            few = f"{(poor & seen).sum()} samples: fewer than {FEWEST_RECORDINGS} recordings of a subject by one camera"
            unchecked.append(Unchecked(FIT, split, few))
        seen &= ~poor
    clips = _clips(labels, np.flatnonzero(seen))
    if not clips:
        return [], unchecked
    if shown != "foreground":
        # Of depth images, whole files belong to other labels, not one clip among many.
        clips = [clips[i] for i in spread(len(clips), max(FEWEST_IMAGES, len(labels) // SHARE[shown]))]
    chosen = [
        (number, i)
        for number, members in enumerate(clips)
        for i in _spread(members, len(labels) // SHARE[shown], len(clips))
    ]
    of_clip: list[list[float]] = [[] for _ in clips]
    for number, i in chosen:
        share = _beside(shards, i, shown, looks)
        if share is not None:
            of_clip[number].append(share)
    shares = [[value for value in values if not math.isnan(value)] for values in of_clip]
    means = np.array([sum(values) / len(values) if values else np.nan for values in shares])
    empty = np.array([bool(values) for values in of_clip]) & np.isnan(means)
    for suspect in np.flatnonzero(empty & _scene_known(labels, clips, means)):
        means[suspect] = _of_empty(shards, clips[suspect], shown)
    if (unseen := int((empty & np.isnan(means)).sum())) < len(means) and unseen:
        unchecked.append(Unchecked(FIT, split, f"{unseen} clips: no image's foreground shows anybody"))
    middle = float(np.nanmedian(means)) if np.isfinite(means).any() else 0.0
    shown_clips = int(np.isfinite(means).sum())
    most = MOST_IN_MEDIAN[shown_clips >= MANY_CLIPS]
    if shown == "foreground" and shown_clips >= FEWEST_CLIPS and middle > most:
        sentence = (
            f"{100 * middle:.0f} % of the joints lie beside the person in the median of {len(means)} clips: the labels "
            "of the whole split are another camera's or moment's"
        )
        wrong = found(FIT, split, sentence, value=100 * middle, remade=False)
        return [Outcome(FIT, split, len(means), 1, 100 * middle, middle / most, (wrong,))], unchecked
    reason = _cannot_tell(means, shown)
    if reason:
        return [], [*unchecked, Unchecked(FIT, split, reason)]
    worse = [i for i in np.argsort(-np.nan_to_num(means, nan=-1), kind="stable") if means[i] > MOST_BESIDE]
    findings = [_misfit(labels, clips[i], means[i], split, shards) for i in worse]
    worst = float(np.nanmax(means))
    return [Outcome(FIT, split, int(np.isfinite(means).sum()), len(worse), 100 * worst, worst / MOST_BESIDE,
                    tuple(findings[:20]))], unchecked  # fmt: skip


def _of_empty(shards: ShardSet, members: npt.NDArray[np.int64], shown: str) -> float:
    """Return the share of joints beside the person in more images of a clip that showed nobody in those looked at:
    all joints where none does, NaN where these are too few to say so."""
    looked = [_beside(shards, i, shown, ()) for i in members[spread(len(members), EACH)]]
    seen = [share for share in looked if share is not None]
    shares = [share for share in seen if not math.isnan(share)]
    if shares:
        return sum(shares) / len(shares)
    return 1.0 if len(seen) >= FEWEST_EMPTY else math.nan


def _scene_known(labels: Labels, clips: Sequence[npt.NDArray[np.int64]], means: FloatArray) -> npt.NDArray[np.bool_]:
    """Return (G,) where most clips of the same subject and camera show somebody. One that shows nobody then lacks the
    person where the joints lie, not the empty scene."""
    firsts = [members[0] for members in clips]
    _, place = np.unique(_pairs(labels.subject, labels.camera_id)[firsts], return_inverse=True)
    shown = np.bincount(place, np.isfinite(means)) >= ALIKE_TAKES * np.bincount(place)
    return np.asarray(shown[place])


def _few_recordings(labels: Labels) -> npt.NDArray[np.bool_]:
    """Return (N,) where a subject has too few recordings by the camera to show the empty scene."""
    _, place = np.unique(_pairs(labels.subject, labels.camera_id), return_inverse=True)
    _, recording = np.unique(labels.sequence, return_inverse=True)
    of_place = np.unique(np.stack([place, recording]), axis=1)[0]
    few: npt.NDArray[np.bool_] = (np.bincount(of_place, minlength=place.max(initial=-1) + 1) < FEWEST_RECORDINGS)[place]
    return few


def _cannot_tell(means: FloatArray, shown: str) -> str:
    """Return why the ``means`` (G,) of joints beside the person say nothing; "" where they do."""
    if np.isnan(means).all():
        return f"no image's {shown} shows anybody"
    if shown != "foreground":
        return ""
    if np.isfinite(means).sum() < FEWEST_CLIPS:
        return f"fewer than {FEWEST_CLIPS} clips have a foreground to compare"
    good = float(np.nanquantile(means, 0.25))  # a poor foreground is poor in nearly all clips
    if good > BLURRED:
        return f"the foreground is poor: even in the best quarter {100 * good:.0f} % of the joints lie beside it"
    return ""


def _misfit(labels: Labels, members: npt.NDArray[np.int64], share: float, split: str, shards: ShardSet) -> Finding:
    first = int(members[0])
    place = (
        f"{labels.sequence[first]} seen by {labels.camera_id[first]}"
        if labels.camera_id[first]
        else str(labels.sequence[first])
    )
    sentence = (
        f"{place}: {100 * share:.0f} % of the joints lie beside the person in the images: these labels are another "
        "recording's, moment's or camera's"
    )
    return found(FIT, split, sentence, sample=str(shards.keys[first]), value=100 * share, remade=False)


def _clips(labels: Labels, chosen: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
    """Return the samples of each clip, in their order."""
    return _grouped(chosen, _pairs(labels.sequence, labels.camera_id)[chosen]) if len(chosen) else []


def _pairs(first: npt.NDArray[np.str_], second: npt.NDArray[np.str_]) -> npt.NDArray[np.str_]:
    """Return (N,) one name for each pair of names."""
    return np.char.add(np.char.add(first, "\n"), second)


def _grouped(chosen: npt.NDArray[np.int64], names: npt.NDArray[np.str_]) -> list[npt.NDArray[np.int64]]:
    """Return the samples of each name, in their order; ``chosen`` and ``names`` (N,), at least one."""
    _, number = np.unique(names, return_inverse=True)
    order = np.argsort(number, kind="stable")
    return np.split(chosen[order], np.flatnonzero(np.diff(number[order])) + 1)


def _spread(members: npt.NDArray[np.int64], images: int, clips: int) -> npt.NDArray[np.int64]:
    each = max(1, min(EACH, images // clips, len(members)))
    return members[spread(len(members), each)]


def _beside(shards: ShardSet, i: int, shown: str, looks: Sequence[Moments | Views]) -> float | None:
    """Return the share of joints beside the person in one image; ``None`` where it cannot be said, NaN where a
    foreground shows nobody."""
    points = shards.labels.joints_px[i].astype(np.float64)
    try:
        if shown == "depth":
            return _off_surface(points, shards.labels.joints_cam_mm[i, :, 2], shards.image(i, "depth_mm"))
        mask = shards.image(i, shown) > 0
        if shown == "foreground" and not mask.any():
            return math.nan
        share = images.share_beside(points, mask)
        for look in looks if shown == "foreground" else ():
            if share is not None:
                look.look(i, mask, share)
        return share
    except ArtefactError:
        return None


def _off_surface(points: FloatArray, joint_z_mm: npt.NDArray[Any], depth_mm: npt.NDArray[Any]) -> float | None:
    """Return the share of the joints (17, 2) px in the image without a surface around them at their own depth or in
    front of it. Asks no rule who the person is. ``None`` without a joint in the image."""
    height, width = depth_mm.shape
    reach = images.BESIDE * max(height, width)
    off = counted = 0
    for (x, y), z in zip(points, joint_z_mm.astype(np.float64), strict=True):
        if not (-0.5 <= x < width - 0.5 and -0.5 <= y < height - 0.5 and np.isfinite(z)):
            continue
        left, top = max(round(x - reach), 0), max(round(y - reach), 0)
        around = depth_mm[top : round(y + reach) + 1, left : round(x + reach) + 1]
        counted += 1
        off += not ((around > max(z - BEFORE_MM, 0)) & (around < z + BEHIND_MM)).any()
    return off / counted if counted else None


def takes(labels: Labels, split: str) -> Found:
    """Compare limb lengths over the takes of each subject, where the recorded skeletons are rigid."""
    limbs = bodies.bone_lengths_mm(labels)[:, bodies.LIMBS]
    exact = (labels.quality[:, [bodies.BONES[limb][0] for limb in bodies.LIMBS]] == Quality.EXACT).all()
    if not np.isfinite(limbs).any() or not exact:
        return [], [Unchecked(TAKES, split, "limbs are not measured exactly")]
    wrong: list[Finding] = []
    tested, largest, varied = 0, 0.0, 0.0
    for subject in np.unique(labels.subject):
        of_takes = [(str(labels.sequence[members[0]]), limbs[members]) for members in _takes_of(labels, subject)]
        middle_of = np.median if np.isfinite(limbs).all() else np.nanmedian
        medians = np.array([middle_of(lengths, axis=0) for _, lengths in of_takes])
        within = [100 * float(np.nanmax(np.abs(values / middle - 1))) for (_, values), middle in
                  zip(of_takes, medians, strict=True)]  # fmt: skip
        varied = max(varied, float(np.median(within)))
        if len(of_takes) < 3 or np.median(within) > STEADY_TAKE:
            continue
        off = 100 * np.abs(medians / np.median(medians, axis=0) - 1).max(axis=1)
        if (off <= OTHER_BODY).mean() < ALIKE_TAKES:
            continue
        tested, largest = tested + len(off), max(largest, float(off.max()))
        wrong += [
            found(TAKES, split, f"{of_takes[i][0]}: limbs are {off[i]:.0f} % off those of {subject} in other takes: "
                  "these labels are another person's", value=float(off[i]), remade=False)
            for i in np.flatnonzero(off > OTHER_BODY)
        ]  # fmt: skip
    if not tested:
        reason = "no subject has three takes of one rigid skeleton"
        return [], [Unchecked(TAKES, split, f"{reason} (limbs vary by {varied:.1f} % within a take)")]
    return [Outcome(TAKES, split, tested, len(wrong), largest, largest / OTHER_BODY, tuple(wrong[:20]))], []


def _takes_of(labels: Labels, subject: Any) -> list[npt.NDArray[np.int64]]:
    chosen = np.flatnonzero(labels.subject == subject)
    return _grouped(chosen, labels.sequence[chosen])


def heads(shards: ShardSet) -> Found:
    """Compare heads with trunks in the image, where 2D joints are all there is."""
    labels, split = shards.labels, shards.split
    if np.isfinite(labels.joints_cam_mm).any():
        return [], []
    points = labels.joints_px.astype(np.float64)
    head, trunk = (
        np.linalg.norm(points[:, H36M17.index(upper)] - points[:, H36M17.index(lower)], axis=-1)
        for upper, lower in (("head", "thorax"), ("thorax", "hip"))
    )
    known = np.isfinite(head) & np.isfinite(trunk)
    if known.sum() < bodies.FEWEST:
        return [], [Unchecked(HEADS, split, f"fewer than {bodies.FEWEST} people with head, thorax and hip")]
    share = 100 * float((head[known] > trunk[known]).mean())
    sentence = f"{share:.0f} % of {known.sum()} heads are longer than the trunk: joints are exchanged or misplaced"
    wrong = (found(HEADS, split, sentence, value=share, remade=False),) if share > MOST_LONG_HEADS else ()
    return [Outcome(HEADS, split, 1, len(wrong), share, share / MOST_LONG_HEADS, wrong)], []


def complaints(outcomes: Sequence[Outcome], labels: Labels, split: str) -> list[str]:
    """Return what must stop ``prepare``: findings of ``belonging``, and sides or sizes that no people have."""
    wrong = [finding.sentence for outcome in outcomes if outcome.failed for finding in outcome.findings]
    if people(labels):
        wrong += [sentence for _, _, sentence in bodies.split_facts(labels) if sentence]
    return [f"split {split}: {sentence}" for sentence in wrong]
