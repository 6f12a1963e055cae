"""Constraint terms of HS3 modifiers: Gaussian or Poisson, named, listed or implied."""

from typing import Any, NamedTuple

from jaxlik.database.hs3_document import Hs3Document
from jaxlik.database.workspace_parameters import NORMAL, POISSON

GAUSS_TYPES, POISSON_TYPES = ("Gauss", "Gaussian"), ("Poisson",)

GAUSS_DISTRIBUTIONS = ("gaussian_dist", "normal_dist")


class Constraint(NamedTuple):
    """A constraint of one parameter.

    Attributes:
        kind: ``normal`` or ``poisson``.
        centre: Auxiliary data.
        width: Standard deviation of a normal; Poisson rate where the parameter is 1.
        distribution: Name, empty where a type implies the distribution.
    """

    kind: str
    centre: float
    width: float
    distribution: str = ""


def modifier_constraint(
    document: Hs3Document, modifier: dict, parameter: str, place: str
) -> Constraint | None:
    """The constraint of a modifier with one parameter; None for free ones.

    A distribution is named by ``constraint_name``, in later versions of ROOT by ``constraint``;
    in earlier ones, and in pyhs3, the latter is a type of constraint, as ``constraint_type`` is.
    """
    if modifier.get("constraints") is not None:
        (name,) = listed(document, modifier, 1, place)
        return None if name is None else named(document, name, parameter, f"{place}/constraints/0")
    keys = ("constraint_name", "constraint", "constraint_type")
    key = next((key for key in keys if modifier.get(key) is not None), None)
    pull = modifier["type"] != "normfactor"
    if key is None or (key != "constraint_name" and modifier[key] in GAUSS_TYPES):
        if pull:
            return Constraint(NORMAL, _nominal(document, parameter, 0.0), 1.0)
        if key is None:
            return None
        wanted = "the name of a gaussian_dist, which has the width"
        raise document.checks.error(f"{place}/{key}", modifier[key], wanted)
    if key == "constraint_type":
        wanted = 'Gauss, or a distribution by "constraint_name"'
        raise document.checks.error(f"{place}/{key}", modifier[key], wanted)
    return named(document, modifier[key], parameter, f"{place}/{key}")


def constraint_type(document: Hs3Document, statements: list[tuple[dict, str]]) -> str | None:
    """Kind of constraint that modifiers and channels state for their bins, if any does."""
    found = None
    for statement, place in statements:
        for key in ("constraint", "constraint_type"):
            value = statement.get(key)
            if value is None:
                continue
            if value not in (*GAUSS_TYPES, *POISSON_TYPES):
                raise document.checks.error(f"{place}/{key}", value, "Gauss or Poisson")
            kind = NORMAL if value in GAUSS_TYPES else POISSON
            if found not in (None, kind):
                raise document.checks.error(f"{place}/{key}", value, f"{found}, as stated before")
            found = kind
    return found


def listed(document: Hs3Document, modifier: dict, size: int, place: str) -> list[Any]:
    """Names of distributions in ``constraints``, one or None for each parameter."""
    names = document.items(modifier.get("constraints"), f"{place}/constraints")
    if len(names) != size:
        raise document.checks.error(f"{place}/constraints", names, f"{size} names or null")
    return names


def bin_constraints(
    document: Hs3Document, modifier: dict, parameters: tuple[str, ...], place: str
) -> list[Constraint | None]:
    """The constraints that a modifier of bins lists, of one kind."""
    constraints = [
        None if name is None else named(document, name, parameter, f"{place}/constraints/{i}")
        for i, (name, parameter) in enumerate(
            zip(listed(document, modifier, len(parameters), place), parameters, strict=True)
        )
    ]
    kinds = {constraint.kind for constraint in constraints if constraint is not None}
    if len(kinds) > 1:
        raise document.checks.error(
            f"{place}/constraints", sorted(kinds), "distributions of a kind"
        )
    return constraints


def implied(document: Hs3Document, kind: str, parameter: str, width: float) -> Constraint:
    """The constraint of a bin that only its type is known of."""
    centre = _nominal(document, parameter, 1.0 if kind == NORMAL else width)
    return Constraint(kind, centre, width)


def named(document: Hs3Document, name: Any, parameter: str, place: str) -> Constraint:
    """The constraint of a parameter by a distribution of the document."""
    distribution, at = document.find("distributions", name, place)
    checks, kind = document.checks, distribution.get("type")
    if kind in GAUSS_DISTRIBUTIONS:
        sides = [key for key in ("x", "mean") if distribution.get(key) == parameter]
        if len(sides) != 1:
            raise checks.error(at, distribution, f"{parameter!r} for one of x and mean")
        other = "mean" if sides[0] == "x" else "x"
        centre = document.constant(distribution.get(other), f"{at}/{other}")
        sigma = document.constant(distribution.get("sigma"), f"{at}/sigma")
        if sigma <= 0:
            raise checks.error(f"{at}/sigma", sigma, "a positive number")
        return Constraint(NORMAL, centre, sigma, name)
    if kind == "poisson_dist":
        centre = document.constant(distribution.get("x"), f"{at}/x")
        rate = _rate(document, distribution.get("mean"), parameter, f"{at}/mean")
        if rate <= 0:
            raise checks.error(f"{at}/mean", rate, "a positive rate")
        return Constraint(POISSON, centre, rate, name)
    raise checks.error(
        f"{at}/type", kind, "gaussian_dist or poisson_dist, to constrain a parameter"
    )


def constrained_parameter(document: Hs3Document, name: Any, known: Any, place: str) -> str:
    """Which of the known parameters a Gaussian distribution constrains."""
    distribution, at = document.find("distributions", name, place)
    if distribution.get("type") not in GAUSS_DISTRIBUTIONS:
        raise document.checks.error(
            f"{at}/type", distribution.get("type"), "gaussian_dist for an auxiliary distribution"
        )
    for key in ("x", "mean"):
        if isinstance(distribution.get(key), str) and distribution[key] in known:
            return distribution[key]
    raise document.checks.error(at, distribution, "a parameter of a modifier for x or mean")


def _rate(document: Hs3Document, mean: Any, parameter: str, place: str) -> float:
    """Mean of a Poisson distribution where the parameter is 1."""
    if mean == parameter:
        return 1.0
    function, at = document.find("functions", mean, place)
    factors = document.items(function.get("factors"), f"{at}/factors")
    if function.get("type") != "product" or factors.count(parameter) != 1:
        raise document.checks.error(at, function, f"a product of {parameter!r} and constants")
    rate = 1.0
    for i, factor in enumerate(factors):
        rate *= 1.0 if factor == parameter else document.constant(factor, f"{at}/factors/{i}")
    return rate


def _nominal(document: Hs3Document, parameter: str, default: float) -> float:
    """Auxiliary data of an implied constraint: ROOT keeps it in ``nom_`` parameters."""
    entry = document.values.get(f"nom_{parameter}")
    return default if entry is None else entry.value
