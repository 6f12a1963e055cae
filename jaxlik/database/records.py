"""What an analysis publishes, as plain host-side records.

Records hold NumPy arrays and strings; `jaxlik.statmodels.build` and
`jaxlik.yields` turn them into arrays on the device. Units: GeV, fb, 1/fb, events.
"""

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np


@dataclass(frozen=True)
class Provenance:
    """Where the numbers of one result come from.

    Attributes:
        analysis: Identifier of the analysis, e.g. ``CMS-SUS-19-006``.
        folder: Name of the result in its database; one analysis may have several.
        experiment: ``ATLAS`` or ``CMS``.
        sqrts: Centre-of-mass energy [TeV].
        luminosity: Integrated luminosity [1/fb].
        arxiv: arXiv address or empty.
        doi: DOI of the publication or empty.
        url: Page of the analysis or empty.
        title: Short description or empty.
    """

    analysis: str
    folder: str
    experiment: str
    sqrts: float
    luminosity: float
    arxiv: str = ""
    doi: str = ""
    url: str = ""
    title: str = ""


@dataclass(frozen=True)
class CountingRecord:
    """Event counts in signal regions, treated as independent.

    Arrays have axis ``region``; upper limits on the visible cross section are
    in fb and ``nan`` where none is published.
    """

    analysis_id: str
    region_ids: tuple[str, ...]
    observed: np.ndarray
    background: np.ndarray
    background_error: np.ndarray
    upper_limit: np.ndarray
    upper_limit_expected: np.ndarray


@dataclass(frozen=True)
class CovarianceRecord:
    """Event counts with the covariance matrix of their backgrounds.

    ``third_moments`` is ``None`` for the linear simplified likelihood
    (CMS-NOTE-2017-001) and an array for its skewed form (arXiv:1809.05548).
    """

    analysis_id: str
    region_ids: tuple[str, ...]
    observed: np.ndarray
    background: np.ndarray
    covariance: np.ndarray
    third_moments: np.ndarray | None = None


@dataclass(frozen=True)
class WorkspaceRecord:
    """A HistFactory workspace and how its channels map to signal regions.

    Attributes:
        analysis_id: Folder of the result.
        name: File name of the workspace.
        document: The workspace as JSON text.
        sha256: Digest of the file.
        regions: One mapping per region: ``smodels`` (signal region or None),
            ``pyhf`` (channel), ``bin`` (index or None), ``type`` (SR, CR, VR).
        include_control_regions: Whether control regions stay in the fit.
        signal_uncertainty: Relative, 0 if none.
    """

    analysis_id: str
    name: str
    document: str
    sha256: str
    regions: tuple[dict, ...]
    include_control_regions: bool = False
    signal_uncertainty: float = 0.0


@dataclass(frozen=True)
class HistFactoryRecord:
    """A HistFactory model as arrays; a *cell* is one sample in one bin.

    The rate of a cell is (nominal + additive shifts) times factors. A *block* is one
    sample in one channel. Padding of `factors` points one past the last parameter.

    Attributes:
        name: For messages.
        channels: Names, in the order of the document.
        channel_bins: First and one past the last bin of each channel.
        samples: (channel, sample) of each block.
        parameters: Names; bin-wise ones are numbered.
        kinds: ``normal``, ``poisson`` or ``free``, the constraint of each parameter.
        init: Where fits start.
        lower: Bounds.
        upper: Bounds.
        fixed: Parameters that fits leave at `init`.
        centre: Auxiliary data of constrained parameters.
        width: Standard deviation of normal constraints; rate of Poisson ones at 1.
        nominal: Events of each cell.
        cell_bin: Bin of each cell.
        cell_block: Block of each cell.
        up: Shift of each cell at +1 of each pull (histosys).
        down: Shift at -1, with the sign that makes it equal to `up` where symmetric.
        entry_block: Block that each normsys scales.
        entry_parameter: Its parameter.
        entry_high: Factor at +1.
        entry_low: Factor at -1.
        factors: Parameters that multiply each cell.
        observed: Events in each bin.
        normalisations: Free factors of whole samples (normfactor).
        poi: Parameter of interest, -1 without.
    """

    name: str
    channels: tuple[str, ...]
    channel_bins: tuple[tuple[int, int], ...]
    samples: tuple[tuple[str, str], ...]
    parameters: tuple[str, ...]
    kinds: tuple[str, ...]
    init: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    fixed: np.ndarray
    centre: np.ndarray
    width: np.ndarray
    nominal: np.ndarray
    cell_bin: np.ndarray
    cell_block: np.ndarray
    up: np.ndarray
    down: np.ndarray
    entry_block: np.ndarray
    entry_parameter: np.ndarray
    entry_high: np.ndarray
    entry_low: np.ndarray
    factors: np.ndarray
    observed: np.ndarray
    normalisations: np.ndarray
    poi: int


@dataclass(frozen=True)
class SignalCells:
    """Where the signal of each region enters a `HistFactoryRecord`.

    Attributes:
        region_ids: Signal regions of the workspace.
        cells: Cells that hold signal.
        region: Position in `region_ids` of each of these cells.
        relative_uncertainty: Of the signal, common to all cells; 0 if none.
        pull: Its parameter, -1 without.
    """

    region_ids: tuple[str, ...]
    cells: np.ndarray
    region: np.ndarray
    relative_uncertainty: float
    pull: int


