"""Binary codes as bytes: eight bits a byte, and back to -1 and 1."""

import numpy as np

from kdistill.errors import KdistillError


def pack_codes(rows: np.ndarray) -> np.ndarray:
    """Returns uint8 [n, K / 8], the codes of rows [n, K]: bit k is set where coordinate k is not below 0.

    The first coordinate is the highest bit of the first byte.

    Raises:
        KdistillError: another shape, a K that is no multiple of 8, or values that are not finite.
    """
    rows = np.asarray(rows)
    if rows.ndim != 2 or rows.shape[1] == 0 or rows.shape[1] % 8:
        raise KdistillError(f"codes are made of rows [n, K], K a multiple of 8; the shape is {list(rows.shape)}")
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        raise KdistillError(f"row {int(np.argmin(finite))} holds values that are not finite, so it has no code")
    return np.packbits(rows >= 0, axis=1)


def unpack_codes(codes: np.ndarray) -> np.ndarray:
    """Returns int8 [n, K], -1 and 1, of codes uint8 [n, K / 8]."""
    return 2 * np.unpackbits(codes, axis=1).astype(np.int8) - 1
