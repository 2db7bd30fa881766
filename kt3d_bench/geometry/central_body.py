"""The foreground rule "central-body": the person in the middle of a depth crop, without the room around.

What it assumes, and all it uses:

- The crop is centred on the person and half as wide again as the joints' extent, so the person reaches the crop's edge
  at most from close above. Where the frame ends, the crop is filled with 0.
- The room is bounded by planes: floor, walls. Under any pinhole camera a plane is an affine function of the pixel in
  *inverse* depth, so planes are fitted along the border of what is visible, with no need of a camera. A plane counts as
  one of the room's when hardly anything lies behind it and it is seen at the top, on both sides, or, sloping like a
  floor, at the bottom. Whatever does not stand clearly in front of all of them is room.
- The rest falls into pieces at jumps in depth. The piece that weighs most in the middle is the person; neighbouring
  pieces join when the step towards them is one that a body makes: an arm held forward, a leg set back; seen from above,
  where a flat floor surrounds the person, also the legs far below the shoulders. Pieces that reach the crop's edge are
  furniture or walls.

Thresholds follow how depth cameras of this kind measure: a constant step in inverse depth (about 25 mm at 3 m) plus a
constant in mm. They are part of the rule; another value makes another rule with another name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]

BAND = 0.08
"""Width of the border in which the room is looked for, in crop sides."""
WINDOWS = 12
"""Pieces of each side of that border, each of which proposes a plane."""
ON_PLANE_PER_M, ON_PLANE_M = 0.008, 0.03
"""On a plane is what lies within this inverse depth of it, and at least within this distance."""
JUMP_PER_M, JUMP_M = 0.010, 0.06
"""Neighbouring pixels further apart than both belong to different pieces."""
FEWEST_READINGS = 0.3
"""Share of the border's pixels without which there is no room to look for: a person cut out already."""
FEWEST_SHARE = 0.04
"""Share of the border's readings that a plane needs."""
MOST_PLANES = 4
MOST_BEHIND = 0.25
"""Share of the border that may lie behind a plane of the room: windows, doors, noise."""
FLOOR_SLOPE = 0.3
"""Inverse metres per crop side, downwards, from which a plane looks like a floor seen from the front."""
LEVEL_SLOPE = 0.05
"""A plane with less slope than this is seen head-on."""
BRIDGE_PX = 7
"""Holes are filled from readings within half of this."""
SMALLEST_PX = 12
EDGE_PX, EDGE_SHARE = 6, 0.6
"""A piece that has more pixels than this at the crop's very edge, and more than this times the square root of its area,
goes on beyond the crop: it is not the person's."""
MIDDLE = 0.16
"""Standard deviation of the weight of the middle, in crop sides."""
NEARER_M, FARTHER_M, BELOW_M = 0.9, 0.45, 0.9
"""Longest steps from one piece of the body to the next: towards the camera, away from it, and down to the legs."""
CUT_OFF_M = 0.5
"""From above, a piece that the crop or the frame cuts off may lie no further below its neighbour than this."""
LARGE, ASIDE, LOWER_M = 0.35, 0.2, 0.3
"""A piece larger than this part of the core, whose pixels weigh less than this part of the core's, stands beside; from
above only if it is so much lower, for an arm may be larger than the head."""
ABOVE_POWER = 4
"""From above, the core's weight is multiplied by this power of inverse depth."""
WINDOW_M = 0.5
"""Where the person cannot be told from something that reaches the crop's edge: half the depth range that is kept."""

_RIDGE = 1e-6 * np.eye(3)
_TOP, _BOTTOM, _LEFT, _RIGHT = range(4)


@dataclass(frozen=True, eq=False)
class _Plane:
    """inverse depth = offset + slope_u u + slope_v v, 1/m, with u and v in crop sides from the crop's middle."""

    coefficients: Float64
    on_sides: Float64
    """(4,) share of the border's readings on the plane: top, bottom, left, right."""

    @property
    def is_level(self) -> bool:
        """Seen head-on on at least three sides, the lower one included: the floor, from above."""
        level = np.abs(self.coefficients[1:]).max() < LEVEL_SLOPE
        around = (self.on_sides > 0.3).sum() >= 3 and self.on_sides[_BOTTOM] > 0.5
        return bool(level and around)


def central_body(depth_mm: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint16]:
    """(H, W) uint16 z-depth in mm, 0 = no reading -> the same with 0 wherever the person is not.

    All zeros where nothing stands out in the middle.
    """
    person = np.zeros_like(depth_mm)
    rows, columns = np.flatnonzero(depth_mm.any(axis=1)), np.flatnonzero(depth_mm.any(axis=0))
    if not len(rows):
        return person
    place = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    seen = depth_mm[place]
    mask = _body(seen, _View.of(depth_mm.shape, rows, columns))
    person[place] = np.where(mask, seen, 0)
    return person


