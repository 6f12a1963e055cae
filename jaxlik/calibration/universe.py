"""Engines of other universes: the same searches, with the data of a pseudo-database."""

from dataclasses import dataclass

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from jaxlik.calibration.backgrounds import Backgrounds, make_backgrounds
from jaxlik.calibration.injection import Injection
from jaxlik.calibration.limit_maps import LimitMaps, make_limit_maps
from jaxlik.calibration.pseudo_data import PseudoData, Recipe, draw, limit_factors
from jaxlik.calibration.region_limits import event_limits
from jaxlik.calibration.workspace_correlations import workspace_correlations
from jaxlik.database.snapshot import Snapshot
from jaxlik.engine import Engine
from jaxlik.evaluation import JointModels
from jaxlik.typing import Array, Float
from jaxlik.yields.neural import NeuralYields


@dataclass(frozen=True)
class Multiverse:
    """All pseudo-databases of one database.

    Attributes:
        engine: With the real data.
        digest: SHA-256 of the database.
        backgrounds: What is expected without a signal.
        maps: Its upper-limit maps.
        limit_scale: Limit on events of each region at the expected count.
    """

    engine: Engine
    digest: str
    backgrounds: Backgrounds
    maps: LimitMaps
    limit_scale: Float[Array, " region"]

    def data(self, index: int, recipe: Recipe, injection: Injection | None = None) -> PseudoData:
        """Data of one pseudo-database."""
        return draw(self.backgrounds, self.maps, self.digest, index, recipe, injection)

    def engine_of(
        self, data: PseudoData, recipe: Recipe, injection: Injection | None = None
    ) -> Engine:
        """The engine with these data; compiled programs serve it unchanged.

        Args:
            data: Of `data`.
            recipe: The one they were drawn with.
            injection: The one they were drawn with.
        """
        added = np.zeros(len(self.maps.slots))
        if injection is not None:
            added = recipe.strength * injection.at(self.maps, recipe.distance)
        values = self.maps.changed(
            np.asarray(_maps(self.engine).values), limit_factors(data.pulls), added
        )
        engine = with_counts(self.engine, jnp.asarray(data.observed), self.limit_scale)
        if not recipe.rederive:
            stale = self.engine.regions.upper_limit
            engine = eqx.tree_at(lambda e: e.regions.upper_limit, engine, stale)
        return eqx.tree_at(lambda e: _maps(e).values, engine, jnp.asarray(values))


def make_multiverse(snapshot: Snapshot, engine: Engine) -> Multiverse:
    """Prepare the pseudo-databases of a snapshot.

    Args:
        snapshot: Database.
        engine: Made from it.
    """
    backgrounds = make_backgrounds(snapshot, workspace_correlations(snapshot))
    table = engine.regions
    scale = event_limits(table.background, table.background, table.background_error)
    digest = snapshot.sha256
    return Multiverse(engine, digest, backgrounds, make_limit_maps(snapshot), scale)


def with_counts(
    engine: Engine, observed: Float[Array, " region"], scale: Float[Array, " region"]
) -> Engine:
    """An engine with other counts: limits of regions and joint likelihoods follow.

    Args:
        engine: To change.
        observed: Events of each region.
        scale: Limit on events of each region at its expected count.
    """
    table = engine.regions
    excluded = event_limits(observed, table.background, table.background_error)
    limits = table.upper_limit_expected * excluded / scale
    joint = tuple(_with_joint_counts(model, observed) for model in engine.joint)
    return eqx.tree_at(
        lambda e: (e.regions.observed, e.regions.upper_limit, e.joint),
        engine,
        (observed, limits, joint),
    )


def _with_joint_counts(model: JointModels, observed: Float[Array, " region"]) -> JointModels:
    bank = model.bank.with_observed(model.bank.gather(observed[model.regions])).prepared()
    return eqx.tree_at(lambda m: (m.bank, m.null), model, (bank, bank.null_twice_nll()))


def _maps(engine: Engine):
    """Where an engine keeps its upper-limit maps."""
    yields = engine.yields
    return yields.exact.maps if isinstance(yields, NeuralYields) else yields.maps
