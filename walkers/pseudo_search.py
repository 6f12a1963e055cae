"""The whole search on pseudo-databases: a task for any number of workers.

A task is a few pseudo-databases of one campaign. Everything it needs follows from its
payload, everything random from (database, seed, index): results do not depend on who computes
them, or in which order.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxlik.calibration.evidence import (
    Hypotheses,
    log_bayes_factor,
    log_ratios,
    make_hypotheses,
)
from jaxlik.calibration.injection import Injection, inject
from jaxlik.calibration.pseudo_data import Recipe
from jaxlik.calibration.significance import root_significance
from jaxlik.calibration.universe import Multiverse, make_multiverse
from jaxlik.database.compile import load_database
from jaxlik.engine import Engine
from jaxlik.errors import ConfigError
from jaxlik.fit.config import EngineConfig, FitConfig, MoveWeights, SearchConfig
from jaxlik.fit.engines import choose_networks, make_engine
from jaxlik.physics.model import ModelPoint, point_to_dict, protomodel_space
from jaxlik.physics.protomodels import read_protomodels
from jaxlik.typing import Float
from walkers.grow import grown_state
from walkers.leads import find_leads, lead_models, sample_masses
from walkers.run import best_point, search
from walkers.step import default_chunk, evaluate
from walkers.target import EngineTarget


@dataclass(frozen=True)
class Campaign:
    """What all tasks of a campaign share.

    Attributes:
        database: As `jaxlik.database.compile.load_database` takes it.
        mode: ``default`` or ``protomodels``.
        engine: How models are scored.
        search: Budget of each search; its seed is that of the campaign.
        recipe: How pseudo-data are drawn.
        injected: File of a protomodel that is injected.
        hypotheses: Simple models of each kind in the Bayes factor, 0 for none.
        fingerprint: Of the contents of database and injected file: results of others are
            not mixed in.
    """

    database: str = "embedded"
    mode: str = "default"
    engine: EngineConfig = field(default_factory=EngineConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    recipe: Recipe = field(default_factory=Recipe)
    injected: str | None = None
    hypotheses: int = 1
    fingerprint: str = ""


class FixedTarget(EngineTarget):
    """The score with tables of one size: models that do not fit are rejected."""

    def enlarged(self, demand: tuple[int, ...]) -> "FixedTarget":
        """Nothing changes, so that no task waits for a compiler."""
        del demand
        return self


@dataclass(frozen=True)
class Workshop:
    """What one process needs for all tasks of a campaign.

    Attributes:
        multiverse: The pseudo-databases.
        injection: The signal in them, if any.
        injected: The model that makes it.
        hypotheses: Models of the Bayes factor, if any.
    """

    multiverse: Multiverse
    injection: Injection | None
    injected: ModelPoint | None
    hypotheses: Hypotheses | None


@lru_cache(maxsize=1)
def workshop(campaign: Campaign) -> Workshop:
    """Open the database and prepare everything that pseudo-databases share."""
    snapshot = load_database(campaign.database, quiet=True)
    fit = FitConfig(database=campaign.database, mode=campaign.mode, engine=campaign.engine)  # type: ignore[arg-type]
    engine, _ = make_engine(fit, snapshot, choose_networks(campaign.engine, snapshot))
    injection = injected = None
    if campaign.injected is not None:
        model = read_protomodels(Path(campaign.injected), engine.space, strict=False)[0]
        injection = inject(engine, model.point, model.cross_sections)
        injected = _with_cross_sections(engine, model.point, model.cross_sections)
    hypotheses = None
    if campaign.hypotheses and not engine.literal:
        hypotheses = make_hypotheses(engine, _simple_models(engine, campaign))
    return Workshop(make_multiverse(snapshot, engine), injection, injected, hypotheses)


def search_pseudo_databases(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Search some pseudo-databases.

    Args:
        payload: ``campaign``, a `Campaign` as a dictionary, and ``indices``, numbers of
            pseudo-databases; negative ones are searches of the real data.

    Returns:
        ``results``: one document per index, see `search_one`.
    """
    campaign = campaign_of(payload["campaign"])
    found = [search_one(campaign, index) for index in payload["indices"]]
    return {"results": found}


