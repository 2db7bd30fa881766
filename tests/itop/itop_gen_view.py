"""The documented camera formula, typed in from the description for the generator's tests."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

RIGHT_OF = {2: 3, 4: 5, 6: 7, 9: 10, 11: 12, 13: 14}
"""Joint on the person's right -> its partner on the left."""


def onto_image(metres: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(..., 3) x, y up, z -> (..., 2) px."""
    x, y, z = metres[..., 0], metres[..., 1], metres[..., 2]
    return np.stack([160 + x / (0.0035 * z), 120 - y / (0.0035 * z)], axis=-1)
