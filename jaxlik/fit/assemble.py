"""From a snapshot to an engine: the composition root of the library (host side)."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from jaxlik.combination.cliques import make_clique_table
from jaxlik.combination.overlap import Candidate, Combinability, overlap_of
from jaxlik.critic import LimitTable
from jaxlik.database.records import CovarianceRecord, Result
from jaxlik.database.snapshot import Snapshot
from jaxlik.database.surrogate_file import SurrogateFile
from jaxlik.database.table import ChannelTable
from jaxlik.engine import Engine
from jaxlik.errors import ConfigError
from jaxlik.evaluation import JointModels, Regions, Settings
from jaxlik.fit.labels import Labels
from jaxlik.physics.cross_sections import reference_cross_sections
from jaxlik.physics.model import ModelSpace, protomodel_space
from jaxlik.statmodels.bank import make_banks
from jaxlik.statmodels.build import build
from jaxlik.yields.buckets import DEFAULT_BUCKETS, NETWORK_BUCKETS, Buckets
from jaxlik.yields.build import RegionAxis, build_yields, region_axis
from jaxlik.yields.build_neural import build_neural_yields

MODES = ("default", "protomodels")


def build_engine(
    snapshot: Snapshot,
    *,
    mode: str = "default",
    space: ModelSpace | None = None,
    settings: Settings | None = None,
    buckets: Buckets | None = None,
    limit_likelihoods: bool = True,
    surrogate: SurrogateFile | None = None,
    combinability: Combinability | None = None,
) -> tuple[Engine, Labels]:
    """Assemble the engine for a snapshot.

    Args:
        snapshot: Compiled database.
        mode: ``default`` or ``protomodels`` (rules of arXiv:2012.12246).
        space: Model space; the protomodel pool, which snapshots are compiled for, by
            default. Another one costs seconds of matching.
        settings: Numbers of the procedure; `mass_gap_unseen` is infinite in mode
            ``protomodels``.
        buckets: Sizes of the packed tables; by default what most models need.
        limit_likelihoods: In mode ``protomodels``, whether upper-limit results with
            expected limits enter combinations (they did in 2020, not in 2024).
        surrogate: Trained networks to take efficiencies from, instead of the maps of
            the snapshot.
        combinability: Pairs of analyses that may be multiplied; those embedded in the package
            by default.

    Returns:
        The engine, and the names on its axes.

    Raises:
        ConfigError: unknown mode.
        DatabaseError: the networks are those of another database.
    """
    if mode not in MODES:
        raise ConfigError(f"mode is {mode!r}, wanted one of {MODES}")
    literal = mode == "protomodels"
    numbers = settings or Settings()
    if literal:
        # The rule of SModelS before 3.1.
        numbers = eqx.tree_at(lambda s: s.mass_gap_unseen, numbers, jnp.asarray(jnp.inf))
    default = protomodel_space()
    space = space or default
    table = None if _same_layout(space, default) else _table_for(snapshot, space)
    axis = region_axis(snapshot)
    results = [result for result in snapshot.results if result.counting is not None]
    limit_results = _limit_results(snapshot, axis) if literal and limit_likelihoods else []
    candidates = [_candidate(result, "efficiency_map") for result in results]
    candidates += [_candidate(result, "upper_limit") for result in limit_results]
    overlap = overlap_of(candidates, combinability)
    engine = Engine(
        space=space,
        cross_sections=reference_cross_sections(space),
        yields=(
            build_yields(snapshot, space, axis, table)
            if surrogate is None
            else build_neural_yields(surrogate, snapshot, space, axis, table)
        ),
        limits=_limit_table(snapshot, axis, limit_results),
        regions=_regions(snapshot, results, axis),
        joint=_joint_models(results, axis),
        cliques=make_clique_table(overlap),
        settings=numbers,
        literal=literal,
        num_limit_results=len(limit_results),
        buckets=buckets or (DEFAULT_BUCKETS if surrogate is None else NETWORK_BUCKETS),
    )
    labels = Labels(
        results=tuple(r.provenance for r in results),
        regions=axis.regions,
        limits=axis.limits,
        limit_results=tuple(r.provenance for r in limit_results),
        provenance={r.provenance.folder: r.provenance for r in snapshot.results},
        overlap=overlap,
    )
    return engine, labels


def _same_layout(first: ModelSpace, second: ModelSpace) -> bool:
    names = "pdg_ids channel_sm channel_pairs productions".split()
    return all(getattr(first, name) == getattr(second, name) for name in names)


def _table_for(snapshot: Snapshot, space: ModelSpace) -> ChannelTable:
    from jaxlik.database.retable import channel_table  # imports SModelS, which is slow

    return channel_table(snapshot, space)


def _candidate(result: Result, kind: str) -> Candidate:
    p = result.provenance
    return Candidate(p.analysis, p.experiment, p.sqrts, kind)  # type: ignore[arg-type]


def _limit_results(snapshot: Snapshot, axis: RegionAxis) -> list[Result]:
    """Upper-limit results that publish expected limits."""
    folders = {key.folder for key in axis.limits if key.expected >= 0}
    return [result for result in snapshot.results if result.provenance.folder in folders]


def _limit_table(snapshot: Snapshot, axis: RegionAxis, limit_results: list[Result]) -> LimitTable:
    headers = snapshot.maps
    number = {result.provenance.folder: i for i, result in enumerate(limit_results)}
    expected = [max(key.expected, 0) for key in axis.limits]
    return LimitTable(
        grid=jnp.asarray([headers[key.observed].grid for key in axis.limits], dtype=jnp.int32),
        offset=jnp.asarray([headers[key.observed].start for key in axis.limits], dtype=jnp.int32),
        expected_grid=jnp.asarray([headers[i].grid for i in expected], dtype=jnp.int32),
        expected_offset=jnp.asarray([headers[i].start for i in expected], dtype=jnp.int32),
        has_expected=jnp.asarray([key.expected >= 0 for key in axis.limits], dtype=bool),
        result=jnp.asarray(
            [number.get(key.folder, len(limit_results)) for key in axis.limits], dtype=jnp.int32
        ),
    )


def _regions(snapshot: Snapshot, results: list[Result], axis: RegionAxis) -> Regions:
    control = {
        (w.analysis_id, region["smodels"])
        for w in snapshot.workspaces
        for region in w.regions
        if region["type"] != "SR" and region["smodels"]
    }

    def column(name: str) -> np.ndarray:
        return np.concatenate([getattr(result.counting, name) for result in results])

    widest = max(len(result.counting.region_ids) for result in results)  # type: ignore[union-attr]
    of_result = np.full((len(results), widest), len(axis.regions), dtype=np.int32)
    start = 0
    for i, result in enumerate(results):
        size = len(result.counting.region_ids)  # type: ignore[union-attr]
        of_result[i, :size] = np.arange(start, start + size)
        start += size
    return Regions(
        observed=jnp.asarray(column("observed")),
        background=jnp.asarray(column("background")),
        background_error=jnp.asarray(column("background_error")),
        upper_limit=jnp.asarray(column("upper_limit")),
        upper_limit_expected=jnp.asarray(column("upper_limit_expected")),
        selectable=jnp.asarray([key not in control for key in axis.regions], dtype=bool),
        of_result=jnp.asarray(of_result),
    )


def _joint_models(results: list[Result], axis: RegionAxis) -> tuple[JointModels, ...]:
    chosen = [(i, r.covariance) for i, r in enumerate(results) if r.covariance is not None]
    if not chosen:
        return ()
    number = {key: i for i, key in enumerate(axis.regions)}
    regions = np.array(
        [number[(record.analysis_id, name)] for _, record in chosen for name in record.region_ids],
        dtype=np.int32,
    )
    banks = make_banks([build(record) for _, record in chosen])  # type: ignore[misc]
    found = []
    for bank in banks:
        members = [chosen[i] for i in np.asarray(bank.model_index)]
        width = bank.region_index.shape[1]
        information = np.stack([_information(record, width) for _, record in members])
        found.append(
            JointModels(
                bank=bank,
                null=bank.null_twice_nll(),
                regions=jnp.asarray(regions),
                result=jnp.asarray([i for i, _ in members], dtype=jnp.int32),
                information=jnp.asarray(information),
            )
        )
    return tuple(found)


def _information(record: CovarianceRecord, width: int) -> np.ndarray:
    """Gaussian information matrix of the signal, padded with zeros."""
    size = len(record.region_ids)
    total = record.covariance + np.diag(np.maximum(record.background, 1e-3))
    padded = np.zeros((width, width))
    padded[:size, :size] = np.linalg.inv(total)
    return padded
