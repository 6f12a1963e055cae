"""Errors that are jaxlik's and pyhf's at once: an `except` written for pyhf still catches them."""

from pyhf import exceptions

from jaxlik.errors import ConfigError, ConvergenceError, WorkspaceError


class UntranslatableModelError(WorkspaceError, exceptions.InvalidModel):
    """A model of pyhf that jaxlik has no equivalent of."""


class FitNotCertifiedError(ConvergenceError, exceptions.FailedMinimization):
    """A fit did not reach its certificate.

    Attributes:
        result: What the fit ended with, as `pyhf.exceptions.FailedMinimization` has it; `None`
            where a search over many fits failed.
    """

    def __init__(self, message: str, result: object = None) -> None:
        self.result = result
        Exception.__init__(self, message)


class WrongDataError(ConfigError, exceptions.InvalidPdfData):
    """Data of another length than the model wants, or negative counts."""


class WrongParametersError(ConfigError, exceptions.InvalidPdfParameters):
    """Parameters, bounds or flags of another number than the model has."""


class NoParameterOfInterestError(ConfigError, exceptions.UnspecifiedPOI):
    """The model names no parameter of interest where one is needed."""


class HeldParameterOfInterestError(ConfigError, exceptions.InvalidModel):
    """The parameter of interest is fixed where it has to be free."""


class UnknownTestStatisticError(ConfigError, exceptions.InvalidTestStatistic):
    """No test statistic has this name."""


class UnknownCalculatorError(ConfigError, KeyError):
    """No calculator has this name; pyhf raises `KeyError`."""

    def __str__(self) -> str:
        # KeyError shows its message in quotes.
        return str(self.args[0])


class UnsupportedOptionError(ConfigError, exceptions.Unsupported):
    """An option, model or objective that jaxlik's fits do not take."""