@dataclass(frozen=True, eq=False)
class _View:
    """Where the visible part lies in the crop."""

    u: Float32
    """(W,) columns, in crop sides from the crop's middle."""
    v: Float32
    """(H,) rows."""
    at_edge: tuple[bool, bool, bool, bool]
    """Does it reach the crop's top, bottom, left, right edge? Else the frame ends there."""
    band_px: int

    @classmethod
    def of(cls, shape: tuple[int, ...], rows: Int, columns: Int) -> _View:
        height, width = shape
        side = max(height, width)
        v = (np.arange(rows[0], rows[-1] + 1) - (height - 1) / 2) / side
        u = (np.arange(columns[0], columns[-1] + 1) - (width - 1) / 2) / side
        edges = (rows[0] == 0, rows[-1] == height - 1, columns[0] == 0, columns[-1] == width - 1)
        top, bottom, left, right = map(bool, edges)
        return cls(u.astype(np.float32), v.astype(np.float32), (top, bottom, left, right), max(3, round(BAND * side)))

    @property
    def inner(self) -> tuple[slice, slice]:
        """Rows and columns that are not in the crop's own border band, where the person hardly ever is."""
        limit = BAND - 0.5, 0.5 - BAND
        return slice(*np.searchsorted(self.v, limit)), slice(*np.searchsorted(self.u, limit))

    def edges(self, image: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The outermost two pixels of ``image``, where they are the crop's edge, in a row."""
        strips = (image[:2], image[-2:], image[:, :2], image[:, -2:])
        there = [strip.ravel() for strip, at_edge in zip(strips, self.at_edge, strict=True) if at_edge]
        return np.concatenate([image[:0].ravel(), *there])

    @property
    def middle(self) -> Float32:
        """(H, W) weight of the crop's middle."""
        scale = -0.5 / MIDDLE**2
        weight: Float32 = np.exp(scale * self.v**2)[:, None] * np.exp(scale * self.u**2)[None, :]
        return weight


def _body(depth_mm: npt.NDArray[np.uint16], view: _View) -> Bool:
    import cv2

    smooth = cv2.medianBlur(np.ascontiguousarray(depth_mm), 3)
    metres = smooth.astype(np.float32) * np.float32(1e-3)
    measured = (depth_mm > 0) & (smooth > 0)
    inverse = np.zeros_like(metres)
    np.divide(1.0, metres, out=inverse, where=measured)
    planes = _room(inverse, view)
    inverse = _bridged(inverse, measured)
    np.divide(1.0, inverse, out=metres, where=inverse > 0)
    square = inverse * inverse
    stands = inverse - np.maximum(_nearest(planes, view), 0) > np.maximum(ON_PLANE_PER_M, ON_PLANE_M * square)
    cut = _jumps(inverse, np.maximum(JUMP_PER_M, JUMP_M * square))
    pieces = _Pieces.of(stands & ~cut, inverse, view)
    from_above = any(plane.is_level for plane in planes)
    core = pieces.core(from_above=from_above)
    if core is None:
        return np.zeros(depth_mm.shape, bool)
    if not (pieces.inside[core] or from_above):
        return _window(pieces.labels == core, metres, view)
    person = pieces.body(core, metres, from_above=from_above)
    grown = cv2.dilate(person.view(np.uint8), np.ones((3, 3), np.uint8)).view(bool)
    mask: Bool = (person | (grown & stands & cut)) & (depth_mm > 0)
    return mask


def _nearest(planes: list[_Plane], view: _View) -> Float32 | float:
    """(H, W) inverse depth of the nearest plane of the room."""
    nearest: Float32 | None = None
    for plane in planes:
        offset, slope_u, slope_v = plane.coefficients.astype(np.float32)
        sheet = (offset + slope_v * view.v)[:, None] + (slope_u * view.u)[None, :]
        nearest = sheet if nearest is None else np.maximum(nearest, sheet)
    return 0.0 if nearest is None else nearest


def _bridged(inverse: Float32, measured: Bool) -> Float32:
    """Small holes filled with the nearest reading around, so that dark cloth and hair do not tear a body apart."""
    import cv2

    spread = cv2.dilate(inverse, np.ones((BRIDGE_PX, BRIDGE_PX), np.uint8))
    bridged: Float32 = np.where(measured, inverse, spread)
    return bridged


def _jumps(inverse: Float32, limit: Float32) -> Bool:
    """(H, W) pixels whose right or lower neighbour is at another depth."""
    cut = np.zeros(inverse.shape, bool)
    cut[:, :-1] = np.abs(np.diff(inverse, axis=1)) > limit[:, :-1]
    cut[:-1] |= np.abs(np.diff(inverse, axis=0)) > limit[:-1]
    return cut


def _window(piece: Bool, metres: Float32, view: _View) -> Bool:
    """What of a piece that reaches the crop's edge is likely the person: near the middle, in depth too."""
    border = np.ones(piece.shape, bool)
    border[view.inner] = False
    piece = piece & ~border
    central = piece & (view.middle > 0.3)
    if not central.any():
        return central
    near: Bool = np.abs(metres - np.float32(np.median(metres[central]))) < WINDOW_M
    return piece & near


def _room(inverse: Float32, view: _View) -> list[_Plane]:
    """The planes that bound the room, the one with most support first."""
    points, values, windows, possible = _border(inverse, view)
    if len(values) < max(4 * WINDOWS, FEWEST_READINGS * possible):
        return []
    on_plane = np.maximum(ON_PLANE_PER_M, ON_PLANE_M * values**2)
    proposals = _fit(points, values, windows, 4 * WINDOWS)[np.bincount(windows, minlength=4 * WINDOWS) > 5]
    some = slice(None, None, 2)
    distances = points[some].astype(np.float32) @ proposals.T.astype(np.float32) - values[some, None].astype(np.float32)
    votes = (np.abs(distances) < on_plane[some, None].astype(np.float32)).astype(np.float32)
    readings = np.maximum(np.bincount(windows // WINDOWS, minlength=4), 1)
    free = np.ones(len(values), bool)
    planes: list[_Plane] = []
    for _ in range(2 * MOST_PLANES):
        support = free[some].astype(np.float32) @ votes
        if len(planes) == MOST_PLANES or not len(support) or support.max() < FEWEST_SHARE * len(votes):
            break
        best = int(support.argmax())
        coefficients = proposals[best]
        for _ in range(2):
            on = free & (np.abs(points @ coefficients - values) < on_plane)
            chosen = points[on]
            normal = chosen.T @ chosen + _RIDGE
            coefficients = np.asarray(np.linalg.solve(normal, chosen.T @ values[on]), np.float64)
        distance: Float64 = points @ coefficients - values
        on = np.abs(distance) < on_plane
        plane = _Plane(coefficients, np.bincount(windows[on] // WINDOWS, minlength=4) / readings)
        if on.mean() > FEWEST_SHARE and (distance > on_plane).mean() < MOST_BEHIND and _bounds(plane):
            planes.append(plane)
        free &= ~on
        votes[:, best] = 0.0
    return planes


def _bounds(plane: _Plane) -> bool:
    """Is the plane seen where a wall, a floor seen from the front, or a floor seen from above is?"""
    top, bottom, left, right = plane.on_sides
    wall = top > 0.2 or (left > 0.15 and right > 0.15)
    floor = plane.coefficients[2] > FLOOR_SLOPE and bottom > 0.3
    return bool(wall or floor)


def _border(inverse: Float32, view: _View) -> tuple[Float64, Float64, Int, int]:
    """Readings along the border of what is visible, every third pixel: (N, 3) 1, u, v; (N,) inverse depth; (N,) window;
    and how many pixels were looked at."""
    height, width = inverse.shape
    deep = min(view.band_px, height // 2), min(view.band_px, width // 2)
    rows, columns = np.arange(0, height, 3), np.arange(0, width, 3)
    between = rows[(rows >= deep[0]) & (rows < height - deep[0])]
    strips = (
        (_TOP, rows[rows < deep[0]], columns),
        (_BOTTOM, rows[rows >= height - deep[0]], columns),
        (_LEFT, between, columns[columns < deep[1]]),
        (_RIGHT, between, columns[columns >= width - deep[1]]),
    )
    points, values, windows, possible = [], [], [], 0
    for side, strip_rows, strip_columns in strips:
        v, u = np.meshgrid(view.v[strip_rows], view.u[strip_columns], indexing="ij")
        window = np.clip(((u if side in (_TOP, _BOTTOM) else v) + 0.5) * WINDOWS, 0, WINDOWS - 1).astype(np.int64)
        value = inverse[np.ix_(strip_rows, strip_columns)]
        there = value > 0
        possible += there.size
        points.append(np.stack([np.ones(int(there.sum())), u[there], v[there]], axis=1, dtype=np.float64))
        values.append(value[there].astype(np.float64))
        windows.append(side * WINDOWS + window[there])
    return np.concatenate(points), np.concatenate(values), np.concatenate(windows), possible


def _fit(points: Float64, values: Float64, groups: Int, count: int) -> Float64:
    """(count, 3) least-squares planes, one per group of points."""
    normal, target = np.empty((count, 3, 3)), np.empty((count, 3))
    for row in range(3):
        target[:, row] = np.bincount(groups, points[:, row] * values, count)
        for column in range(row, 3):
            normal[:, row, column] = normal[:, column, row] = np.bincount(
                groups, points[:, row] * points[:, column], count
            )
    solved = np.linalg.solve(normal + _RIDGE, target[..., None])[..., 0]
    return np.asarray(solved, np.float64)


@dataclass(frozen=True, eq=False)
class _Pieces:
    """Connected regions without jumps; number 0 is everything else."""

    labels: npt.NDArray[np.int32]
    """(H, W)."""
    area: Int
    """(N,) pixels."""
    inside: Bool
    """(N,) does not reach far along the crop's edge and is not mostly in its border."""
    whole: Bool
    """(N,) is not cut off by the frame either."""
    weight: Float64
    """(N,) sum of the weight of the middle; 0 for specks."""
    inverse: Float64
    """(N,) mean inverse depth."""

    @classmethod
    def of(cls, mask: Bool, inverse: Float32, view: _View) -> _Pieces:
        import cv2

        count, numbered, statistics, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=4)
        labels = np.asarray(numbered, np.int32)
        area = np.asarray(statistics[:, cv2.CC_STAT_AREA], np.int64)
        outer = area - np.bincount(labels[view.inner].ravel(), minlength=count)
        edge = np.bincount(view.edges(labels), minlength=count)
        frame = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
        cut_off = np.bincount(frame, minlength=count)
        some = labels[::2, ::2].ravel()
        mean = np.bincount(some, inverse[::2, ::2].ravel(), count) / np.maximum(np.bincount(some, minlength=count), 1)
        weight = np.asarray(4 * np.bincount(some, view.middle[::2, ::2].ravel(), count), np.float64)
        weight[area < SMALLEST_PX] = 0.0
        weight[0] = 0.0
        inside = (outer < 0.5 * area) & (edge < np.maximum(EDGE_PX, EDGE_SHARE * np.sqrt(area)))
        return cls(labels, area, inside, inside & (cut_off < EDGE_PX), weight, np.asarray(mean, np.float64))

    def core(self, *, from_above: bool) -> int | None:
        """The piece that weighs most in the middle, preferably one inside; ``None`` when there is none.

        From above what is near weighs more: the head and shoulders, not the table that an arm reaches over.
        """
        weight = self.weight * self.inverse**ABOVE_POWER if from_above else self.weight
        if not weight.any():
            return None
        inside = weight * self.inside
        return int(inside.argmax() if inside.max() > 0.1 * weight.max() else weight.argmax())

    def body(self, core: int, metres: Float32, *, from_above: bool) -> Bool:
        """(H, W) the core and what is joined to it, step by step."""
        large = self.area > LARGE * self.area[core]
        aside = self.weight * self.area[core] < ASIDE * self.weight[core] * self.area
        low = 1 / np.maximum(self.inverse, 1e-3) - 1 / self.inverse[core] > LOWER_M if from_above else True
        candidates = (self.weight > 0) & (self.inside | from_above) & ~(large & aside & low)
        first, second, step_m = self._steps(candidates, metres)
        farther_m = BELOW_M if from_above else FARTHER_M
        onwards = (step_m < farther_m) & (step_m > -NEARER_M)
        back = (-step_m < farther_m) & (-step_m > -NEARER_M)
        if from_above:
            onwards &= self.whole[second] | (step_m < CUT_OFF_M)
            back &= self.whole[first] | (-step_m < CUT_OFF_M)
        joined = np.zeros(len(self.weight), bool)
        joined[core] = True
        before = 0
        while (now := int(joined.sum())) > before:
            before = now
            joined[second[joined[first] & onwards]] = True
            joined[first[joined[second] & back]] = True
        return joined[self.labels]

    def _steps(self, candidates: Bool, metres: Float32) -> tuple[Int, Int, Float64]:
        """Pairs of pieces up to four pixels apart, and the mean step in depth from the first to the second, m."""
        numbers = np.where(candidates, np.arange(len(candidates), dtype=np.int32), np.int32(0))
        labels = numbers[self.labels[::2, ::2]]
        depth = metres[::2, ::2]
        height, width = labels.shape
        codes, steps = [], []
        for down, right in ((0, 1), (0, 2), (1, 0), (2, 0), (1, 1), (1, -1)):
            here = slice(0, height - down), slice(max(-right, 0), width - max(right, 0))
            there = slice(down, height), slice(max(right, 0), width + min(right, 0))
            one, other = labels[here], labels[there]
            meet = (one != other) & (one > 0) & (other > 0)
            codes.append(one[meet].astype(np.int64) * len(candidates) + other[meet])
            steps.append((depth[there] - depth[here])[meet])
        pairs, which, count = np.unique(np.concatenate(codes), return_inverse=True, return_counts=True)
        mean = np.bincount(which, np.concatenate(steps), len(pairs)) / np.maximum(count, 1)
        return pairs // len(candidates), pairs % len(candidates), mean
