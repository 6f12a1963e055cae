"""Where models lie in the maps of a snapshot, and what the maps say there.

Models are taken in batches: their decompositions one by one on the host, the maps of all of
them in one call of compiled code.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jaxlik.combination.overlap import Combinability
from jaxlik.database.records import Result
from jaxlik.database.snapshot import HULLS_ONLY, Snapshot
from jaxlik.database.surrogate_file import SurrogateFile
from jaxlik.errors import DatabaseError
from jaxlik.physics.spectrum import Spectrum
from jaxlik.topologies.decompose import Decomposition, Rules, decompose
from jaxlik.topologies.forest import Shapes
from jaxlik.topologies.matching import Matcher
from jaxlik.topologies.places import Places, find_places
from jaxlik.topologies.targets import TargetTable, build_targets
from jaxlik.yields.build import load_reader, region_axis
from jaxlik.yields.build_neural import check_networks
from jaxlik.yields.placed import Values, read_maps
from jaxlik.yields.placed_networks import NetworkReader, network_reader, read_networks
from jaxlik.yields.reader import MapReader


@dataclass(frozen=True)
class Sight:
    """One model and what the maps say about it.

    Attributes:
        decomposition: Its topologies.
        places: Where they lie.
        entry_place: Place of each value.
        entry_map: Map of each value.
        values: Of the maps: efficiencies, or limits [fb]; lifetimes not included.
    """

    decomposition: Decomposition
    places: Places
    entry_place: np.ndarray
    entry_map: np.ndarray
    values: Values


class Atlas:
    """All maps of a snapshot, ready for any model.

    Args:
        snapshot: A compiled database.
        surrogate: Networks to take efficiencies from instead of its maps; maps without a
            network, those with lifetimes, are left out.
        combinability: Pairs of analyses that may be combined; those embedded in the package
            by default.

    Raises:
        DatabaseError: the snapshot holds no efficiencies and there are no networks, or the
            networks are those of another database.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        surrogate: SurrogateFile | None = None,
        combinability: Combinability | None = None,
    ):
        if snapshot.manifest.get(HULLS_ONLY) and surrogate is None:
            raise DatabaseError(
                f"{snapshot.path}: holds efficiency maps only as hulls; predictions of given "
                "models need networks or a full database"
            )
        self.snapshot = snapshot
        self.combinability = combinability
        self.headers = snapshot.maps
        self.networks: NetworkReader | None = None
        self.head_of_map = np.full(len(self.headers), -1, dtype=np.int64)
        if surrogate is not None:
            check_networks(surrogate, snapshot)
            self.networks = network_reader(surrogate)
            for index, header in enumerate(self.headers):
                key = (header.folder, header.txname, str(header.region))
                self.head_of_map[index] = surrogate.heads.get(key, -1)
        self.table: TargetTable = build_targets(self.headers, snapshot.results)
        self.reader: MapReader = load_reader(snapshot)
        self.offsets = np.array([header.start for header in self.headers], dtype=np.int64)
        self.grids = np.array([header.grid for header in self.headers], dtype=np.int32)
        self.shapes = Shapes()
        self.matcher = Matcher(self.shapes, list(self.table.published))
        # Expected limits are looked up where clusters of observed ones lie.
        counts = [1 if target.is_limit else len(target.maps) for target in self.table.targets]
        self.first_entry = np.concatenate([[0], np.cumsum(counts)])
        self.entry_maps = np.array(
            [
                index
                for target in self.table.targets
                for index in (target.maps[:1] if target.is_limit else target.maps)
            ],
            dtype=np.int64,
        )
        self.target_grids = np.array([t.grid for t in self.table.targets], dtype=np.int32)
        axis = region_axis(snapshot)
        self.regions = axis.regions
        number = {key: i for i, key in enumerate(axis.regions)}
        self.region_of_map = np.array(
            [number.get((h.folder, h.region or ""), -1) for h in self.headers], dtype=np.int64
        )
        counted = [result for result in snapshot.results if result.counting is not None]
        self.results = {result.provenance.folder: result for result in snapshot.results}
        self.upper_limit = _column(counted, "upper_limit")
        self.upper_limit_expected = _column(counted, "upper_limit_expected")
        self.observed = _column(counted, "observed")
        self.background = _column(counted, "background")
        self.background_error = _column(counted, "background_error")
        self.luminosity = np.array(
            [self.results[folder].provenance.luminosity for folder, _ in axis.regions]
        )

    def look(self, spectra: Sequence[Spectrum], rules: Rules) -> list[Sight]:
        """What the maps say about some models."""
        found = []
        for spectrum in spectra:
            decomposition = decompose(spectrum, rules, self.shapes)
            found.append((decomposition, find_places(decomposition, self.table, self.matcher)))
        parts = [self._entries(places) for _, places in found]
        shifts = np.concatenate([[0], np.cumsum([len(places.target) for _, places in found])])
        targets = np.concatenate([places.target for _, places in found])
        values = self._read(
            self.target_grids[targets],
            np.concatenate([places.flat for _, places in found]),
            np.concatenate(
                [place + shift for (place, _), shift in zip(parts, shifts, strict=False)]
            ),
            np.concatenate([index for _, index in parts]),
        )
        ends = np.cumsum([len(place) for place, _ in parts])
        sights = []
        for (decomposition, places), (place, index), end in zip(found, parts, ends, strict=True):
            rows = slice(end - len(place), end)
            mine = Values(values.value[rows], values.slope[rows])
            sights.append(Sight(decomposition, places, place, index, mine))
        return sights

    def _read(
        self, grids: np.ndarray, flat: np.ndarray, place: np.ndarray, maps: np.ndarray
    ) -> Values:
        """Values of maps at places: efficiencies from networks, if there are any."""
        if self.networks is None:
            return read_maps(self.reader, grids, flat, place, self.offsets[maps])
        value, slope = np.zeros(len(maps)), np.zeros((len(maps), flat.shape[1]))
        learned = np.flatnonzero(self.head_of_map[maps] >= 0)
        limits = np.flatnonzero(self.region_of_map[maps] < 0)
        found = read_networks(self.networks, self.head_of_map[maps[learned]], flat[place[learned]])
        value[learned], slope[learned] = found
        found = read_maps(self.reader, grids, flat, place[limits], self.offsets[maps[limits]])
        value[limits], slope[limits] = found
        return Values(value, slope)

    def read(self, indices: Sequence[int], flat: np.ndarray) -> Values:
        """Values of some maps, each at its own coordinates."""
        numbers = np.asarray(indices, dtype=np.int64)
        places = np.arange(len(numbers))
        return read_maps(
            self.reader, self.grids[numbers], np.asarray(flat), places, self.offsets[numbers]
        )

    def _entries(self, places: Places) -> tuple[np.ndarray, np.ndarray]:
        """Place and map of every value of one model."""
        first, last = self.first_entry[places.target], self.first_entry[places.target + 1]
        counts = last - first
        place = np.repeat(np.arange(len(counts)), counts)
        within = np.arange(len(place)) - np.repeat(np.cumsum(counts) - counts, counts)
        return place, self.entry_maps[np.repeat(first, counts) + within]


def _column(results: Sequence[Result], name: str) -> np.ndarray:
    """One number of every signal region."""
    parts = [getattr(result.counting, name) for result in results]
    return np.concatenate(parts) if parts else np.zeros(0)
