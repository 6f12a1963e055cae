"""Workspaces of database 3.0.0 and their reference results."""

import json
import tarfile

import pytest


@pytest.fixture(scope="session")
def workspace_of(reference):
    """From ``FOLDER/FILE``, without ATLAS-SUSY and .json, to the golden file and the workspace."""
    golden = {}
    for path in (reference / "golden" / "pyhf").glob("*.json"):
        document = json.loads(path.read_text())
        golden[document["workspace"]] = document
    found = {}
    archive = reference / "data" / "smodels-database-3.0.0.tar.xz"
    with tarfile.open(archive) as stream:
        for member in stream:
            name = "/".join(member.name.split("/")[-2:])
            content = stream.extractfile(member) if name in golden else None
            if content is not None:
                found[name] = json.load(content)

    def find(name):
        key = f"ATLAS-SUSY-{name}.json"
        return golden[key], found[key]

    return find
