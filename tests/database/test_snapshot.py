import io
import json
import shutil
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from jaxlik.database import smodels_reader, snapshot
from jaxlik.database.locator import build_locator
from jaxlik.database.topologies import build_channel_table
from jaxlik.errors import DatabaseError


@pytest.fixture(scope="module")
def parts(tiny_root, squark_space):
    """What `write_snapshot` takes, from the tiny database."""
    results, maps, grids = [], [], []
    for data in smodels_reader.read_database(tiny_root, processes=0):
        data = smodels_reader.renumber(data, len(grids))
        results.append(data.result)
        maps.extend(data.maps)
        grids.extend(data.grids)
    return {
        "results": results,
        "maps": maps,
        "locator": build_locator(grids),
        "channels": build_channel_table(squark_space, maps, grids),
        "database_version": "0.0.1",
        "database_sha256": "ab" * 32,
    }


@pytest.fixture(scope="module", params=["folder", "file.npz"])
def written(request, parts, tmp_path_factory):
    path = tmp_path_factory.mktemp("snapshot") / request.param
    return snapshot.write_snapshot(path, **parts, notes={"remark": "tiny"})


@pytest.fixture
def damaged(written, tmp_path):
    """A copy of the snapshot that may be changed, as (path, function to edit a member)."""
    path = tmp_path / written.path.name
    if written.path.is_dir():
        shutil.copytree(written.path, path)

        def edit(name, change):
            content = change((path / name).read_bytes())
            (path / name).unlink() if content is None else (path / name).write_bytes(content)
    else:

        def edit(name, change):
            with zipfile.ZipFile(written.path) as old, zipfile.ZipFile(path, "w") as new:
                for item in old.namelist():
                    content = old.read(item)
                    content = change(content) if item == name else content
                    if content is not None:
                        new.writestr(item, content)

    return path, edit


def test_results_survive(written, parts):
    found = snapshot.open_snapshot(written.path)
    assert found.version == "0.0.1"
    assert found.manifest["remark"] == "tiny"
    assert len(found.results) == len(parts["results"])
    for one, other in zip(found.results, parts["results"], strict=True):
        assert one.provenance == other.provenance
        assert one.kind == other.kind
        for name in ("counting", "covariance"):
            left, right = getattr(one, name), getattr(other, name)
            assert (left is None) == (right is None)
            for key in () if left is None else vars(left):
                np.testing.assert_array_equal(getattr(left, key), getattr(right, key))


def test_workspaces_survive(written, parts):
    wanted = [w for result in parts["results"] for w in result.workspaces]
    assert list(written.workspaces) == wanted


def test_maps_survive(written, parts):
    values = written.array("values")
    assert len(written.maps) == len(parts["maps"])
    for header, record in zip(written.maps, parts["maps"], strict=True):
        np.testing.assert_array_equal(
            values[header.start : header.start + header.size], record.values
        )
        for name in ("folder", "region", "txname", "quantity", "constraint", "coordinates", "grid"):
            assert getattr(header, name) == getattr(record, name)


def test_arrays_survive(written, parts):
    grids = written.group("grids")
    for name, value in parts["locator"]._asdict().items():
        np.testing.assert_array_equal(grids[name], value)
        assert grids[name].dtype == value.dtype
    channels = written.group("channels")
    for name, value in channels.items():
        np.testing.assert_array_equal(value, getattr(parts["channels"], name))
    written.verify()


def test_undefined_numbers_come_back_undefined(parts, tmp_path):
    (result,) = [r for r in parts["results"] if r.provenance.folder == "CMS-TINY-02-eff"]
    limits = np.array([np.nan, 0.5])
    counting = replace(result.counting, upper_limit=limits)
    changed = {**parts, "results": [replace(result, counting=counting)]}
    found = snapshot.write_snapshot(tmp_path / "nan", **changed)
    np.testing.assert_array_equal(found.results[0].counting.upper_limit, limits)


