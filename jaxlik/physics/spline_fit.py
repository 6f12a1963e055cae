"""Smooth splines through published cross sections (host only).

ln(sigma) is a uniform cubic B-spline of ln(mass), fitted by least squares with a
penalty on third differences: rounding and noise of the published digits are averaged,
gaps between sparse points are filled smoothly.
"""

from typing import Any

import numpy as np

NUM_CELLS = 48
"""Cells of a one-dimensional spline; it has three more coefficients."""

NUM_CELLS_2D = 24
"""Cells per direction of the squark-gluino spline."""

THIRD_DIFFERENCE = 3e-3
"""Typical third difference of neighbouring coefficients: how bent a true curve may be."""

LEAST_NOISE = 3e-4
"""Smallest relative noise ascribed to a published number."""

PENALTY_2D = 1e-7
"""Weight of squared third differences in two dimensions, relative to one data point."""


def basis(position: np.ndarray, num_cells: int) -> np.ndarray:
    """Uniform cubic B-splines at positions in units of cells.

    Returns:
        Matrix of shape (len(position), num_cells + 3).
    """
    cell = np.clip(np.floor(position).astype(int), 0, num_cells - 1)
    t = position - cell
    weights = np.stack(
        [(1 - t) ** 3, 4 - 6 * t**2 + 3 * t**3, 1 + 3 * t + 3 * t**2 - 3 * t**3, t**3]
    )
    matrix = np.zeros((len(position), num_cells + 3))
    rows = np.arange(len(position))
    for offset, weight in enumerate(weights / 6):
        matrix[rows, cell + offset] = weight
    return matrix


def fit_spline(masses: np.ndarray, values: np.ndarray) -> dict[str, Any]:
    """Spline of ln(sigma/fb) in ln(mass/GeV): lower end, cell width, coefficients.

    Two passes: a stiff one, whose residuals give the noise of the published digits
    along the table, then one that weights every point with that noise.
    """
    x = np.log(masses)
    low, step = x[0], (x[-1] - x[0]) / NUM_CELLS
    matrix = basis((x - low) / step, NUM_CELLS)
    bends = np.diff(np.eye(NUM_CELLS + 3), 3, axis=0) / THIRD_DIFFERENCE
    noise = np.full(len(x), 0.02)
    coefficients = np.zeros(NUM_CELLS + 3)
    for _ in range(2):
        system = np.vstack([matrix / noise[:, None], bends])
        target = np.concatenate([np.log(values) / noise, np.zeros(len(bends))])
        coefficients, *_ = np.linalg.lstsq(system, target, rcond=None)
        squares = (np.log(values) - matrix @ coefficients) ** 2
        width = min(9, len(x) // 2 * 2 - 1)
        padded = np.pad(squares, width // 2, mode="edge")
        windows = np.lib.stride_tricks.sliding_window_view(padded, width)
        noise = np.maximum(np.sqrt(windows.mean(axis=1)), LEAST_NOISE)
    return {"low": low, "step": step, "coefficients": [round(c, 7) for c in coefficients.tolist()]}


def evaluate_spline(spline: dict[str, Any], masses: np.ndarray) -> np.ndarray:
    """Cross sections in fb of a fitted spline; beyond its ends the slope is kept."""
    coefficients = np.asarray(spline["coefficients"])
    position = (np.log(masses) - spline["low"]) / spline["step"]
    inside = np.clip(position, 0, NUM_CELLS)
    value = basis(inside, NUM_CELLS) @ coefficients
    first, last = coefficients[2] - coefficients[0], coefficients[-1] - coefficients[-3]
    slope = np.where(position < inside, first, last) / 2
    return np.exp(value + slope * (position - inside))


def fit_grid(masses: np.ndarray, values: np.ndarray) -> dict[str, Any]:
    """Tensor spline of ln(sigma/fb) in the logarithms of two masses.

    Args:
        masses: GeV, shape (point, 2), anywhere in the plane.
        values: fb.
    """
    x = np.log(masses)
    low = x.min(axis=0)
    step = (x.max(axis=0) - low) / NUM_CELLS_2D
    rows = [basis((x[:, i] - low[i]) / step[i], NUM_CELLS_2D) for i in (0, 1)]
    size = NUM_CELLS_2D + 3
    matrix = np.einsum("ni,nj->nij", *rows).reshape(len(values), size * size)
    third = np.sqrt(PENALTY_2D) * np.diff(np.eye(size), 3, axis=0)
    bends = np.vstack([np.kron(third, np.eye(size)), np.kron(np.eye(size), third)])
    target = np.concatenate([np.log(values), np.zeros(len(bends))])
    found, *_ = np.linalg.lstsq(np.vstack([matrix, bends]), target, rcond=None)
    rounded = [[round(c, 6) for c in row] for row in found.reshape(size, size).tolist()]
    return {"low": low.tolist(), "step": step.tolist(), "coefficients": rounded}


def joined_orders(masses: np.ndarray, values: np.ndarray, border: float) -> np.ndarray:
    """Scale the values below a change of perturbative order to remove the step.

    The factor compares the value at the border with the extrapolation of the last
    five points below it.
    """
    below, above = masses < border, masses >= border
    fit = np.polyfit(np.log(masses[below][-5:]), np.log(values[below][-5:]), 1)
    expected = np.exp(np.polyval(fit, np.log(masses[above][0])))
    return np.where(below, values * values[above][0] / expected, values)


def without_filled_points(masses: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Which points are genuine, not the geometric mean of their neighbours.

    The 8 TeV slepton table was thinned to 50 GeV and filled linearly in ln(sigma),
    which is wrong by 27 % at 75 GeV.
    """
    logs = np.log(values)
    genuine = np.ones(len(masses), dtype=bool)
    middle = 0.5 * (logs[:-2] + logs[2:])
    genuine[1:-1] = np.abs(logs[1:-1] - middle) > 1e-3
    return genuine
