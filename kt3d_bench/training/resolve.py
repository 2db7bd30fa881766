"""Look up and check what a run is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kt3d_bench.errors import UsageError, did_you_mean
from kt3d_bench.plugins import registry
from kt3d_bench.plugins.hookspecs import MethodPlugin
from kt3d_bench.schema import parse
from kt3d_bench.supervision import Grant, grant
from kt3d_bench.training.config import RunConfig
from kt3d_bench.training.external import PSEUDO_LEVEL, learns_from
from kt3d_bench.training.settings import build_config
from kt3d_bench.training.sources import Domain, domain, is_stream

if TYPE_CHECKING:
    from kt3d_bench.method import Method, MethodContext


@dataclass(frozen=True, eq=False)
class Resolved:
    """A config whose every part was looked up and found valid."""

    config: RunConfig
    plugin: MethodPlugin
    method: type[Method]
    method_config: Any
    grant: Grant
    domains: Mapping[str, Domain]
    """Role -> what it reads, for the roles the method uses."""
    accelerator: str
    """"cpu" or "cuda"."""
    precision: str

    @property
    def base_name(self) -> str:
        """The run's name before a number is appended to make it unique."""
        config = self.config
        level = config.supervision + (f"-{config.joints}" if "partial" in config.supervision else "")
        return f"{config.method}-{self.domains['target'].name}-{level}-{config.preset}-s{config.seed}"

    def planned_context(self) -> MethodContext:
        """Return what the method will know about the run, found without its data."""
        from kt3d_bench.method import MethodContext

        target, source = self.domains["target"], self.domains.get("source")
        return MethodContext(
            target_modality=target.modality,
            num_parts=registry.card(source.dataset).num_parts if source is not None else 0,
            supervision=learns_from(self.config),
            transfers=source is None or source.dataset != target.dataset,
        )


def resolve(config: RunConfig, *, planning: bool = False) -> Resolved:
    """Look up and check everything that needs no data. ``planning``: nothing will be trained here.

    Raises ``UsageError`` for unknown names (with a suggestion), settings of the wrong type, a supervision level the
    method does not accept, then an impossible device, and the preset ``paper`` without a GPU: wrong words come first.
    """
    plugin = registry.method(config.method)
    config = parse(RunConfig, config, error=UsageError, where="the run", hint="correct these")
    granted = grant(config.supervision, config.joints)
    if config.pseudo_labels:
        _require_pseudo_labels(config, plugin)
    elif config.supervision not in plugin.supervision:
        problem = f"method '{plugin.name}' does not accept supervision '{config.supervision}'"
        raise UsageError(problem, hint=f"it accepts: {', '.join(plugin.supervision)}")
    if config.preset not in plugin.presets:
        raise UsageError(f"there is no preset '{config.preset}'", hint=did_you_mean(config.preset, plugin.presets))
    kind = registry.load(plugin.load)
    settings = build_config(kind.Config, kind.PRESETS, config.preset, config.settings, kind.BUNDLES)
    domains = _domains(config, plugin)
    accelerator = device_kind(config.device)
    if config.preset == "paper" and accelerator == "cpu" and not planning:
        raise UsageError(
            "the preset 'paper' needs a GPU: 140 epochs of ResNet-50 take weeks on a CPU",
            hint="choose --preset tiny, which takes minutes, or laptop, which takes a quarter of an hour or more",
        )
    from kt3d_bench.training.acceleration import precision

    chosen = precision(config.precision, accelerator, kind.PRECISIONS.get(config.preset, "32-true"))
    return Resolved(config, plugin, kind, settings, granted, domains, accelerator, chosen)


def _require_pseudo_labels(config: RunConfig, plugin: MethodPlugin) -> None:
    where = "--pseudo-labels"
    if config.supervision != "none":
        what = f"they take the place of labels, and the supervision '{config.supervision}' is asked for"
        raise UsageError(what, where=where, hint="leave out one of them")
    if PSEUDO_LEVEL not in plugin.supervision:
        what = f"method '{plugin.name}' cannot learn from 2D labels of the target"
        raise UsageError(what, where=where, hint=f"it accepts: {', '.join(plugin.supervision)}")


def _domains(config: RunConfig, plugin: MethodPlugin) -> dict[str, Domain]:
    asked = {"target": config.target, "source": config.source, "pretrain": config.pretrain}
    chosen: dict[str, Domain] = {}
    for role, name in asked.items():
        if name is not None and role != "target" and role not in plugin.defaults:
            raise UsageError(f"method '{plugin.name}' uses no {role} data", hint=f"leave out --{role}")
        if role == "source" and name is not None and is_stream(name):
            name = name.partition(":")[2]  # nothing: the method's default source
        name = name or plugin.defaults.get(role)
        if name is not None:
            chosen[role] = domain(name)
    if "target" not in chosen:
        raise UsageError(f"method '{plugin.name}' names no default target", hint="name one: --target DATASET")
    if "source" in chosen and chosen["source"].plugin.labels == "2d":
        problem = f"dataset '{chosen['source'].dataset}' has 2D labels only, and a source must have 3D ones"
        raise UsageError(problem, hint="choose another --source")
    if is_stream(config.source) and "source" in config.shards:
        raise UsageError("shards are given for 'source', which is to be generated", hint="leave out one of them")
    for role in config.shards:
        if role not in chosen:
            raise UsageError(f"shards are given for '{role}', which is not used", hint=did_you_mean(role, chosen))
    return chosen


def settings_rule(plugin: MethodPlugin, settings: Mapping[str, Any]) -> str:
    """Return what a run may say of its settings: what the plugin says of its presets and of its recipes' rows, and
    nothing where the user chose others."""
    rows = [row for recipe in registry.recipes().values() for row in recipe.rows if row.method == plugin.name]
    named = not settings or any(dict(row.settings) == dict(settings) for row in rows)
    return plugin.settings_rule if named else "not stated"


def device_kind(device: str) -> str:
    """Return "cpu" or "cuda" for a device as the user names it. Raises ``UsageError`` for one that is not here."""
    kind, _, index = device.partition(":")
    if kind == "cpu" and not index:
        return "cpu"
    import torch

    available = torch.cuda.is_available()
    if device == "auto":
        return "cuda" if available else "cpu"
    if kind != "cuda" or (index and not index.isdigit()):
        raise UsageError(f"unknown device '{device}'", hint="choose auto, cpu, cuda or cuda:<index>")
    if not available or (index and int(index) >= torch.cuda.device_count()):
        raise UsageError(f"there is no device '{device}' here", hint="choose --device auto or cpu")
    return "cuda"


def device_name(device: str) -> str:
    """Return torch's name of a device as the user names it. Raises what ``device_kind`` raises."""
    kind = device_kind(device)
    return device if ":" in device else kind
