"""Parameters of a HistFactory workspace: initial values, bounds, constraints.

Conventions (initial values, bounds, auxiliary data, fixed parameters) are those of pyhf 0.7.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from jaxlik.database.json_checks import JsonChecks

SMALLEST_GAMMA, LARGEST_FACTOR = 1e-10, 10.0
"""Bounds of bin-by-bin factors; the upper one is also that of free normalisations."""

PULLS = ("normsys", "histosys")

NORMAL, POISSON, FREE = "normal", "poisson", "free"


def relative_errors(
    nominal: Sequence[Sequence[float]], errors: Sequence[Sequence[float]]
) -> np.ndarray:
    """Uncertainty of a sum of samples relative to it, axis ``bin``; 0 in bins without events.

    Args:
        nominal: Events, axes ``sample bin``.
        errors: Their independent uncertainties, with the same axes.
    """
    total = np.sum(nominal, axis=0)
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = np.divide(errors, total, out=np.zeros(np.shape(errors)), where=total > 0)
        return np.sqrt(np.sum(scaled**2, axis=0))


def poisson_rates(relative: np.ndarray) -> np.ndarray:
    """Rates of the Poisson constraints with these relative widths; 1 where the width is 0."""
    with np.errstate(over="ignore", divide="ignore"):
        return np.where(relative > 0, 1.0 / np.where(relative > 0, relative, 1.0) ** 2, 1.0)


@dataclass
class Parameters:
    """Parameters in order of appearance.

    Attributes:
        checks: For messages.
        settings: Entries of the measurement, by name.
        sets: Modifier and positions of each name that modifiers use.
    """

    checks: JsonChecks
    settings: dict[str, dict]
    names: list[str] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    init: list[float] = field(default_factory=list)
    lower: list[float] = field(default_factory=list)
    upper: list[float] = field(default_factory=list)
    fixed: list[bool] = field(default_factory=list)
    centre: list[float] = field(default_factory=list)
    width: list[float] = field(default_factory=list)
    sets: dict[str, tuple[str, range]] = field(default_factory=dict)

    def single(self, name: str, modifier: str, place: str) -> range:
        """The parameter of a modifier that has one: a pull, a normalisation, the luminosity."""
        kinds = PULLS if modifier in PULLS else (modifier,)
        known = self._known(name, kinds, 1, place)
        if known is not None:
            return known
        if modifier in PULLS:
            return self._add(name, modifier, NORMAL, None, 0.0, (-5.0, 5.0), [0.0], [1.0])
        bounds = (0.0, LARGEST_FACTOR)
        if modifier == "normfactor":
            return self._add(name, modifier, FREE, None, 1.0, bounds, [0.0], [1.0])
        entry = self.settings.get(name, {})
        for key in ("auxdata", "sigmas"):
            if key not in entry:
                raise self.checks.error(
                    f"/measurements/config/parameters ({name})",
                    sorted(entry),
                    f'"{key}" for the luminosity',
                )
        return self._add(name, modifier, NORMAL, None, 1.0, bounds, [1.0], [1.0])

    def shapefactor(self, name: str, size: int, place: str) -> range:
        """Free factors of the bins."""
        known = self._known(name, ("shapefactor",), size, place)
        if known is not None:
            return known
        bounds = (0.0, LARGEST_FACTOR)
        return self._add(name, "shapefactor", FREE, size, 1.0, bounds, [0.0] * size, [1.0] * size)

    def shapesys(
        self, name: str, values: Sequence[float], errors: Sequence[float], place: str
    ) -> range:
        """Factors of the bins with Poisson constraints; bins without events or errors are fixed."""
        if name in self.sets:
            raise self.checks.error(f"{place}/name", name, "a name that no other modifier has")
        relative = relative_errors([values], [errors])
        fixed = relative == 0
        rates = poisson_rates(relative)
        self._check_size(rates, f"{place}/data")
        size, bounds, rates = len(values), (SMALLEST_GAMMA, LARGEST_FACTOR), rates.tolist()
        return self._add(name, "shapesys", POISSON, size, 1.0, bounds, rates, rates, fixed.tolist())

    def staterror(self, name: str, relative: np.ndarray, place: str) -> range:
        """Factors of the bins of several samples; those without an uncertainty are fixed."""
        if name in self.sets:
            raise self.checks.error(f"{place} staterror", name, "a name that no other modifier has")
        self._check_size(relative, f"{place} staterror")
        size, fixed = len(relative), relative == 0
        bounds, width = (SMALLEST_GAMMA, LARGEST_FACTOR), np.where(fixed, 1.0, relative).tolist()
        ones = [1.0] * size
        return self._add(name, "staterror", NORMAL, size, 1.0, bounds, ones, width, fixed.tolist())

    def apply_settings(self) -> None:
        """Initial values, bounds, auxiliary data of the measurement; unused entries are none."""
        checks = self.checks
        for name, entry in self.settings.items():
            if name not in self.sets:
                continue
            modifier, span = self.sets[name]
            place = f"/measurements/config/parameters ({name})"
            targets = (("inits", self.init), ("auxdata", self.centre), ("sigmas", self.width))
            for key, target in targets:
                if key in entry:
                    values = checks.numbers(entry, key, place, len(span))
                    if key == "sigmas" and min(values) <= 0:
                        raise checks.error(f"{place}/sigmas", min(values), "positive numbers")
                    target[span.start : span.stop] = values
            if "bounds" in entry:
                bounds = entry["bounds"]
                if not isinstance(bounds, list) or len(bounds) != len(span):
                    raise checks.error(f"{place}/bounds", bounds, f"{len(span)} pairs")
                for i, pair in zip(span, bounds, strict=True):
                    low, high = checks.numbers({"pair": pair}, "pair", f"{place}/bounds", 2)
                    if not low <= high:
                        raise checks.error(f"{place}/bounds", pair, "the lower bound first")
                    self.lower[i], self.upper[i] = low, high
            if "fixed" in entry:
                fixed = entry["fixed"]
                flags = fixed if isinstance(fixed, list) else [fixed]
                if len(flags) not in (1, len(span)) or not all(isinstance(f, bool) for f in flags):
                    raise checks.error(f"{place}/fixed", fixed, "true or false")
                self.fixed[span.start : span.stop] = (
                    flags if len(flags) == len(span) else flags * len(span)
                )
            if modifier == "shapesys" and "auxdata" in entry:
                raise checks.error(f"{place}/auxdata", entry["auxdata"], "none for a shapesys")

    def _check_size(self, values: np.ndarray, place: str) -> None:
        if not np.isfinite(values).all():
            wanted = "uncertainties of a size that compares with the events"
            raise self.checks.error(place, values.tolist(), wanted)

    def _known(self, name: str, kinds: tuple[str, ...], size: int, place: str) -> range | None:
        """Parameters of that name, if there are any yet."""
        if name not in self.sets:
            return None
        modifier, span = self.sets[name]
        if modifier not in kinds or len(span) != size:
            raise self.checks.error(
                f"{place}/name", name, f"a name not used by a {modifier} of {len(span)} parameters"
            )
        return span

    def _add(
        self,
        name: str,
        modifier: str,
        kind: str,
        size: int | None,
        init: float,
        bounds: tuple[float, float],
        centre: Sequence[float],
        width: Sequence[float],
        fixed: Sequence[bool] | None = None,
    ) -> range:
        """A set of parameters, with numbered names; one parameter where `size` is None."""
        first = len(self.names)
        names = [name] if size is None else [f"{name}[{i}]" for i in range(size)]
        size = len(names)
        self.names += names
        self.kinds += [kind] * size
        self.init += [init] * size
        self.lower += [bounds[0]] * size
        self.upper += [bounds[1]] * size
        self.fixed += list(fixed) if fixed is not None else [False] * size
        self.centre += list(centre)
        self.width += list(width)
        self.sets[name] = (modifier, range(first, first + size))
        return self.sets[name][1]