def search_one(campaign: Campaign, index: int) -> dict[str, Any]:
    """Search one pseudo-database, or the real data.

    Args:
        campaign: What to do.
        index: Number of the pseudo-database; negative for the real data.

    Returns:
        ``index``, ``K``, ``Z``, ``r_max``, ``masses`` by PDG number and ``model`` (the whole
        dictionary) of the best model, ``log_bayes_factor``, and ``largest_z``, the largest
        significance of a region. Where a model is injected, ``K_injected``: its K on the same
        data, at the best strength; `None` where it has none.
    """
    shop = workshop(campaign)
    engine = shop.multiverse.engine
    if index >= 0:
        data = shop.multiverse.data(index, campaign.recipe, shop.injection)
        engine = shop.multiverse.engine_of(data, campaign.recipe, shop.injection)
    config = replace(campaign.search, seed=_seed(campaign.search.seed, index))
    target = FixedTarget(engine)  # type: ignore[reportCallIssue]
    state = grown_state(target, config) if config.leads else None
    if config.steps or state is None:
        state = search(target, config, state=state)
    table = engine.regions
    z = root_significance(*(np.asarray(a) for a in (table.observed, table.background,
                                                    table.background_error)))  # fmt: skip
    document: dict[str, Any] = {
        "index": index,
        "K": None,
        "Z": None,
        "r_max": None,
        "masses": {},
        "model": None,
        "largest_z": float(z.max()),
        "log_bayes_factor": None,
    }
    best = state.hiscores
    if bool(best.live[0]):
        point = jax.tree.map(np.asarray, best_point(state))
        model = point_to_dict(engine.space, point)
        document |= {
            "K": float(best.score[0]),
            "Z": float(np.sqrt(best.z_squared[0])),
            "r_max": float(best.r_max[0]),
            "masses": {str(pid): float(mass) for pid, mass in model["masses"].items()},
            "model": repr(model),
        }
    if shop.injected is not None:
        document["K_injected"] = _score(target, shop.injected, default_chunk(config.walkers))
    if shop.hypotheses is not None:
        document["log_bayes_factor"] = log_bayes_factor(log_ratios(engine, shop.hypotheses))
    return document


def injected_content(path: str) -> list[int]:
    """PDG numbers of the first model in a file.

    Raises:
        ModelPointError: the file cannot be read.
        ConfigError: it holds no model.
    """
    space = protomodel_space()
    models = read_protomodels(Path(path), space, strict=False)
    if not models:
        raise ConfigError(f"--injected {path} holds no model; wanted at least one")
    point = models[0].point
    return [pid for pid, on in zip(space.pdg_ids, np.asarray(point.active), strict=True) if on]


def campaign_of(document: Mapping[str, Any]) -> Campaign:
    """A campaign from its dictionary (`dataclasses.asdict`, through JSON)."""
    search = dict(document["search"])
    search["moves"] = MoveWeights(**search["moves"])
    numbers = dict(document["engine"])
    for name in ("networks", "combinability"):
        numbers[name] = Path(numbers[name]) if numbers[name] else None
    return Campaign(
        **{
            **document,
            "search": SearchConfig(**search),
            "engine": EngineConfig(**numbers),
            "recipe": Recipe(**document["recipe"]),
        }
    )


def _seed(seed: int, index: int) -> int:
    """Of one search: different for every index, those of real data included."""
    return seed * 2_000_003 + (2 * index if index >= 0 else -2 * index - 1)


def _with_cross_sections(
    engine: Engine, point: ModelPoint, given: Float[np.ndarray, "production 2"] | None
) -> ModelPoint:
    """The model with the signal strengths that make its cross sections at 13 TeV."""
    if given is None:
        return point
    own = np.asarray(engine.reference_production(point))[:, 1]
    factor = np.divide(given[:, 1], own, out=np.zeros_like(own), where=own > 0)
    return replace(point, signal_strengths=np.asarray(point.signal_strengths) * factor)


def _score(target: EngineTarget, point: ModelPoint, chunk: int) -> float | None:
    """K of one model, by the program that scores chunks of walkers."""
    points = jax.tree.map(lambda leaf: np.repeat(np.asarray(leaf)[None], chunk, axis=0), point)
    (found,) = evaluate(target, points, chunk)
    score = float(found.score[0])
    return None if bool(found.overflow[0]) or not np.isfinite(score) else score


def _simple_models(engine: Engine, campaign: Campaign) -> ModelPoint:
    """Models of one new particle or one pair, at random masses, with reference cross sections."""
    target = EngineTarget(engine)  # type: ignore[reportCallIssue]
    leads = find_leads(engine.space, engine.yields)
    masses = sample_masses(leads, engine.yields, campaign.hypotheses, campaign.search.seed)
    most = campaign.search.max_particles
    return lead_models(engine.space, leads, masses, target.reference_fn, most)
