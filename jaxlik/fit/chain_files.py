"""Chains on disk: one NetCDF-4 file each, `chain-<i>.nc`, which xarray and ArviZ open.

=================== ==================================================================
group               variables
=================== ==================================================================
``posterior``       ``active``, ``masses``, ``branching_ratios``, ``signal_strengths``,
                    ``free_strength``
``sample_stats``    ``log_likelihood``, ``log_prior`` and their sum ``lp``
``constant_data``   PDG numbers of particles, channels and productions
=================== ==================================================================

Dimensions are ``chain`` (of length one), ``draw``, ``particle``, ``channel`` and
``production``, each with names as its coordinate. A file is written aside and moved into
place, so that a killed process leaves the previous one. Behind the end of the NetCDF file, where
its readers do not look, follows a seal: the digest of all bytes before. HDF5 may hang on a
damaged file, so what does not match its seal is refused before HDF5 sees it.
"""

import hashlib
import io
import os
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import h5netcdf
import h5py
import numpy as np

from jaxlik.errors import CheckpointError
from jaxlik.fit.posterior_draws import (
    AXES,
    TRUTHS,
    PosteriorDraws,
    channel_label,
    concatenate_draws,
    production_label,
    stack_chains,
)
from jaxlik.physics.particles import particle

SCHEMA = "jaxlik/chain/1"

SEAL = b"\n" + SCHEMA.encode() + b" sha256 "
"""Start of the seal; 64 hexadecimal digits and the end of the line follow."""

SEAL_LENGTH = len(SEAL) + 64 + 1

POSTERIOR = ("active", "masses", "branching_ratios", "signal_strengths", "free_strength")
STATISTICS = ("log_likelihood", "log_prior")

ABOUT: dict[str, dict[str, str]] = {
    "active": {"long_name": "particle exists", "units": "1"},
    "masses": {"long_name": "pole mass, nan where the particle is absent", "units": "GeV"},
    "branching_ratios": {"long_name": "branching ratio, 0 where not used", "units": "1"},
    "signal_strengths": {
        "long_name": "factor on the reference cross section, nan where a particle is absent",
        "units": "1",
    },
    "free_strength": {"long_name": "signal strength is a parameter of the model", "units": "1"},
    "log_likelihood": {"long_name": "ln L over that of the Standard Model", "units": "1"},
    "log_prior": {"long_name": "ln of the prior density", "units": "1"},
    "lp": {"long_name": "ln(likelihood x prior), not normalised", "units": "1"},
}

DRAWS_PER_CHUNK = 2048

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"


def chain_path(folder: Path, chain: int) -> Path:
    """File of a chain in a run directory."""
    return folder / f"chain-{chain}.nc"


def write_chain(
    path: Path, draws: PosteriorDraws, chain: int, facts: Mapping[str, str | int | float] = {}
) -> None:
    """Replace the file of a chain as a whole, safe against a crash at any moment.

    Args:
        path: Of the file.
        draws: All draws of this chain; a chain axis of length one.
        chain: Its number.
        facts: Attributes of the file, such as seed and database.

    Raises:
        ValueError: several chains, or an axis without entries.
        OSError: the file cannot be written.
    """
    if draws.num_chains != 1:
        raise ValueError(f"{path.name} holds one chain, but {draws.num_chains} were given")
    buffer = io.BytesIO()
    with h5netcdf.File(buffer, "w") as file:
        _fill(file, draws, chain, facts)
    content = buffer.getvalue()
    _replace(path, content + _seal(content))


def append_chain(
    path: Path, draws: PosteriorDraws, chain: int, facts: Mapping[str, str | int | float] = {}
) -> None:
    """Add draws to a chain; makes the file if there is none.

    Args:
        path: Of the file.
        draws: Those that follow what the file holds.
        chain: Number of the chain.
        facts: Attributes of the file; they replace the earlier ones.

    Raises:
        CheckpointError: the file is damaged, or belongs to another chain or model space.
        OSError: the file cannot be written.
    """
    if path.exists():
        found, number = _read(path)
        if number != chain:
            raise CheckpointError(
                f"{path}: holds chain {number}, wanted {chain}; move the file away and resume "
                "from an earlier state"
            )
        try:
            draws = concatenate_draws([found, draws])
        except ValueError as error:
            raise CheckpointError(
                f"{path}: its draws are of another model space ({error}); choose another --output"
            ) from None
    write_chain(path, draws, chain, facts)


