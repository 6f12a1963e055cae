"""Records of results and maps as JSON documents of a snapshot, and back."""

import json
import math
from dataclasses import asdict
from typing import Any

import numpy as np

from jaxlik.database.records import (
    CountingRecord,
    CovarianceRecord,
    MapHeader,
    MapRecord,
    Provenance,
    Result,
)


def _floats(values: np.ndarray | None) -> list | None:
    if values is None:
        return None
    return _without_nan(values.tolist())


def _without_nan(values: Any) -> Any:
    """Nested lists with ``None`` for what JSON cannot hold."""
    if isinstance(values, list):
        return [_without_nan(value) for value in values]
    return values if math.isfinite(values) else None


def records_document(results: list[Result], maps: list[MapRecord], starts: np.ndarray) -> dict:
    """Results and map headers as JSON; texts that repeat are stored once."""
    strings: dict[str, int] = {}

    def intern(text: str) -> int:
        return strings.setdefault(text, len(strings))

    rows = [
        [
            intern(m.folder),
            None if m.region is None else intern(m.region),
            intern(m.txname),
            intern(m.quantity),
            intern(m.constraint),
            intern(json.dumps(m.coordinates)),
            int(m.grid),
            intern(json.dumps(m.final_state)),
            intern(m.intermediate_state),
            intern(m.validated),
            intern(m.source),
            int(start),
            len(m.values),
        ]
        for m, start in zip(maps, starts[:-1], strict=True)
    ]
    return {
        "results": [_result_document(result) for result in results],
        "maps": rows,
        "strings": list(strings),
    }


def _result_document(result: Result) -> dict[str, Any]:
    document: dict[str, Any] = {
        "provenance": asdict(result.provenance),
        "kind": result.kind,
        "tags": dict(result.tags),
    }
    for name in ("counting", "covariance"):
        record = getattr(result, name)
        if record is not None:
            document[name] = {
                key: _floats(value) if isinstance(value, np.ndarray) else value
                for key, value in asdict(record).items()
            }
    return document


def _array(values: list | None) -> np.ndarray | None:
    return None if values is None else np.array(values, dtype=np.float64)


def result_from(entry: dict[str, Any]) -> Result:
    """A result from its entry in `records_document`, without workspaces."""
    counting = covariance = None
    if "counting" in entry:
        c = entry["counting"]
        counting = CountingRecord(
            c["analysis_id"],
            tuple(c["region_ids"]),
            *(
                np.array([np.nan if v is None else v for v in c[name]], dtype=np.float64)
                for name in (
                    "observed background background_error upper_limit upper_limit_expected"
                ).split()
            ),
        )
    if "covariance" in entry:
        c = entry["covariance"]
        covariance = CovarianceRecord(
            c["analysis_id"],
            tuple(c["region_ids"]),
            np.array(c["observed"]),
            np.array(c["background"]),
            np.array(c["covariance"]),
            _array(c["third_moments"]),
        )
    return Result(
        Provenance(**entry["provenance"]), entry["kind"], counting, covariance, (), entry["tags"]
    )


def header_from(row: list, strings: list[str]) -> MapHeader:
    """A map header from its row in `records_document`."""
    (
        folder,
        region,
        tx,
        quantity,
        constraint,
        axes,
        grid,
        final,
        middle,
        valid,
        source,
        start,
        size,
    ) = row
    return MapHeader(
        strings[folder],
        None if region is None else strings[region],
        strings[tx],
        strings[quantity],
        strings[constraint],
        tuple((int(node), name) for node, name in json.loads(strings[axes])),
        grid,
        tuple(json.loads(strings[final])),
        strings[middle],
        strings[valid],
        strings[source],
        start,
        size,
    )
