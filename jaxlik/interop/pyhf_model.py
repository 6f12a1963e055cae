"""pyhf models as packed HistFactory models, with maps of their parameters and data.

pyhf orders parameters by modifier and data by channel and constraint; the packed model has an
order of its own and padding. `translate` makes both maps once per model, and compares the
likelihoods of both at a point off the nominal one before it gives anything away: a modifier of
another kind than HistFactory's would be noticed there. The result is kept as long as the model
of pyhf lives.
"""

import dataclasses
import weakref
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import pyhf
from pyhf.pdf import Model
from scipy.special import gammaln

from jaxlik.database.records import HistFactoryRecord
from jaxlik.database.workspace import flatten_workspace
from jaxlik.errors import WorkspaceError
from jaxlik.interop.pyhf_errors import (
    UntranslatableModelError,
    WrongDataError,
    WrongParametersError,
)
from jaxlik.statmodels.histfactory import Data, HistFactory
from jaxlik.statmodels.packing import pack_workspace
from jaxlik.typing import Array, Float, Scalar

AGREEMENT = {"64b": 1e-9, "32b": 1e-4}
"""Relative difference of both likelihoods, by pyhf's precision, that passes as rounding."""

_ROUNDING = 1e-9
"""Negative events still taken for zero: expected rates of empty bins."""

_DISPLACEMENTS = (0.3, 0.03, 0.0)
"""Where likelihoods are compared, in natural steps; smaller where rates would be negative."""


@dataclasses.dataclass(frozen=True, eq=False)
class TranslatedModel:
    """A model of pyhf as a packed HistFactory model.

    Attributes:
        record: The flattened model, unpadded; names of its samples and parameters.
        model: The packed model; its data are placeholders.
        names: Parameters in pyhf's order.
        order: Position of each parameter of pyhf on the packed axis.
        auxiliary: Position of the parameter of each auxiliary datum of pyhf.
        num_bins: Length of the main data.
        normal_constant: What normal constraints add to -2 ln L at rest.
        leaves: Arrays of the model, and where bounds, start and flags are among them.
    """

    record: HistFactoryRecord
    model: HistFactory
    names: tuple[str, ...]
    order: np.ndarray
    auxiliary: np.ndarray
    num_bins: int
    normal_constant: float
    leaves: "_Leaves"

    @property
    def num_data(self) -> int:
        """Main and auxiliary data together."""
        return self.num_bins + len(self.auxiliary)

    def cells(self, sample: str, channel: str | None = None) -> np.ndarray:
        """Positions of a sample in `model.nominal`: its bins, channel by channel.

        Args:
            sample: Its name.
            channel: In this channel only.
        """
        blocks = [
            number
            for number, (where, name) in enumerate(self.record.samples)
            if name == sample and channel in (None, where)
        ]
        return np.flatnonzero(np.isin(self.record.cell_block, blocks))


class _Leaves:
    """The arrays of a packed model; puts others in the places that differ between fits."""

    def __init__(self, model: HistFactory):
        self._arrays, self._structure = jax.tree.flatten(model)
        changing = (model.lower, model.upper, model.fixed, model.init)
        self._places = [
            next(i for i, leaf in enumerate(self._arrays) if leaf is array) for array in changing
        ]
        self.padded = [np.array(array) for array in changing]

    def model_with(self, *arrays: np.ndarray) -> HistFactory:
        """The model with other bounds, flags and start."""
        leaves = list(self._arrays)
        for place, array in zip(self._places, arrays, strict=True):
            leaves[place] = array
        return jax.tree.unflatten(self._structure, leaves)


_TRANSLATED: "weakref.WeakKeyDictionary[Model, TranslatedModel]" = weakref.WeakKeyDictionary()


def translate(pdf: Model) -> TranslatedModel:
    """The packed model of a model of pyhf; made once per object.

    Raises:
        UntranslatableModelError: a batched or clipped model, custom modifiers, or anything else
            that HistFactory as jaxlik has it cannot express.
        PrecisionError: JAX is set to 32-bit floats.
    """
    if not isinstance(pdf, Model):
        raise UntranslatableModelError(
            f"the model is a {type(pdf).__name__}, wanted a pyhf.pdf.Model; fit other models with "
            'pyhf.set_backend("numpy", "scipy")'
        )
    found = _TRANSLATED.get(pdf)
    if found is None:
        found = _translated(pdf)
        _check_agreement(pdf, found)
        _TRANSLATED[pdf] = found
    return found


