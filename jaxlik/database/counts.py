"""Event counts of all signal regions of a database, without its maps.

A text database lists more regions than likelihoods use: with a covariance matrix only the
regions of its `datasetOrder` enter, and a snapshot holds these alone. Text is read in full.
"""

import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from jaxlik.database import smodels_reader
from jaxlik.database.compile import load_database, root_of
from jaxlik.database.records import CountingRecord, CovarianceRecord, Provenance
from jaxlik.database.snapshot import Snapshot
from jaxlik.errors import DatabaseError

INFO_FILES = ("version", "globalInfo.txt", "dataInfo.txt")
"""All that counts are read from."""


@dataclass(frozen=True)
class Counts:
    """Counts of one result.

    Attributes:
        provenance: Where they come from.
        counting: All its regions.
        covariance: Of those regions that have one.
    """

    provenance: Provenance
    counting: CountingRecord
    covariance: CovarianceRecord | None


@dataclass(frozen=True)
class CountTable:
    """Counts of a database.

    Attributes:
        version: Of the database.
        results: Those with efficiency maps, in the order of the database.
    """

    version: str
    results: tuple[Counts, ...]

    @property
    def num_regions(self) -> int:
        """Of all results."""
        return sum(len(one.counting.region_ids) for one in self.results)


def read_counts(path: str | Path) -> CountTable:
    """Counts of any kind of database.

    Args:
        path: SModelS text database (folder or tar archive), snapshot, or `embedded`.

    Raises:
        DatabaseError: nothing there, or neither snapshot nor database.
    """
    place = Path(path)
    if place.is_dir() and (place / "version").is_file():
        return _from_text(place)
    if place.is_file() and tarfile.is_tarfile(place):
        with tempfile.TemporaryDirectory(prefix="jaxlik-") as folder:
            with tarfile.open(place) as archive:
                for member in archive:
                    if member.isfile() and Path(member.name).name in INFO_FILES:
                        archive.extract(member, folder, filter="data")
            return _from_text(root_of(Path(folder), place))
    return counts_of(load_database(path))


def counts_of(snapshot: Snapshot) -> CountTable:
    """Counts of a snapshot: the regions that its likelihoods use."""
    return CountTable(
        snapshot.version,
        tuple(
            Counts(result.provenance, result.counting, result.covariance)
            for result in snapshot.results
            if result.counting is not None
        ),
    )


def _from_text(root: Path) -> CountTable:
    version = smodels_reader.database_version(root)
    found = map(smodels_reader.read_counts, smodels_reader.result_folders(root))
    results = tuple(Counts(*one) for one in found if one is not None)
    if not results:
        raise DatabaseError(f"{root}: no result has efficiency maps, so that there are no counts")
    return CountTable(version, results)