def test_opening_reads_no_arrays(written, monkeypatch):
    def forbidden(*args, **kwargs):
        raise AssertionError("an array was read")

    monkeypatch.setattr(snapshot.np, "load", forbidden)
    found = snapshot.open_snapshot(written.path)
    assert found.results
    assert found.maps
    with pytest.raises(AssertionError, match="an array was read"):
        found.array("values")


def test_folders_are_mapped_into_memory(parts, tmp_path):
    found = snapshot.write_snapshot(tmp_path / "mapped", **parts)
    assert isinstance(found.array("values"), np.memmap)


def test_equal_content_gives_equal_files(parts, tmp_path):
    paths = [tmp_path / name for name in ("a.npz", "b.npz")]
    for path in paths:
        snapshot.write_snapshot(path, **parts)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_writing_replaces_an_old_snapshot_as_a_whole(parts, tmp_path):
    target = tmp_path / "target"
    target.mkdir()
    (target / "leftover.npy").write_bytes(b"old")
    snapshot.write_snapshot(target, **parts)
    assert not (target / "leftover.npy").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_results_are_found_by_folder_or_analysis(written):
    assert written.result("CMS-TINY-02-eff") is written.result("CMS-TINY-02")
    with pytest.raises(DatabaseError, match="has no result 'CMS-X'; it has 5, such as CMS-TINY-01"):
        written.result("CMS-X")


def edited_manifest(**changes):
    return lambda raw: json.dumps({**json.loads(raw), **changes}).encode()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (edited_manifest(schema="jaxlik/snapshot/99"), "schema is 'jaxlik/snapshot/99'"),
        (edited_manifest(schema=None), "schema is None"),
        (lambda raw: raw[:50], "manifest.json is damaged"),
        (lambda raw: None, "no manifest|not a jaxlik snapshot"),
    ],
    ids=["newer", "absent", "cut", "missing"],
)
def test_other_schemas_are_refused(damaged, change, message):
    path, edit = damaged
    edit("manifest.json", change)
    with pytest.raises(DatabaseError, match=message):
        snapshot.open_snapshot(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: raw[:-100], "array 'values' is damaged"),
        (lambda raw: raw[:20], "array 'values' is damaged"),
        (lambda raw: None, "missing"),
    ],
    ids=["cut", "header", "missing"],
)
def test_damaged_arrays_are_named(damaged, change, message):
    path, edit = damaged
    edit("values.npy", change)
    found = snapshot.open_snapshot(path)
    with pytest.raises(DatabaseError, match=message):
        found.array("values")


def test_changed_arrays_fail_the_digest(damaged):
    path, edit = damaged
    edit("values.npy", lambda raw: raw[:-1] + bytes([raw[-1] ^ 1]))
    found = snapshot.open_snapshot(path)
    with pytest.raises(DatabaseError, match="array 'values' has digest"):
        found.verify()


def test_arrays_of_another_shape_are_refused(damaged):
    path, edit = damaged

    def change(raw):
        manifest = json.loads(raw)
        manifest["arrays"]["values"]["shape"] = [1]
        return json.dumps(manifest).encode()

    edit("manifest.json", change)
    with pytest.raises(DatabaseError, match=r"the manifest says float64\[1\]"):
        snapshot.open_snapshot(path).array("values")


def test_pickled_arrays_are_never_loaded(damaged):
    path, edit = damaged
    buffer = io.BytesIO()
    np.save(buffer, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    edit("values.npy", lambda raw: buffer.getvalue())
    with pytest.raises(DatabaseError, match="damaged"):
        snapshot.open_snapshot(path).array("values")


def test_damaged_records_are_named(damaged):
    path, edit = damaged
    edit("records.json", lambda raw: raw[:30])
    found = snapshot.open_snapshot(path)
    with pytest.raises(DatabaseError, match=r"records\.json is damaged"):
        _ = found.results


def test_unknown_arrays_and_paths_are_named(written, tmp_path):
    with pytest.raises(DatabaseError, match="holds no array 'x'"):
        written.array("x")
    with pytest.raises(DatabaseError, match="no such file or folder"):
        snapshot.open_snapshot(tmp_path / "absent")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(DatabaseError, match="not a jaxlik snapshot"):
        snapshot.open_snapshot(tmp_path / "text.npz")
