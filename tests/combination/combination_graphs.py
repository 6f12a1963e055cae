"""Random graphs and brute-force answers on them."""

import numpy as np

from jaxlik.combination.overlap import Overlap


def random_overlap(rng, count, density):
    upper = np.triu(rng.random((count, count)) < density, 1)
    return Overlap(upper | upper.T, tuple(f"R{i}" for i in range(count)))


def all_maximal_cliques(compatible):
    """Masks of all maximal cliques by looking at every subset: for at most 14 vertices."""
    count = len(compatible)
    subsets = (np.arange(1 << count)[:, None] >> np.arange(count)) & 1
    conflict = (~compatible).astype(int) - np.eye(count, dtype=int)
    free = subsets @ conflict == 0
    is_clique = ~((subsets == 1) & ~free).any(axis=1)
    extendable = ((subsets == 0) & free).any(axis=1)
    return subsets[is_clique & ~extendable].astype(bool)


def best_by_enumeration(compatible, gain, live, min_members):
    """Value of the best maximal clique among the live vertices; None where there is none."""
    index = np.flatnonzero(live)
    cliques = all_maximal_cliques(compatible[np.ix_(index, index)])
    cliques = cliques[cliques.sum(axis=1) >= min_members]
    return (cliques @ gain[index]).max() if len(cliques) else None
