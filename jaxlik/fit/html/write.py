"""`report.html` of every kind of result: finds what a folder holds, and writes its page."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxlik.errors import ConfigError, JaxlikError
from jaxlik.fit.html.references import References
from jaxlik.fit.html.run_parts import load_manifest, read_document
from jaxlik.fit.posterior_draws import PosteriorDraws
from jaxlik.fit.store import MANIFEST, SUMMARY, write_atomically

logger = logging.getLogger(__name__)

REPORT = "report.html"

DOCUMENTS = (SUMMARY, "census.json", "workspace.json", "point.json", "snapshot.json")
"""Files of a folder that may hold its document, in the order in which they are tried."""


def write_report(place: Path, output: Path | None = None) -> Path:
    """Write the page of a folder, or of one document.

    Args:
        place: Run directory, or a JSON file that a command wrote.
        output: File to write; by default `report.html` in the folder, or the name of the
            document with the ending `.html`.

    Raises:
        ConfigError: nothing there that has a page, or the page cannot be written.
    """
    folder, document = find_document(place)
    if output is None:
        output = folder / REPORT if folder else place.with_suffix(".html")
    return write_page(document, output, folder)


def write_page(document: Mapping[str, Any], output: Path, folder: Path | None = None) -> Path:
    """Write the page of a document.

    Args:
        document: With a key ``schema``.
        output: File to write.
        folder: Run directory, for what else it holds.

    Raises:
        ConfigError: no page is known for its schema, or the page cannot be written.
    """
    text = report_text(document, folder)
    try:
        write_atomically(output, text)
    except OSError as error:
        raise ConfigError(f"report {output} cannot be written: {error}") from None
    return output


def try_report(place: Path, output: Path | None = None) -> Path | None:
    """The same at the end of a command, whose results matter more: a failure is a warning."""
    try:
        return write_report(place, output)
    except Exception as error:  # noqa: BLE001  (whatever it is, results are written already)
        logger.warning("no %s: %s: %s", REPORT, type(error).__name__, error)
        return None


def find_document(place: Path) -> tuple[Path | None, dict[str, Any]]:
    """The folder, if it is one, and the document behind a page.

    A folder of a search that has no summary yet gives what its other files say.

    Raises:
        ConfigError: nothing there that has a page.
        CheckpointError: a run of `sample` that has no draws yet.
    """
    if place.is_file():
        document = read_document(place)
        if document is None:
            raise ConfigError(f"{place} is no JSON document; wanted one that jaxlik wrote")
        return None, document
    if not place.is_dir():
        raise ConfigError(f"{place}: no such run directory; wanted one that jaxlik wrote")
    for name in DOCUMENTS:
        document = read_document(place / name)
        if document is not None:
            return place, document
    if (place / MANIFEST).is_file():
        return place, _unfinished(place)
    raise ConfigError(
        f"{place}: has none of {', '.join(DOCUMENTS)} and no {MANIFEST}; wanted a run directory "
        "of jaxlik"
    )


def _unfinished(folder: Path) -> dict[str, Any]:
    """What the files of a run say that has no summary yet.

    Raises:
        CheckpointError: a run of `sample` that has no draws yet.
    """
    manifest = load_manifest(folder)
    if "sample" in manifest.get("command", ()):
        from jaxlik.fit.html.sample_report import unfinished_posterior

        return unfinished_posterior(folder, manifest)
    from jaxlik.fit.html.build_report import unfinished_document

    return unfinished_document(folder, manifest)


def report_text(document: Mapping[str, Any], folder: Path | None = None) -> str:
    """The page of a document.

    Args:
        document: With a key ``schema``.
        folder: Run directory, for what else it holds.

    Raises:
        ConfigError: no page is known for its schema.
    """
    schema = document.get("schema")
    if schema == "jaxlik/run/1":
        from jaxlik.fit.html.build_report import build_page

        return build_page(document, folder, _references(document))
    if schema == "jaxlik/posterior/1":
        from jaxlik.fit.html.sample_report import sample_page

        return sample_page(document, folder, _draws(folder, document))
    if schema == "jaxlik/calibration/1":
        from jaxlik.fit.html.calibration_page import calibration_page

        return calibration_page(document, folder)
    if schema == "jaxlik/census/1":
        from jaxlik.fit.html.census_page import census_page

        return census_page(document, folder, _references(document))
    if schema == "jaxlik/point/1":
        from jaxlik.fit.html.point_page import point_page

        return point_page(document, _references(document))
    if schema == "jaxlik/points/1":
        from jaxlik.fit.html.point_page import points_page

        return points_page(document, _references(document))
    if schema == "jaxlik/workspace/1":
        from jaxlik.fit.html.workspace_page import workspace_page

        return workspace_page(document)
    if schema == "jaxlik/snapshot/1":
        from jaxlik.fit.html.snapshot_page import snapshot_page

        return snapshot_page(document)
    raise ConfigError(f"there is no page for a document with schema {schema!r}")


def _references(document: Mapping[str, Any]) -> References:
    """Publications that a document brings, else those of the embedded database."""
    own = document.get("references")
    if own:
        return own
    from jaxlik.fit.html.references import embedded_references

    try:
        return embedded_references()
    except JaxlikError as error:
        logger.warning("report: no publications: %s", error)
        return {}


def _draws(folder: Path | None, document: Mapping[str, Any]) -> PosteriorDraws | None:
    """Draws that a document was made from, where they can be read."""
    if folder is None:
        return None
    from jaxlik.fit.chain_files import read_chains

    try:
        return read_chains(folder).head(int(document["draws"]))
    except (JaxlikError, OSError, KeyError, ValueError) as error:
        logger.warning("report: no spectra and traces of draws: %s", error)
        return None
