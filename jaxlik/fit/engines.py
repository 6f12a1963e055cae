"""From a configuration to the engine it asks for: exact yields, or learned ones."""

import hashlib
import json

import numpy as np

from jaxlik.combination.overlap import read_combinability
from jaxlik.database.archive import digest
from jaxlik.database.snapshot import HULLS_ONLY, Snapshot
from jaxlik.database.surrogate_file import SurrogateFile, open_surrogate, shipped_surrogate
from jaxlik.engine import Engine
from jaxlik.errors import ConfigError
from jaxlik.evaluation import Settings
from jaxlik.fit.assemble import build_engine
from jaxlik.fit.config import EngineConfig, FitConfig
from jaxlik.fit.labels import Labels
from jaxlik.yields.neural import NeuralYields


def make_engine(
    config: FitConfig, snapshot: Snapshot, surrogate: SurrogateFile | None
) -> tuple[Engine, Labels]:
    """The engine of a configuration.

    Args:
        config: Mode and numbers of the procedure.
        snapshot: Database.
        surrogate: Trained networks, or `None` for exact yields.

    Raises:
        DatabaseError: the snapshot holds no efficiencies, the networks are those of another
            database, or the table of combinable pairs is no good.
    """
    numbers = config.engine
    return build_engine(
        snapshot,
        mode=config.mode,
        settings=Settings(
            threshold=numbers.threshold,
            mass_gap=numbers.mass_gap,
            minimum_weight=numbers.minimum_weight,
            min_sensitivity=numbers.min_sensitivity,
        ),
        limit_likelihoods=numbers.limit_likelihoods,
        surrogate=surrogate,
        combinability=read_combinability(numbers.combinability),
    )


def choose_networks(numbers: EngineConfig, snapshot: Snapshot) -> SurrogateFile | None:
    """The networks that yields are taken from; `None` for exact ones.

    Raises:
        ConfigError: a file of networks is given beside exact yields.
        DatabaseError: the file is no good.
    """
    if numbers.yields == "exact" and numbers.networks is not None:
        raise ConfigError("--yields exact takes no --networks; leave one of them out")
    learned = numbers.yields == "networks" or numbers.networks is not None
    if not (learned or (numbers.yields == "auto" and snapshot.manifest.get(HULLS_ONLY))):
        return None
    return open_surrogate(numbers.networks or shipped_surrogate())


def ingredients(config: FitConfig, snapshot: Snapshot, engine: Engine) -> dict[str, str]:
    """What a run is made from, and what it must find again when it goes on.

    Args:
        config: Of the run.
        snapshot: Database.
        engine: Made from it.

    Returns:
        Version, SHA-256 and path of the database; digests of the networks and of the table of
        combinable pairs where others than the maps and the table of the package are used.
    """
    found = {"version": snapshot.version, "sha256": snapshot.sha256, "path": config.database}
    networks = networks_digest(engine)
    if networks is not None:
        found["networks"] = networks
    if config.engine.combinability is not None:
        table = read_combinability(config.engine.combinability).partners
        text = json.dumps({name: sorted(others) for name, others in sorted(table.items())})
        found["combinability"] = hashlib.sha256(text.encode()).hexdigest()[:12]
    return found


def networks_digest(engine: Engine) -> str | None:
    """Digest of the networks an engine takes yields from; `None` for exact yields."""
    if not isinstance(engine.yields, NeuralYields):
        return None
    return digest(np.asarray(engine.yields.heads.weight))[:12]
