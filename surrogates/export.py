"""From a training run to the file that ships with the package."""

import dataclasses
from pathlib import Path

import numpy as np
from tqdm import tqdm

from jaxlik.database.embed import grid_points
from jaxlik.database.snapshot import Snapshot
from jaxlik.database.surrogate_file import SurrogateFile, write_surrogate
from jaxlik.physics.model import protomodel_space
from jaxlik.yields.build import build_yields, region_axis
from jaxlik.yields.domains import hull_facets, stack_facets
from surrogates.maps import MapSet
from surrogates.reach import reach_heads
from surrogates.run import Run
from surrogates.training import Networks
from surrogates.validation import Closure, conformal_bands, predictions


def export(
    snapshot: Snapshot,
    sets: list[MapSet],
    run: Run,
    target: Path,
    closures: list[Closure],
    *,
    quiet: bool = False,
) -> SurrogateFile:
    """Write the networks of a run with their bands, reaches and domains.

    Args:
        snapshot: The database they were trained on.
        sets: Its efficiency maps.
        run: Holds all networks.
        target: File to write.
        closures: Validation of each set; goes into the manifest.
        quiet: No progress bar.
    """
    yields = build_yields(snapshot, protomodel_space(), region_axis(snapshot))
    # One grid under two networks makes two domains.
    domains = sorted({(i, grid) for i, maps in enumerate(sets) for grid in maps.grids})
    place = {domain: row for row, domain in enumerate(domains)}
    heads: dict[str, list[np.ndarray]] = {}
    networks: list[Networks] = []
    reach_error = []
    for number, maps in enumerate(tqdm(sets, desc="exporting", disable=quiet)):
        network = run.load(maps)
        networks.append(network)
        reach_weight, reach_bias, error = reach_heads(yields, snapshot, maps, network)
        reach_error.append(round(error, 3))
        zero = np.nanmax(maps.values, axis=0) <= 0
        for name, value in {
            "network": np.full(len(maps.regions), number, np.int32),
            "domain": np.array([place[number, grid] for grid in maps.grids], np.int32),
            "weight": np.asarray(network.heads.weight),
            "bias": np.asarray(network.heads.bias),
            "scale": np.where(zero, 0.0, maps.scale),
            "band": conformal_bands(maps, predictions(maps, network)).astype(np.float32),
            "reach_weight": reach_weight.astype(np.float32),
            "reach_bias": reach_bias.astype(np.float32),
        }.items():
            heads.setdefault(name, []).append(value)
    arrays = {f"head.{name}": np.concatenate(values) for name, values in heads.items()}
    features = [n.trunk.features for n in networks]
    for name in features[0]._fields:
        arrays[f"input.{name}"] = np.stack([np.asarray(getattr(f, name)) for f in features])
    layers = [n.trunk.weights for n in networks]
    for name in layers[0]._fields:
        arrays[f"layer.{name}"] = np.stack([np.asarray(getattr(w, name)) for w in layers])
    arrays |= _domains(snapshot, [grid for _, grid in domains])
    manifest = {
        "database_version": snapshot.version,
        "database_sha256": snapshot.sha256,
        "recipe": run.description["recipe"],
        "networks": [
            {
                "folder": maps.folder,
                "txname": maps.txname,
                "nodes": len(maps.nodes),
                "regions": list(maps.regions),
                "reach_error": error,
            }
            for maps, error in zip(sets, reach_error, strict=True)
        ],
        "closure": [dataclasses.asdict(c) for c in closures],
    }
    return write_surrogate(target, arrays, manifest)


def _domains(snapshot: Snapshot, grids: list[int]) -> dict[str, np.ndarray]:
    centre = snapshot.array("grids.centre")[grids]
    rotation = snapshot.array("grids.rotation")[grids]
    dimension = snapshot.array("grids.dimension")[grids]
    hulls = []
    for number, grid in enumerate(grids):
        rotated = (grid_points(snapshot, grid) - centre[number]) @ rotation[number]
        hulls.append(hull_facets(rotated[:, : dimension[number]]))
    return {
        "domain.centre": centre,
        "domain.rotation": rotation,
        "domain.dimension": dimension,
        "domain.facets": stack_facets(hulls),
    }
