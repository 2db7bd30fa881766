"""Recipes that put all methods of this repository side by side, by what they read: light records, no torch."""

from __future__ import annotations

from kt3d_bench import Recipe, RecipeClaim, RecipePicture, RecipeRow

TRANSFER = "knowledge-transfer"


def _rows(target: str, *levels_of: tuple[str, str]) -> tuple[RecipeRow, ...]:
    """Rows of a target, each called after its method and level."""
    return tuple(RecipeRow(method, level, target=target, label=f"{method} {level}") for method, level in levels_of)


def _claims(*pairs: tuple[str, str]) -> tuple[RecipeClaim, ...]:
    return tuple(RecipeClaim(*pair) for pair in pairs)


DEPTH = Recipe(
    "depth-methods",
    "All methods that read depth images, on ITOP from the front; first those without labels of the target",
    _rows(
        "itop-front",
        ("mean-pose", "none"),
        ("source-only", "none"),
        ("shafaei", "none"),
        ("dann", "none"),
        (TRANSFER, "none"),
        (TRANSFER, "full"),
        ("integral-pose", "full"),
        ("ddp", "full"),
        ("a2j", "full"),
        ("v2v", "full"),
    ),
    (RecipePicture("poses", rows=("a2j full", "v2v full", f"{TRANSFER} full"), title="With all labels"),),
    _claims(
        ("source-only none", "mean-pose none"),
        ("dann none", "source-only none"),
        (f"{TRANSFER} none", "source-only none"),
        *((f"{name} full", "mean-pose none") for name in ("ddp", "a2j", "v2v")),
        *((f"{name} full", f"{TRANSFER} full") for name in ("ddp", "a2j", "v2v")),
    ),
)
RGB = Recipe(
    "rgb-methods",
    "All methods that read RGB images, on Human3.6M; first those without 3D labels of the target",
    _rows(
        "h36m",
        ("mean-pose", "none"),
        ("martinez", "none"),
        ("source-only", "none"),
        ("videopose", "none"),
        (TRANSFER, "none"),
        ("zhou", "full-2d"),
        ("martinez", "full"),
        ("videopose", "full"),
        ("integral-pose", "full"),
        ("simcc-3d", "full"),
        ("volumetric", "full"),
        (TRANSFER, "full"),
    ),
    (RecipePicture("poses", rows=(f"{TRANSFER} full", f"{TRANSFER} none"), title="With labels and without"),),
    _claims(
        *((name, "mean-pose none") for name in ("videopose none", "zhou full-2d", "simcc-3d full", "volumetric full")),
        ("videopose none", "martinez none"),
        ("videopose full", "martinez full"),
        *((f"{TRANSFER} full", f"{name} full") for name in ("integral-pose", "simcc-3d", "volumetric")),
    ),
)
ALL = (DEPTH, RGB)