def read_chain(path: Path) -> PosteriorDraws:
    """The draws of one file.

    Raises:
        CheckpointError: missing, not written by jaxlik, truncated, or changed since.
    """
    return _read(path)[0]


def read_chains(folder: Path) -> PosteriorDraws:
    """All chains of a run directory, as many draws of each as the shortest one has.

    Raises:
        CheckpointError: no chain, a gap in the numbers, or a file that `read_chain` refuses.
    """
    numbers = sorted(
        int(path.stem.removeprefix("chain-"))
        for path in folder.glob("chain-*.nc")
        if path.stem.removeprefix("chain-").isdecimal()
    )
    if not numbers:
        raise CheckpointError(
            f"{folder}: has no chain-<i>.nc; wanted the folder of a run of "
            "`python -m jaxlik.fit sample`"
        )
    missing = sorted(set(range(numbers[-1] + 1)) - set(numbers))
    if missing:
        raise CheckpointError(
            f"{folder}: {chain_path(folder, missing[0]).name} is missing, while "
            f"{chain_path(folder, numbers[-1]).name} is there; restore it, or remove all chains"
        )
    chains = []
    for number in numbers:
        path = chain_path(folder, number)
        draws, found = _read(path)
        if found != number:
            raise CheckpointError(
                f"{path}: holds chain {found}, wanted {number}; give files back their names"
            )
        chains.append(draws)
    shortest = min(chain.num_draws for chain in chains)
    try:
        return stack_chains([chain.head(shortest) for chain in chains])
    except ValueError as error:
        raise CheckpointError(
            f"{folder}: its chains are of different model spaces ({error}); keep those of one run"
        ) from None


def _fill(
    file: Any, draws: PosteriorDraws, chain: int, facts: Mapping[str, str | int | float]
) -> None:
    coordinates: dict[str, Any] = {
        "chain": np.array([chain]),
        "draw": np.arange(draws.num_draws),
        "particle": [particle(pid).name for pid in draws.pdg_ids],
        "channel": [channel_label(channel) for channel in draws.channels],
        "production": [production_label(pair) for pair in draws.productions],
    }
    for axis, names in coordinates.items():
        if len(names) == 0:
            raise ValueError(f"a chain without entries on the axis {axis} cannot be written")
        file.dimensions[axis] = len(names)
    file.attrs.update(facts)
    file.attrs["schema"] = SCHEMA
    file.attrs["jaxlik_version"] = version("jaxlik")
    posterior = {name: getattr(draws, name) for name in POSTERIOR}
    statistics = {name: getattr(draws, name) for name in STATISTICS}
    _put(file, "posterior", posterior, coordinates)
    _put(file, "sample_stats", {**statistics, "lp": draws.log_posterior}, coordinates)
    _put_axes(file, draws, coordinates)


def _put(
    file: Any, group_name: str, arrays: Mapping[str, np.ndarray], coordinates: Mapping[str, Any]
) -> None:
    """Write one group of arrays with axes `chain` and `draw`."""
    group = file.create_group(group_name)
    group.attrs["inference_library"] = "jaxlik"
    axes = {axis for name in arrays for axis in AXES.get(name, ())}
    _put_coordinates(group, ("chain", "draw", *sorted(axes)), coordinates)
    for name, array in arrays.items():
        chunk = (1, min(array.shape[1], DRAWS_PER_CHUNK), *array.shape[2:])
        truth = name in TRUTHS
        variable = group.create_variable(
            name,
            ("chain", "draw", *AXES.get(name, ())),
            data=array.astype("i1" if truth else "f8"),
            chunks=chunk,
            compression="gzip",
            compression_opts=1,
            shuffle=True,
        )
        variable.attrs.update(ABOUT[name])
        if truth:
            # NetCDF has no truth values; xarray knows this convention.
            variable.attrs["dtype"] = "bool"


