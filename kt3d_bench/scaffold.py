"""Write a new plugin package from templates; names are checked before anything is written."""

from __future__ import annotations

import keyword
import re
import shutil
import tempfile
from collections import Counter
from dataclasses import asdict, dataclass
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path
from string import Template

from kt3d_bench import __version__
from kt3d_bench.errors import UsageError, did_you_mean
from kt3d_bench.plugins import registry

KINDS = ("dataset", "method", "metric")
_NAME = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
_LONGEST = 30
_SUFFIX = ".tmpl"


@dataclass(frozen=True)
class _Reads:
    """The templates of one sort of method: folders whose files replace those of "method", and frames of a clip."""

    folders: tuple[str, ...] = ()
    frames: str = ""


READS = {"image": _Reads(), "lifting": _Reads(("method-clips",), "1"), "video": _Reads(("method-clips",), "9")}
"""What a new method may read: RGB or depth images, 2D joints of single images, 2D joints of clips."""


@dataclass(frozen=True)
class Names:
    """What a new plugin is called, in all the forms that its files need.

    For ``my-method``: package ``kt3d_my_method``, distribution (and folder) ``kt3d-my-method``, stem ``my_method``,
    cls ``MyMethod``, title ``My method``.
    """

    name: str
    package: str
    distribution: str
    stem: str
    cls: str
    title: str


def named(name: str) -> Names:
    """Return all forms of ``name``.

    Raises ``UsageError`` with a hint for a name that cannot become a package or is taken by something installed.
    """
    if not _NAME.fullmatch(name) or len(name) > _LONGEST:
        near = re.sub(r"-+", "-", re.sub(r"[^a-z0-9]+", "-", name.lower())).lstrip("-0123456789")[:_LONGEST].strip("-")
        raise UsageError(
            f"'{name}' cannot name a plugin: use lower-case letters, digits and single '-', start with a letter, and "
            f"use at most {_LONGEST} characters",
            hint=f"try '{near}'" if near else "choose another name",
        )
    stem = name.replace("-", "_")
    if keyword.iskeyword(stem):
        raise UsageError(f"'{name}' is a Python keyword", hint=f"choose another, such as 'my-{name}'")
    words = name.split("-")
    cls, title = "".join(word.capitalize() for word in words), " ".join(words).capitalize()
    made = Names(name, f"kt3d_{stem}", f"kt3d-{name}", stem, cls, title)
    for kind in ("datasets", "methods", "metrics", "recipes", "plugins"):
        known = registry.registered() if kind == "plugins" else getattr(registry, kind)()
        if (stem if kind == "metrics" else name) in known:
            raise UsageError(f"a {kind[:-1]} '{name}' is installed already", hint="choose another name")
    if find_spec(made.package) is not None or any(distributions(name=made.distribution)):
        raise UsageError(f"a package {made.package} is installed already", hint="choose another name, or uninstall it")
    return made


def new_plugin(kind: str, name: str, out: Path = Path(), *, target: str | None = None, reads: str = "image") -> Path:
    """Write the package of a new "dataset", "method" or "metric"; return its folder, ``<out>/kt3d-<name>``.

    ``target``: the dataset that a new method is trained for by default; if not given, the one that most installed
    methods use. ``reads``: what a new method learns from, one of ``READS``. The folder appears complete or not at all.
    Raises ``UsageError`` for an unknown kind, target or ``reads``, a name that cannot be used, and a folder that is
    there.
    """
    if kind not in KINDS:
        raise UsageError(f"there is no kind of plugin '{kind}'", hint=did_you_mean(kind, KINDS))
    names = named(name)
    values = {**asdict(names), "version": __version__}
    if reads not in READS:
        raise UsageError(f"there is no template of a method for '{reads}'", hint=did_you_mean(reads, READS))
    folders = [kind]
    if kind == "method":
        folders += READS[reads].folders
        values["frames"] = READS[reads].frames
        values["target"] = registry.dataset(target).name if target else _usual_target()
    folder = out / names.distribution
    if folder.exists() or folder.is_symlink():
        raise UsageError("exists already", where=folder, hint="choose another name or another --out, or remove it")
    out.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{names.distribution}-", dir=out))
    try:
        for root in (Path(__file__).parent / "templates" / one for one in folders):
            for template in root.rglob(f"*{_SUFFIX}"):
                path = template.relative_to(root).as_posix().removesuffix(_SUFFIX).replace("dot-", ".")
                place = unfinished / path.replace("PACKAGE", names.package).replace("STEM", names.stem)
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_text(Template(template.read_text(encoding="utf-8")).substitute(values), encoding="utf-8")
        unfinished.chmod(0o755)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def _usual_target() -> str:
    """Return the dataset that most installed methods are trained for; of equals, the first in the alphabet."""
    counts = Counter(method.defaults["target"] for method in registry.methods().values() if "target" in method.defaults)
    known = [name for name in sorted(counts) if name in registry.datasets()] or list(registry.datasets())
    if not known:
        raise UsageError("no dataset is installed to train a method on", hint="install one first")
    return max(known, key=lambda name: counts[name])
