"""Grids like the published ones, for tests of triangulation and location."""

import numpy as np


def lattice(*axes):
    """Regular grid points, whose triangulation is degenerate everywhere."""
    return np.stack([a.ravel() for a in np.meshgrid(*axes, indexing="ij")], axis=1)


def symmetric(points):
    """The same masses on both branches: a plane in twice as many coordinates."""
    return np.concatenate([points, points], axis=1)


MOTHERS, LIGHTEST = np.arange(300.0, 1600.0, 50.0), np.arange(0.0, 700.0, 50.0)
PLANE = lattice(MOTHERS, LIGHTEST)
PLANE = PLANE[PLANE[:, 0] > PLANE[:, 1] + 100]
SPACE = lattice(MOTHERS[::3], np.linspace(0.05, 0.95, 6), LIGHTEST[::4])
SPACE[:, 1] = SPACE[:, 2] + SPACE[:, 1] * (SPACE[:, 0] - SPACE[:, 2])
CASES = {
    "lattice-2d": symmetric(PLANE),
    "lattice-3d": symmetric(SPACE),
    "line": symmetric(np.stack([MOTHERS, MOTHERS - 30.0], axis=1)),
    "scattered": np.random.default_rng(1).uniform(0, 1000, (200, 3)),
}