def _put_axes(file: Any, draws: PosteriorDraws, coordinates: Mapping[str, Any]) -> None:
    """Write what the axes count, as PDG numbers."""
    group = file.create_group("constant_data")
    _put_coordinates(group, ("particle", "channel", "production"), coordinates)
    columns: dict[str, tuple[str, Sequence[Any], str]] = {
        "pdg_id": ("particle", draws.pdg_ids, "PDG number"),
        "channel_mother": ("channel", [c[0] for c in draws.channels], "PDG number of the mother"),
        "channel_daughter": (
            "channel",
            [c[1] for c in draws.channels],
            "PDG number of the new particle a channel leads to",
        ),
        "channel_sm": (
            "channel",
            [" ".join(map(str, c[2])) for c in draws.channels],
            "PDG numbers of the Standard Model particles of a channel, unsigned",
        ),
        "production_first": (
            "production",
            [pair[0] for pair in draws.productions],
            "PDG number with sign of the first particle of a pair",
        ),
        "production_second": (
            "production",
            [pair[1] for pair in draws.productions],
            "PDG number with sign of the second particle of a pair",
        ),
    }
    for name, (axis, values, meaning) in columns.items():
        variable = _put_column(group, name, axis, values)
        variable.attrs["long_name"] = meaning


def _put_coordinates(group: Any, axes: Sequence[str], coordinates: Mapping[str, Any]) -> None:
    for axis in axes:
        _put_column(group, axis, axis, coordinates[axis])


def _put_column(group: Any, name: str, axis: str, values: Sequence[Any]) -> Any:
    if isinstance(values[0], str):
        text = h5py.string_dtype("utf-8")
        return group.create_variable(name, (axis,), dtype=text, data=np.array(values, object))
    return group.create_variable(name, (axis,), data=np.asarray(values, dtype="i8"))


def _read(path: Path) -> tuple[PosteriorDraws, int]:
    """Draws and number of a chain whose seal holds."""
    with h5py.File(io.BytesIO(_sealed_content(path)), "r") as opened:
        file: Any = opened
        axes = file["constant_data"]
        first, second = axes["production_first"][...], axes["production_second"][...]
        mothers, daughters = axes["channel_mother"][...], axes["channel_daughter"][...]
        sm = [tuple(map(int, text.split())) for text in axes["channel_sm"].asstr()[...]]
        arrays = {name: file["posterior"][name][...] for name in POSTERIOR}
        arrays |= {name: file["sample_stats"][name][...] for name in STATISTICS}
        draws = PosteriorDraws(
            tuple(map(int, axes["pdg_id"][...])),
            tuple((int(m), int(d), p) for m, d, p in zip(mothers, daughters, sm, strict=True)),
            tuple((int(a), int(b)) for a, b in zip(first, second, strict=True)),
            **arrays,
        )
        return draws, int(file["posterior"]["chain"][0])


def _sealed_content(path: Path) -> bytes:
    """The bytes of a NetCDF file written by `write_chain`, unchanged since."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise CheckpointError(
            f"{path}: no such chain; wanted a file of `python -m jaxlik.fit sample`"
        ) from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error}); check its permissions") from None
    if not content.startswith(HDF5_SIGNATURE):
        raise CheckpointError(
            f"{path}: starts with {content[:8]!r}, wanted a NetCDF-4 file; it is no chain of "
            "jaxlik, or was overwritten"
        )
    inner, seal = content[:-SEAL_LENGTH], content[-SEAL_LENGTH:]
    if not seal.startswith(SEAL):
        raise CheckpointError(
            f"{path}: ends without the seal of {SCHEMA}: it is incomplete, or no chain of this "
            "version of jaxlik; restore it from a copy, or sample this chain anew"
        )
    if seal != _seal(inner):
        raise CheckpointError(
            f"{path}: its content has digest {_digest(inner)[:12]}, wanted "
            f"{seal[len(SEAL) :][:12].decode(errors='replace')}: it was damaged or changed; "
            "restore it from a copy, or sample this chain anew"
        )
    return inner


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _seal(content: bytes) -> bytes:
    return SEAL + _digest(content).encode() + b"\n"


def _replace(path: Path, content: bytes) -> None:
    """Write a file aside, to the disk, and move it into place."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    aside = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        aside.chmod(0o644)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
