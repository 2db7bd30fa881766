"""Human3.6M: RGB video, pose CDFs and calibrated cameras of the official download."""

from collections.abc import Sequence
from pathlib import Path

from kt3d_bench import DatasetPlugin, Option, hookimpl


@hookimpl
def kt3d_datasets() -> Sequence[DatasetPlugin]:
    return [
        DatasetPlugin(
            name="h36m",
            title="Human3.6M",
            modalities=("rgb", "foreground"),
            splits=("train", "test"),
            folder=Path(__file__).parent,
            convert="kt3d_h36m.convert",
            generate="kt3d_h36m.generate",
            names="kt3d_h36m.recordings",
            options={
                "train_every": Option(5, "use every n-th training frame"),
                "test_every": Option(
                    64,
                    "store every n-th test frame, where n divides 64: the benchmark scores every 64th, the others are "
                    "neighbours for methods that read clips",
                    later=True,
                ),
                "drop": Option(
                    "", "recordings to leave out: 'S9 Greeting', 'S9 Posing 55011271', or 'shifted' (three of S9)"
                ),
                "keep": Option("", "recordings to use although dropped by default: 'S11 Directions 54138969'"),
                "boxes": Option(
                    "joints",
                    "'official' takes the person boxes of Segments_mat_gt_bb instead of the joints' extent",
                    ("joints", "official"),
                ),
                "subjects": Option("", "use only these of the split's subjects, such as 'S9,S11'; empty = all"),
                "foreground": Option(
                    True, "store the motion foreground: where an image differs from the empty scene of its camera"
                ),
                "partial": Option(False, "accept a folder that holds only some of each subject's 30 recordings"),
            },
        )
    ]
