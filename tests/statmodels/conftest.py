"""Golden HistFactory results beside the workspaces they were made from."""

import json

import pytest

from jaxlik.database.workspace import flatten_workspace


@pytest.fixture(scope="session")
def golden_workspaces(reference, snapshot):
    """From the name of a golden file, without ATLAS-SUSY, to it and the flattened workspace."""
    documents = {(w.analysis_id, w.name): w.document for w in snapshot.workspaces}

    def find(name):
        path = reference / "golden" / "pyhf" / f"ATLAS-SUSY-{name}.json"
        golden = json.loads(path.read_text())
        folder, _, file = golden["workspace"].partition("/")
        return golden, flatten_workspace(documents[folder, file], name=name)

    return find
