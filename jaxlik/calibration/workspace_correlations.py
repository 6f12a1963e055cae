r"""How the backgrounds of signal regions vary together, from the fit of a workspace.

At the best fit without signal the parameters have covariance $H^{-1}$, H the Hessian of -ln L,
and the rates of regions, to first order,

$$ \mathrm{cov}(\lambda_i, \lambda_j) = J H^{-1} J^T, \qquad J = \partial\lambda/\partial\theta. $$
"""

import logging
import os
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from jaxlik.database.compile import cache_folder
from jaxlik.database.records import WorkspaceRecord
from jaxlik.database.snapshot import Snapshot
from jaxlik.database.workspace_signal import flatten_with_signal
from jaxlik.errors import ConvergenceError, WorkspaceError
from jaxlik.inference.linearisation import at_bounds
from jaxlik.inference.workspace_fits import certified
from jaxlik.inference.workspace_model import by_region
from jaxlik.inference.workspace_profile import fit_parameters
from jaxlik.statmodels.histfactory import HistFactory
from jaxlik.statmodels.histfactory_signal import SignalInput, pack_signal, with_signal
from jaxlik.statmodels.packing import pack_workspace
from jaxlik.typing import Array, Float

logger = logging.getLogger(__name__)

VERSION = 1
"""Raised when the numbers change, so that stored ones are made again."""


def workspace_correlations(snapshot: Snapshot, *, quiet: bool = True) -> dict[str, np.ndarray]:
    """Correlations of the regions of every result with workspaces; stored in the cache.

    Args:
        snapshot: Database.
        quiet: No progress bar.

    Returns:
        By folder, ``region region`` in the order of the result's counts. Regions without a
        fit are uncorrelated.
    """
    if not snapshot.workspaces:
        return {}
    path = cache_folder() / f"correlations-{snapshot.sha256[:24]}-{VERSION}.npz"
    if path.is_file():
        with np.load(path, allow_pickle=False) as stored:
            return dict(stored)
    found = _all_correlations(snapshot, quiet)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.stem}-{os.getpid()}.part.npz")
    np.savez(temporary, **found)  # type: ignore[reportArgumentType]
    temporary.replace(path)
    return found


def _all_correlations(snapshot: Snapshot, quiet: bool) -> dict[str, np.ndarray]:
    records = {r.provenance.folder: r for r in snapshot.results if r.counting is not None}
    by_folder: dict[str, list[WorkspaceRecord]] = {}
    for record in snapshot.workspaces:
        by_folder.setdefault(record.analysis_id, []).append(record)
    found = {}
    for folder, workspaces in tqdm(by_folder.items(), desc="background fits", disable=quiet):
        if folder not in records or records[folder].covariance is not None:
            continue
        found[folder] = _of_result(records[folder].counting.region_ids, workspaces)  # type: ignore[union-attr]
    return found


def _of_result(names: Sequence[str], workspaces: Sequence[WorkspaceRecord]) -> np.ndarray:
    """Correlations of the regions of one result; those of different workspaces have none."""
    place = {name: i for i, name in enumerate(names)}
    total = np.eye(len(names))
    done: set[str] = set()
    for workspace in workspaces:
        try:
            regions, correlation = background_correlation(workspace)
        except (ConvergenceError, WorkspaceError) as error:
            logger.warning("%s %s: %s", workspace.analysis_id, workspace.name, error)
            continue
        # The regions of several workspaces may be the same; the first one speaks for them.
        kept = [i for i, name in enumerate(regions) if name in place and name not in done]
        rows = np.array([place[regions[i]] for i in kept], dtype=int)
        total[np.ix_(rows, rows)] = correlation[np.ix_(kept, kept)]
        done.update(regions[i] for i in kept)
    return total


def background_correlation(
    workspace: WorkspaceRecord,
) -> tuple[tuple[str, ...], Float[np.ndarray, "region region"]]:
    """Signal regions of a workspace, and how their rates are correlated after its fit.

    Raises:
        WorkspaceError: the workspace is malformed, or no region of it carries a signal.
        ConvergenceError: the fit without signal is not certified.
    """
    record, cells = flatten_with_signal(workspace)
    model = pack_workspace(record)
    where = pack_signal(cells, model)
    nothing = with_signal(model, where, jnp.zeros(len(cells.region_ids)))
    held = model.fixed.at[record.poi].set(True)
    start = model.init.at[record.poi].set(0.0)
    fit = certified(fit_parameters(nothing, None, held, start), "of the background")
    free = ~(held | at_bounds(nothing, fit.parameters))
    covariance = np.asarray(
        _rate_covariance(nothing, where, fit.parameters, fit.hessian, free, len(cells.region_ids))
    )
    sigma = np.sqrt(np.diagonal(covariance))
    safe = np.where(sigma > 0, sigma, 1.0)
    correlation = covariance / np.outer(safe, safe)
    np.fill_diagonal(correlation, 1.0)
    return tuple(cells.region_ids), correlation


@eqx.filter_jit
def _rate_covariance(
    model: HistFactory,
    where: SignalInput,
    parameters: Float[Array, " parameter"],
    hessian: Float[Array, "parameter parameter"],
    free: Array,
    num_regions: int,
) -> Float[Array, "region region"]:
    """Covariance of the rates of regions; parameters that do not move have none."""
    both = free[:, None] & free[None, :]
    inverse = jnp.linalg.pinv(jnp.where(both, hessian, jnp.eye(len(parameters))), hermitian=True)
    slopes = jax.jacfwd(lambda p: by_region(model, where, model.expected(p), num_regions))(
        parameters
    )
    slopes = jnp.where(free[None], slopes, 0.0)
    return slopes @ inverse @ slopes.T
