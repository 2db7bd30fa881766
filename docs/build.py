"""Build the documentation: python docs/build.py OUT.

Pages are the Markdown files beside this one, the READMEs of the plugins, CONTRIBUTING, SECURITY, the changelog and how
to submit, each where it is; nothing is copied by hand. The table of methods and the API reference are made from what is
installed and from the public names. A warning of the generator, such as a broken link, ends the build.
"""

from __future__ import annotations

import json
import os
import posixpath
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

import kt3d_bench as kt
from kt3d_bench.leaderboard.site.about import PARAMETERS, millions

ROOT = Path(__file__).resolve().parent.parent
REPOSITORY_PAGES = {
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
    "leaderboards/SUBMITTING.md": "submitting.md",
}
_LINK = re.compile(r"(!?)\[((?:[^\]\\]|\\.)*)\]\(([^()\s]+)\)")
_INFO = re.compile(r"(?m)^```(\w+) (?:slow|elsewhere)$")


def sources(root: Path = ROOT) -> dict[str, str]:
    """Return file of the repository -> its page, both with ``/``: the hand-written pages and the READMEs."""
    found = {f"docs/{path.name}": path.name for path in sorted((root / "docs").glob("*.md"))}
    for path in sorted(root.glob("datasets/*/README.md")) + sorted(root.glob("plugins/*/README.md")):
        place = path.relative_to(root).as_posix()
        kind = "datasets" if place.startswith("datasets") else "methods"
        found[place] = f"{kind}/{path.parent.name.removeprefix('kt3d_')}.md"
    return found | REPOSITORY_PAGES


def page(source: str, pages: Mapping[str, str], root: Path = ROOT) -> tuple[str, dict[str, Path]]:
    """Return the text of one page, and page-relative name -> file of its pictures.

    Links to files that are pages lead there, links to boards to the boards' own pages, and what is no page of the site
    loses its link. The words behind a code block's language, which tell the tests how to run it, are left out.
    """
    here, pictures = posixpath.dirname(pages[source]), {}

    def link(match: re.Match[str]) -> str:
        mark, text, address = match.groups()
        path, hash_, anchor = address.partition("#")
        if "://" in address or address.startswith(("mailto:", "#")):
            return match[0]
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        if mark:
            pictures[posixpath.join(here, posixpath.basename(target))] = root / target
            return f"![{text}]({posixpath.basename(target)})"
        if target in pages:
            return f"[{text}]({posixpath.relpath(pages[target], here or '.')}{hash_}{anchor})"
        if target in ("docs/api.md", "docs/methods.md"):
            return match[0]
        if target.split("/")[0] == "leaderboards":
            board = target.removesuffix("README.md").removeprefix("leaderboards").strip("/")
            page_of_board = posixpath.normpath(posixpath.join("..", board, "index.html"))
            return f'<a href="{posixpath.relpath(page_of_board, here or ".")}">{text}</a>'
        return text

    text = _LINK.sub(link, (root / source).read_text(encoding="utf-8"))
    return _INFO.sub(r"```\1", text), pictures


def trained_parameters() -> dict[str, dict[str, int]]:
    """Return method -> preset -> the parameters of all networks that its stages train, at the first level of
    supervision and the default target. No weight is made."""
    import torch

    from kt3d_bench.method import MethodContext
    from kt3d_bench.plugins import registry

    inputs = {name: one.modality for one in kt.benchmarks().values() for name in (one.dataset, one.id)}
    found: dict[str, dict[str, int]] = {}
    for name, plugin in kt.methods().items():
        kind = registry.load(plugin.load)
        modality = inputs.get(plugin.defaults.get("target", ""), "rgb")
        context = MethodContext(modality, 45, plugin.supervision[0], True)
        for preset in plugin.presets:
            with torch.device("meta"):
                method = kind(kind.Config(**kind.PRESETS[preset]), context)
            networks = {network for stage in method.stages() for network in stage.trains}
            sizes = {one: one.numel() for network in networks for one in getattr(method, network).parameters()}
            found.setdefault(name, {})[preset] = sum(sizes.values())
    return found


def methods_page(parameters: Mapping[str, Mapping[str, int]]) -> str:
    """Return the table of installed methods: labels, inputs, presets with their trained parameters, and the page that
    describes each."""
    lines = [
        "# Methods", "",
        "Every method is a plugin and is scored by the same harness. `kt3d list NAME` shows its options.", "",
        "| method | what it is | labels of the target | trained parameters by preset |",
        "|---|---|---|---|",
    ]  # fmt: skip
    for method in kt.methods().values():
        package = method.load.partition(".")[0].removeprefix("kt3d_")
        levels = ", ".join(method.supervision)
        presets = ", ".join(f"{preset} {millions(parameters[method.name][preset])}" for preset in method.presets)
        lines.append(f"| [{method.name}](methods/{package}.md) | {method.summary} | {levels} | {presets} |")
    return "\n".join(lines) + "\n"


def api_page(root: Path = ROOT) -> str:
    """Return the page from which mkdocstrings makes the API reference: public names and the files that define them."""
    names = re.findall(r"(?m)^from (\S+) import (\w+) as", (root / "kt3d_bench" / "__init__.pyi").read_text())
    lines = ["# API reference", "", "```python\nimport kt3d_bench as kt\n```", "", "What is not here is private.", ""]
    for module, name in sorted(names, key=lambda one: (one[1][0].isupper(), one[1].lower())):
        lines += [f"::: {module}.{name}", "    options:", f"      heading: kt.{name}", f"      toc_label: {name}", ""]
    return "\n".join(lines)


def _navigation(config: dict[str, Any], pages: Mapping[str, str]) -> None:
    """Fill the sections of datasets and methods with the pages that there are."""
    for section in config["nav"]:
        for kind in ("Datasets", "Methods"):
            if kind in section:
                own = sorted(one for one in pages.values() if one.startswith(f"{kind.lower()}/"))
                section[kind] = [f"{kind.lower()}.md", *own]
        if section.get("Tutorials"):
            section["Tutorials"].append({"Forms of submissions": "submitting.md"})


def collect(folder: Path, root: Path = ROOT) -> None:
    """Write the configuration and all pages with their pictures into ``folder``, ready for the generator, and beside
    the pages what the boards' front page says of methods."""
    pages, parameters = sources(root), trained_parameters()
    texts = {"methods.md": methods_page(parameters), "api.md": api_page(root), PARAMETERS: json.dumps(parameters)}
    for source, name in pages.items():
        texts[name], pictures = page(source, pages, root)
        for picture, file in pictures.items():
            (folder / "pages" / picture).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, folder / "pages" / picture)
    texts |= {name: (root / "docs" / name).read_text() for name in ("extra.css", "extra.js")}
    for name, text in texts.items():
        (folder / "pages" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "pages" / name).write_text(text, encoding="utf-8")
    config = yaml.safe_load((root / "docs" / "mkdocs.yml").read_text())
    _navigation(config, pages)
    (folder / "mkdocs.yml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")


def build(out: Path) -> None:
    """Replace ``out`` by the built site; ends the process with the generator's words where it warns of anything."""
    with tempfile.TemporaryDirectory() as folder:
        collect(Path(folder))
        done = subprocess.run([sys.executable, "-m", "zensical", "build", "--strict"], cwd=folder, env=os.environ)
        if done.returncode:
            sys.exit(done.returncode)
        shutil.rmtree(out, ignore_errors=True)
        # The generator's page for missing addresses expects the site at the server's root.
        shutil.copytree(Path(folder) / "built", out, ignore=shutil.ignore_patterns("404.html"))


if __name__ == "__main__":
    build(Path(sys.argv[1]))
