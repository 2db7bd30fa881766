"""Start a run from weights that are there: those of another run, or of a weight file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kt3d_bench.errors import ArtefactError
from kt3d_bench.files import file_sha256
from kt3d_bench.method import Method
from kt3d_bench.nn.resnet import ResNet50, set_torchvision_weights
from kt3d_bench.nn.weights import read_weights
from kt3d_bench.packs import is_pack
from kt3d_bench.run_folder import RUN_FILE, declared, final_checkpoint, found_run, labels_seen, read_run
from kt3d_bench.training import checkpoint

_ENDINGS = (".pt", ".pth", ".safetensors")
_NAMED = 3


def start_from(method: Method, given: str, data_root: Path) -> dict[str, Any]:
    """Set the weights of a new ``method`` and return, as plain data for ``run.yaml``, where they come from, how many
    tensors fitted, and of a run that they come from, which labels it saw and what external data it declares.

    ``given``: a weight file (``nn.weights.read_weights``), or a finished run: its name, folder or pack. A tensor fits
    where the method has one of its name and shape. A file of which none fits is taken for a torchvision ResNet-50 and
    set in all encoders of that kind. Raises ``ArtefactError`` when nothing fits, and for files that cannot be read;
    ``UsageError`` for an unknown run. A checkpoint in the folder of a run is taken for that run.
    """
    path = Path(given).expanduser()
    is_run = is_pack(path) or (not path.is_file() and path.suffix not in _ENDINGS)
    folder = found_run(path if is_pack(path) else given, data_root) if is_run else path.absolute().parent.parent
    run = read_run(folder) if is_run or (folder / RUN_FILE).is_file() else None
    path = final_checkpoint(folder) if is_run else path
    if is_run:
        read = checkpoint.load(path)
        tensors, digest = read["model"], read["sha256"]
    else:
        tensors, digest = read_weights(path), file_sha256(path)
    own = method.state_dict()
    fitting = {name: value for name, value in tensors.items() if name in own and own[name].shape == value.shape}
    encoders = {name: module for name, module in method.named_modules() if isinstance(module, ResNet50)}
    left = sorted(set(tensors) - set(fitting))
    if fitting:
        method.load_state_dict({**own, **fitting})
        count = len(fitting)
    elif encoders and not is_run:
        for encoder in encoders.values():
            set_torchvision_weights(encoder, tensors, path)
        count = sum(len(encoder.state_dict()) for encoder in encoders.values())
        left = [name for name in left if name.startswith("fc.")]
    else:
        raise ArtefactError(
            f"none of its {len(tensors)} tensors fits the method, which has others such as {next(iter(own), 'none')}",
            where=path,
            hint="give weights of the same networks and sizes, or a torchvision ResNet-50 file for such encoders",
        )
    return {
        "from": path.parent.parent.name if is_run else path.name,
        "sha256": digest,
        "set": count,
        "of": len(own),
        "left_out": left,
        "saw": labels_seen(run, folder) if run else {},
        "external_data": declared(run) if run else [],
    }


def in_words(found: dict[str, Any]) -> str:
    """Return ``start_from``'s result as a sentence."""
    left = found["left_out"]
    named = ", ".join(left[:_NAMED]) + (", ..." if len(left) > _NAMED else "")
    rest = f"; {len(left)} of its tensors have no place here ({named})" if left else ""
    return f"started from '{found['from']}': {found['set']} of the method's {found['of']} tensors are set{rest}"