def _translated(pdf: Model) -> TranslatedModel:
    _check_options(pdf)
    try:
        record = flatten_workspace(_document(pdf), name="pyhf model")
    except WorkspaceError as error:
        raise UntranslatableModelError(
            f"{error}; fit this model with pyhf's own optimizers"
        ) from error
    places = {name: position for position, name in enumerate(record.parameters)}
    config = pdf.config
    order = np.array([places[name] for name in _parameter_names(pdf)], dtype=np.int64)
    if sorted(order.tolist()) != list(range(len(places))):
        raise UntranslatableModelError(
            f"pyhf has {len(order)} parameters, the flattened model {len(places)}; wanted the "
            "same ones: give every parameter a name of its own"
        )
    positions = dict(zip(_parameter_names(pdf), order, strict=True))
    auxiliary = [positions[n] for name in config.auxdata_order for n in _names_of(pdf, name)]
    lower, upper = np.array(config.suggested_bounds(), dtype=float).T
    suggested = {
        "init": np.array(config.suggested_init(), dtype=float),
        "lower": lower,
        "upper": upper,
        "fixed": np.array(config.suggested_fixed(), dtype=bool),
    }
    for key, values in suggested.items():
        ordered = np.empty_like(values)
        ordered[order] = values
        suggested[key] = ordered
    settings = config.modifier_settings
    record = dataclasses.replace(record, **suggested)
    model = pack_workspace(
        record,
        additive_code=settings.get("histosys", {}).get("interpcode", "code0"),
        multiplicative_code=settings.get("normsys", {}).get("interpcode", "code1"),
    )
    normal = np.array([kind == "normal" for kind in record.kinds])
    constant = 2 * np.sum(np.log(record.width[normal])) + normal.sum() * np.log(2 * np.pi)
    return TranslatedModel(
        record,
        model,
        tuple(config.par_names),
        order,
        np.array(auxiliary, dtype=np.int64),
        config.nmaindata,
        float(constant),
        _Leaves(model),
    )


def _check_options(pdf: Model) -> None:
    """Options of pyhf that change the likelihood and that jaxlik does not have."""
    options = {
        "batch_size": pdf.batch_size,
        "clip_sample_data": pdf.main_model.clip_sample_data,
        "clip_bin_data": pdf.main_model.clip_bin_data,
    }
    for name, value in options.items():
        if value is not None:
            raise UntranslatableModelError(
                f"{name} of the pyhf model is {value!r}, wanted None: build the model without it, "
                "or fit it with pyhf's own optimizers"
            )


def _names_of(pdf: Model, name: str) -> list[str]:
    """Names of the parameters of a set, as jaxlik numbers them."""
    parameters = pdf.config.param_set(name)
    if parameters.is_scalar:
        return [name]
    return [f"{name}[{i}]" for i in range(parameters.n_parameters)]


def _parameter_names(pdf: Model) -> list[str]:
    return [one for name in pdf.config.par_order for one in _names_of(pdf, name)]


def _document(pdf: Model) -> dict:
    """The model as a workspace, channels in the order of pyhf's data, observations empty."""
    channels = {channel["name"]: channel for channel in pdf.spec["channels"]}
    ordered = [channels[name] for name in pdf.config.channels]
    observations = [
        {"name": name, "data": [0.0] * pdf.config.channel_nbins[name]}
        for name in pdf.config.channels
    ]
    config = {"poi": "", "parameters": pdf.spec.get("parameters", [])}
    return {
        "channels": _plain(ordered),
        "observations": observations,
        "measurements": [{"name": "pyhf", "config": _plain(config)}],
        "version": "1.0.0",
    }


def _plain(node: Any) -> Any:
    """A document with lists and numbers in place of tuples and arrays."""
    if isinstance(node, dict):
        return {key: _plain(value) for key, value in node.items()}
    if isinstance(node, np.ndarray | np.generic):
        return node.tolist()
    if isinstance(node, list | tuple):
        return [_plain(value) for value in node]
    return node


@jax.jit
def deviance(model: HistFactory, parameters: Float[Array, " parameter"], data: Data) -> Scalar:
    """-2 ln L in deviance form, compiled once per bucket."""
    return model.twice_nll(parameters, data)