@dataclass(frozen=True)
class NetworkRecord:
    """A neural network for a likelihood, as its file, and the regions it covers.

    Attributes:
        analysis_id: Folder of the result.
        name: File name of the network.
        content: The ONNX file.
        regions: One mapping per region: ``smodels`` (signal region or None), ``onnx``
            (its name in the file), ``type`` (SR, CR, VR); none if not known.
    """

    analysis_id: str
    name: str
    content: bytes
    regions: tuple[dict[str, Any], ...] = ()


LearnedOutput = Literal["nLL_exp", "nLL_obs", "nLLA_exp", "nLLA_obs"]

LEARNED_OUTPUTS: tuple[LearnedOutput, ...] = get_args(LearnedOutput)
"""The -ln L that networks learn, in their order: of a-priori expected data, of observed
data, and of the background-only Asimov data of either."""

YIELDS = "yields"
"""What the first steps of a network start from."""


@dataclass(frozen=True)
class Operation:
    """One step of a network: `output` = `kind`(`inputs`), inputs being steps or weights."""

    kind: str
    inputs: tuple[str, ...]
    output: str
    attributes: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True)
class NeuralRecord:
    """A learned likelihood: a network from total yields to changes of -ln L.

    Axis ``output`` are the `LEARNED_OUTPUTS`.

    Attributes:
        analysis_id: For messages.
        region_ids: Signal region behind each input; the input's own name if there is none.
        observed: Observed events in each input.
        background: Events in each input at mu = 0: as observed in control regions, as
            expected elsewhere.
        nll_background: -ln L without signal, axis ``output``.
        domain: Smallest and largest events in training, ``2 region``; infinite if unknown.
        operations: Steps in order; they start from `YIELDS` of shape (1, region), and
            the last one has shape (1, output).
        weights: Their constants.
    """

    analysis_id: str
    region_ids: tuple[str, ...]
    observed: np.ndarray
    background: np.ndarray
    nll_background: np.ndarray
    domain: np.ndarray
    operations: tuple[Operation, ...]
    weights: dict[str, np.ndarray]


@dataclass(frozen=True)
class UpperLimitRecord:
    """Observed and expected upper limit on one cross section [fb] at one model point."""

    analysis_id: str
    observed: float
    expected: float | None


@dataclass(frozen=True)
class Grid:
    """A published grid with the rotation and triangulation SModelS gives it.

    Attributes:
        centre: Mean of the grid points, axis ``coordinate`` [GeV, or ln width].
        rotation: Principal axes, columns; ``coordinate coordinate``.
        points: Rotated grid points, ``vertex dimension``.
        simplices: Vertex indices of simplices with volume, ``simplex dimension+1``.
        neighbours: Simplex across the face opposite each vertex, -1 at the hull;
            simplices without volume are passed over.
        broad: One byte per simplex: bit m is set where only simplices without
            volume lie across the face opposite vertex m.
    """

    centre: np.ndarray
    rotation: np.ndarray
    points: np.ndarray
    simplices: np.ndarray
    neighbours: np.ndarray
    broad: np.ndarray

    @property
    def dimension(self) -> int:
        """Number of principal coordinates the grid extends in."""
        return self.points.shape[1]


def place_key(one: "MapRecord | MapHeader") -> tuple:
    """Equal for maps that are always evaluated at the same place."""
    return (
        one.folder,
        one.txname,
        one.quantity,
        one.grid,
        one.coordinates,
        one.constraint,
        one.final_state,
        one.intermediate_state,
    )


@dataclass(frozen=True)
class MapRecord:
    """One map of one topology: efficiencies of a region, or upper limits [fb].

    Attributes:
        folder: Result the map belongs to.
        region: Signal region, or ``None`` for an upper-limit map.
        txname: Name of the topology.
        quantity: ``efficiency``, ``upper_limit`` or ``upper_limit_expected``.
        constraint: SModelS constraint expression, node notation.
        coordinates: For each flat coordinate (node number, ``mass`` or ``totalwidth``).
        grid: Index of the grid in the snapshot; equal grids are stored once.
        values: Axis ``vertex`` of that grid.
    """

    folder: str
    region: str | None
    txname: str
    quantity: str
    constraint: str
    coordinates: tuple[tuple[int, str], ...]
    grid: int
    values: np.ndarray
    final_state: tuple[str, ...] = ("MET", "MET")
    intermediate_state: str = ""
    validated: str = ""
    source: str = ""


@dataclass(frozen=True)
class Result:
    """Everything one folder of a database holds, its maps apart."""

    provenance: Provenance
    kind: str  # "upper_limit" or "efficiency_map"
    counting: CountingRecord | None = None
    covariance: CovarianceRecord | None = None
    workspaces: tuple[WorkspaceRecord, ...] = ()
    tags: dict = field(default_factory=dict)
    networks: tuple[NetworkRecord, ...] = ()


@dataclass(frozen=True)
class MapHeader:
    """A map without its numbers; `start` is its offset in the array ``values``."""

    folder: str
    region: str | None
    txname: str
    quantity: str
    constraint: str
    coordinates: tuple[tuple[int, str], ...]
    grid: int
    final_state: tuple[str, ...]
    intermediate_state: str
    validated: str
    source: str
    start: int
    size: int
