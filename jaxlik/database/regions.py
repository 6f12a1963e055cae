"""How the tags of a result map to regions, workspaces and topologies.

Reads the old tags (``datasetOrder``, ``covariance``, ``jsonFiles``) and those of
release 3.2 (``regionMappings``, ``regionSets``, ``statModels``).
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxlik.database import text_format
from jaxlik.errors import DatabaseError, WorkspaceError

MODEL_KINDS = ("sl", "pyhf", "full_pyhf", "onnx")


@dataclass(frozen=True)
class Process:
    """Topology of a map: constraint, states, and the node behind each coordinate."""

    constraint: str
    coordinates: tuple[tuple[int, str], ...]
    final_state: tuple[str, ...]
    intermediate_state: str


def _tag_literal(tags: dict[str, str], name: str, path: Path, default):
    return text_format.literal(tags[name], name, path) if name in tags else default


def stat_models(tags: dict[str, str], path: Path) -> dict[str, list[tuple[str, str]]]:
    """The 3.2 tag ``statModels``: per region set a list of (kind, file)."""
    models = _tag_literal(tags, "statModels", path, {})
    sets = _tag_literal(tags, "regionSets", path, {})
    for name, entries in models.items():
        if name not in sets:
            raise DatabaseError(
                f"{path}: statModels names set {name!r}, not in regionSets {list(sets)}"
            )
        for kind, _ in entries:
            if kind not in MODEL_KINDS:
                raise DatabaseError(
                    f"{path}: statModels {name!r} has kind {kind!r}; known are {MODEL_KINDS}"
                )
    return models


def region_mappings(tags: dict[str, str], path: Path) -> dict[str, dict]:
    """The 3.2 tag ``regionMappings`` with all defaults filled in."""
    mappings = _tag_literal(tags, "regionMappings", path, {})
    filled = {}
    for label, entry in mappings.items():
        entry: dict[str, Any] = {"smodels": entry} if isinstance(entry, str) else dict(entry)
        kind = entry.setdefault("type", "SR")
        smodels = entry.setdefault("smodels", label if kind == "SR" else None)
        entry.setdefault("pyhf", smodels)
        entry.setdefault("sl", smodels)
        entry.setdefault("onnx", entry["pyhf"])
        filled[label] = entry
    return filled


def covariance_of(tags: dict[str, str], path: Path) -> tuple[tuple[str, ...], list] | None:
    """Region order and matrix of a 3.2 simplified likelihood, or ``None``."""
    mappings = region_mappings(tags, path)
    sets = _tag_literal(tags, "regionSets", path, {})
    for name, entries in stat_models(tags, path).items():
        for kind, file in entries:
            if kind != "sl":
                continue
            matrix_path = path.parent / file
            if not matrix_path.is_file():
                raise DatabaseError(f"{matrix_path}: named by statModels {name!r} but missing")
            order = tuple(mappings.get(label, {}).get("sl", label) for label in sets[name])
            return order, text_format.literal(matrix_path.read_text(), file, matrix_path)
    return None


def workspace_files(tags: dict[str, str], path: Path) -> dict[str, list]:
    """Workspace files and the regions listed for each, from either tag generation."""
    if "jsonFiles" in tags:
        files = text_format.literal(tags["jsonFiles"], "jsonFiles", path)
        if not isinstance(files, dict):
            raise DatabaseError(
                f"{path}: jsonFiles is a {type(files).__name__}, wanted a dictionary"
            )
        return files
    return _model_files(tags, path, "pyhf")


def network_files(tags: dict[str, str], path: Path) -> dict[str, tuple[dict[str, Any], ...]]:
    """Neural networks and for each region its signal region, name in the file, and type."""
    return {
        file: tuple(
            {
                "smodels": entry["smodels"],
                "onnx": entry.get("onnx", entry["smodels"]),
                "type": entry.get("type", "SR"),
            }
            for entry in listed
        )
        for file, listed in _model_files(tags, path, "onnx").items()
    }


def _model_files(tags: dict[str, str], path: Path, wanted: str) -> dict[str, list]:
    mappings = region_mappings(tags, path)
    sets = _tag_literal(tags, "regionSets", path, {})
    return {
        file: [mappings.get(label, {"smodels": label}) for label in sets[name]]
        for name, entries in stat_models(tags, path).items()
        for kind, file in entries
        if kind == wanted
    }


def map_regions(
    listed: list, document: str, include_control: bool, path: Path
) -> tuple[dict[str, object], ...]:
    """Map the listed regions to channels and bins of a workspace.

    Plain lists follow the rule of SModelS 3.0: names are dealt out to the bins
    of the observations in order, control and validation regions left out.

    Returns:
        One dictionary per region: smodels, pyhf, bin, type.

    Raises:
        WorkspaceError: the file is not a workspace.
    """
    try:
        workspace = json.loads(document)
        observations = [(o["name"], len(o["data"])) for o in workspace["observations"]]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise WorkspaceError(f"{path}: not a HistFactory workspace ({error!r})") from error
    if not all(isinstance(entry, str) for entry in listed):
        return tuple(_explicit(entry) for entry in listed)
    guessed = {name: _guess_type(name) for name, _ in observations}
    num_signal = sum(kind == "SR" for kind in guessed.values())
    mapped: list[dict[str, object]] = []
    names = iter(listed)
    for channel, num_bins in observations:
        kind = guessed[channel]
        control = kind == "CR" and (not include_control or num_signal == len(listed))
        if kind == "VR" or control:
            mapped.append({"smodels": None, "pyhf": channel, "bin": None, "type": kind})
            continue
        for position in range(num_bins):
            name = next(names, None)
            if name is not None:
                single = None if num_bins == 1 else position
                mapped.append({"smodels": name, "pyhf": channel, "bin": single, "type": kind})
    return tuple(mapped)


def _guess_type(channel: str) -> str:
    if channel[:2] in ("CR", "VR", "SR"):
        return channel[:2]
    return "CR" if "CR" in channel else "SR"


def _explicit(entry: dict | str) -> dict[str, object]:
    entry = {"smodels": entry} if isinstance(entry, str) else entry
    smodels = entry.get("smodels")
    channel = entry.get("pyhf", smodels)
    match = re.fullmatch(r"(.+)\[(\d+)\]", channel) if channel else None
    return {
        "smodels": smodels,
        "pyhf": match[1] if match else channel,
        "bin": int(match[2]) if match else None,
        "type": entry.get("type", "SR"),
    }


def data_map_of(tags: dict[str, str], path: Path) -> tuple[tuple[int, str], ...] | None:
    """The tag ``dataMap`` as (node, attribute) per coordinate; ``None`` if absent."""
    if "dataMap" not in tags:
        return None
    quoted = re.sub(r"\b(GeV|fb|pb)\b", r"'\1'", tags["dataMap"])
    entries = text_format.literal(quoted, "dataMap", path)
    known = {"mass", "totalwidth"}
    for index, entry in entries.items():
        if entry[1] not in known or entry[2] != "GeV":
            raise DatabaseError(
                f"{path}: dataMap[{index}] is {entry}; wanted mass or totalwidth in GeV"
            )
    return tuple((int(entries[i][0]), str(entries[i][1])) for i in range(len(entries)))


def processes_of(
    tags: dict[str, str],
    path: Path,
    layout: tuple[tuple[int, int, bool], ...] | None,
    data_map: tuple[tuple[int, str], ...] | None,
) -> Process:
    """Topology of a map; bracket constraints get the node numbers SModelS gives them."""
    constraint = re.sub(r"[\s'\"]", "", text_format.required(tags, "constraint", path))
    final = _states(tags.get("finalState", "['MET','MET']"))
    if data_map is None:
        if layout is None:
            raise DatabaseError(f"{path}: flat data need a field 'dataMap'; none found")
        node_of = _bracket_nodes(constraint, path)
        attribute = {False: "mass", True: "totalwidth"}
        data_map = tuple((node_of[(i, j)], attribute[width]) for i, j, width in layout)
    intermediate = re.sub(r"[\s'\"]", "", tags.get("intermediateState", ""))
    return Process(constraint, data_map, final, "" if intermediate == "None" else intermediate)


def _states(text: str) -> tuple[str, ...]:
    return tuple(name for name in re.split(r"[\[\]\s,'\"]+", text) if name and name != "None")


def bracket_terms(constraint: str) -> list[str]:
    """Topologies in a constraint: maximal bracketed groups, or ``{...}`` process strings."""
    if "{" in constraint:
        return re.findall(r"\{(.*?)\}", constraint)
    terms, depth, start = [], 0, 0
    for position, character in enumerate(constraint):
        if character == "[":
            start = position if depth == 0 else start
            depth += 1
        elif character == "]":
            depth -= 1
            if depth == 0:
                terms.append(constraint[start : position + 1])
    return terms


def coefficient_of(constraint: str) -> float:
    """Common factor of the terms of a constraint such as ``2.25*([...]+[...])``.

    Raises:
        DatabaseError: the terms carry different factors, which no release does.
    """
    stripped = constraint
    for term in bracket_terms(constraint):
        stripped = stripped.replace(term, "T", 1)
    stripped = stripped.replace("{", "").replace("}", "")
    match = re.fullmatch(r"([\d.]+(?:/[\d.]+)?)?\*?\(*T(?:\)*\+\(*T)*\)*", stripped)
    if match is None:
        raise DatabaseError(
            f"constraint {constraint[:80]!r} is not a factor times a sum of topologies"
        )
    numerator, _, denominator = (match[1] or "1").partition("/")
    return float(numerator) / float(denominator or 1)


def _bracket_nodes(constraint: str, path: Path) -> dict[tuple[int, int], int]:
    """Node number of the particle before each vertex, for ``[[[a],[b]],[[c]]]``.

    SModelS numbers the primary vertex 0, then the primary mothers, then branch
    by branch at each vertex the new-physics daughter and its SM companions.
    """
    terms = bracket_terms(constraint)
    if not terms:
        raise DatabaseError(f"{path}: constraint {constraint[:40]!r} holds no topology")
    quoted = re.sub(r"([^\[\],]+)", r"'\1'", terms[0])
    branches = text_format.literal(quoted, "constraint", path)
    node = 1
    nodes: dict[tuple[int, int], int] = {}
    for i in range(len(branches)):
        nodes[(i, 0)] = node
        node += 1
    for i, branch in enumerate(branches):
        vertices = [["*anySM"]] if branch == ["*"] else branch
        for j, particles in enumerate(vertices):
            nodes[(i, j + 1)] = node
            node += 1 + len(particles)
    return nodes