def data_of(translated: TranslatedModel, values: Any) -> Data:
    """Events and auxiliary data on the padded axes.

    Args:
        translated: From `translate`.
        values: Main data followed by auxiliary data, in pyhf's order; any tensor or list.

    Raises:
        WrongDataError: not as many numbers as the model wants, or negative counts.
    """
    flat = as_array(values)
    if flat.shape != (translated.num_data,):
        raise WrongDataError(
            f"data have shape {flat.shape}, wanted {translated.num_data} numbers: "
            f"{translated.num_bins} bins followed by {len(translated.auxiliary)} auxiliary data; "
            "workspace.data(model) or observations + model.config.auxdata gives them"
        )
    model, bins = translated.model, translated.num_bins
    observed, centre = np.array(model.data.observed), np.array(model.data.centre)
    observed[:bins] = flat[:bins]
    centre[translated.auxiliary] = flat[bins:]
    counts = np.concatenate([observed, centre[np.asarray(model.poisson)]])
    if (counts < -_ROUNDING).any():
        raise WrongDataError(
            f"the smallest count of the data is {counts.min():g}, wanted counts that are not "
            "negative"
        )
    return Data(np.maximum(observed, 0.0), centre)  # type: ignore[reportArgumentType]


def constant_of(translated: TranslatedModel, data: Data) -> float:
    """What -2 ln L of pyhf has more than the deviance form: terms without parameters."""
    poisson = np.asarray(translated.model.poisson)
    counts = np.concatenate(
        [np.asarray(data.observed)[: translated.num_bins], np.asarray(data.centre)[poisson]]
    )
    counts = counts[counts > 0]
    saturated = np.sum(counts - counts * np.log(counts) + gammaln(counts + 1))
    return translated.normal_constant + 2 * float(saturated)


def packed(translated: TranslatedModel, values: Any, what: str = "parameters") -> np.ndarray:
    """Parameters of pyhf on the packed axis; padding is zero.

    Raises:
        WrongParametersError: not as many numbers as the model has parameters.
    """
    flat = as_array(values)
    check_number(translated, flat, what)
    result = np.zeros(translated.model.num_parameters)
    result[translated.order] = flat
    return result


def check_number(translated: TranslatedModel, values: Sequence | np.ndarray, what: str) -> None:
    """Raise `WrongParametersError` unless there is one entry for each parameter."""
    wanted = len(translated.order)
    shape = np.shape(values)
    if shape[:1] != (wanted,):
        raise WrongParametersError(
            f"{what} have shape {shape}, wanted {wanted} entries, one for each of "
            f"model.config.par_names ({', '.join(translated.names[:4])}, ...)"
        )


def tensor(values: Any) -> Any:
    """Numbers as a tensor of the backend that pyhf has now."""
    return _backend().astensor(values)


def _backend() -> Any:
    return pyhf.get_backend()[0]


def as_array(values: Any) -> np.ndarray:
    """Numbers of any backend of pyhf, or a list of them, in double precision."""
    try:
        return np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        return np.asarray(_backend().tolist(values), dtype=float)


def _check_agreement(pdf: Model, translated: TranslatedModel) -> None:
    """Raise unless both likelihoods are one function, as far as one point can tell."""
    config, record, order = pdf.config, translated.record, translated.order
    rng = np.random.default_rng(0)
    init, step = record.init[order], np.asarray(translated.model.scale)[order]
    away = rng.uniform(0.2, 1.0, len(order)) * rng.choice([-1.0, 1.0], len(order))
    with np.errstate(all="ignore"):
        expected = as_array(pdf.expected_data(tensor(init), include_auxdata=False))
        observed = np.floor(np.nan_to_num(np.maximum(expected, 0.0))) + 1
        data = np.concatenate([observed, as_array(config.auxdata)])
        for size in _DISPLACEMENTS:
            place = np.clip(init + size * step * away, record.lower[order], record.upper[order])
            logpdf = pdf.logpdf(tensor(place), tensor(data))
            theirs = -2 * float(as_array(logpdf)[0])
            ours = twice_nll_at(translated, place, data)
            if np.isfinite(theirs) and np.isfinite(ours):
                break
        else:
            return
    if abs(ours - theirs) > AGREEMENT[_backend().precision] * (1 + abs(theirs)):
        raise UntranslatableModelError(
            f"-2 ln L of the pyhf model is {theirs:.12g}, of its translation {ours:.12g} at the "
            "same parameters and data; wanted the same: are names of samples, channels and "
            "modifiers unique? Fit this model with pyhf's own optimizers"
        )


def twice_nll_at(translated: TranslatedModel, parameters: Any, values: Any) -> float:
    """-2 ln L with all constants, as `-2 * pdf.logpdf`."""
    data = data_of(translated, values)
    place = packed(translated, parameters)
    value = deviance(translated.model, place, data)  # type: ignore[reportArgumentType]
    return float(value) + constant_of(translated, data)
