import math

import numpy as np
import pytest
from tiny_database import MASSES, data_block

from jaxlik.database import text_format
from jaxlik.errors import DatabaseError


def tags_of(tmp_path, text):
    path = tmp_path / "file.txt"
    path.write_text(text)
    return text_format.read_tags(path)


def test_tags_continue_over_lines_and_lose_comments(tmp_path):
    tags = tags_of(
        tmp_path,
        "# head\nid: X # remark\nlong: {'a': 1,\n  'b': 2\n}\nurl: http://x.y/#frag\nempty:\n",
    )
    assert tags["id"] == "X"
    assert text_format.literal(tags["long"], "long", tmp_path) == {"a": 1, "b": 2}
    assert tags["url"] == "http://x.y/#frag"
    assert tags["empty"] == ""


def test_an_open_list_swallows_lines_that_look_like_tags(tmp_path):
    tags = tags_of(tmp_path, "order: 'a',\nb: 'c'\nnext: 1\n")
    assert tags["order"] == "'a',\nb: 'c'"
    assert tags["next"] == "1"


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "no 'tag: value'"), (b"\xff\xfe\x00", "not a text file"), (b"just words\n", "no tag")],
    ids=["empty", "binary", "prose"],
)
def test_foreign_files_are_named_in_the_error(tmp_path, content, message):
    path = tmp_path / "file.txt"
    path.write_bytes(content)
    with pytest.raises(DatabaseError, match=message) as error:
        text_format.read_tags(path)
    assert "file.txt" in str(error.value)


def test_a_missing_file_is_a_database_error(tmp_path):
    with pytest.raises(DatabaseError, match="incomplete"):
        text_format.read_tags(tmp_path / "absent.txt")


def test_required_and_numeric_tags_name_what_is_wrong(tmp_path):
    with pytest.raises(DatabaseError, match=r"'lumi' is missing; found id"):
        text_format.required({"id": "X"}, "lumi", tmp_path)
    with pytest.raises(DatabaseError, match=r"'bgError' is 'three', wanted a number"):
        text_format.number({"bgError": "three"}, "bgError", tmp_path)
    assert text_format.number({"bgError": " 3.5 "}, "bgError", tmp_path) == 3.5


def test_cross_sections_come_in_femtobarns(tmp_path):
    tags = {"a": "0.95*fb", "b": "2.5E-3*pb", "c": "3"}
    assert text_format.cross_section(tags, "a", tmp_path) == 0.95
    assert text_format.cross_section(tags, "b", tmp_path) == pytest.approx(2.5, rel=1e-15)
    assert math.isnan(text_format.cross_section(tags, "absent", tmp_path))
    with pytest.raises(DatabaseError, match="wanted a cross section"):
        text_format.cross_section(tags, "c", tmp_path)


@pytest.mark.parametrize(
    "text",
    ["__import__('os').getcwd()", "open('x')", "[i for i in range(3)]", "1 +", "(" * 500],
    ids=["import", "call", "comprehension", "syntax", "nesting"],
)
def test_literals_are_never_evaluated(tmp_path, text):
    with pytest.raises(DatabaseError, match="not a literal"):
        text_format.literal(text, "tag", tmp_path)


def test_oversized_literals_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(text_format, "_LITERAL_LIMIT", 10)
    with pytest.raises(DatabaseError, match="longer than 10"):
        text_format.literal("[1, 2, 3, 4, 5]", "tag", tmp_path)


def test_nested_data_keep_their_layout_and_unit(tmp_path):
    text = data_block(MASSES, lambda m, x: m / 1000, "*pb")
    block = text_format.read_data_block(text, "upperLimits", tmp_path)
    assert block.layout == ((0, 0, False), (0, 1, False), (1, 0, False), (1, 1, False))
    np.testing.assert_array_equal(block.coordinates, [(m, x, m, x) for m, x in MASSES])
    np.testing.assert_allclose(block.values, [m for m, _ in MASSES], rtol=1e-15)


def test_widths_follow_masses_on_a_logarithmic_axis(tmp_path):
    text = "[[[[(1.0E3*GeV,1.0E-16*GeV),1.0E2*GeV],[(1.1E3*GeV,0.0*GeV),1.0E2*GeV]],0.25]]"
    block = text_format.read_data_block(text, "efficiencyMap", tmp_path)
    assert [entry[2] for entry in block.layout] == [False] * 4 + [True] * 2
    np.testing.assert_array_equal(block.coordinates[0, :4], [1000, 100, 1100, 100])
    np.testing.assert_allclose(block.coordinates[0, 4:], [math.log1p(1e14), 0], rtol=1e-15)


def test_infinite_widths_sit_at_the_prompt_end(tmp_path):
    np.testing.assert_allclose(text_format.PROMPT_COORDINATE, math.log(1e80), rtol=1e-12)
    small = text_format.rescale_width(np.array([1e-42]))
    np.testing.assert_allclose(small, 1e-12, rtol=1e-12)  # below 1e-10 the width itself


def test_flat_data_take_their_widths_from_the_data_map(tmp_path):
    text = "[[[1.0E3*GeV,1.0E-16*GeV],0.5],[[1.2E3*GeV,1.0E-16*GeV],0.25]]"
    block = text_format.read_data_block(text, "efficiencyMap", tmp_path, widths=(1,))
    assert block.layout is None
    np.testing.assert_allclose(block.coordinates[:, 1], math.log1p(1e14), rtol=1e-15)


def test_inclusive_branches_carry_no_coordinates(tmp_path):
    block = text_format.read_data_block("[[[[300.*GeV,50.*GeV],'*'],0.5]]", "map", tmp_path)
    assert block.layout == ((0, 0, False), (0, 1, False))
    np.testing.assert_array_equal(block.coordinates, [[300, 50]])


GOOD = "[[[[300.*GeV,50.*GeV],[300.*GeV,50.*GeV]],0.5],\n[[[400.*GeV,50.*GeV],[400.*GeV,50.*GeV]],0.6]]"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD.replace("0.5]", "0.5*fb]").replace("0.6]", "0.6*pb]"), "units"),
        (GOOD.replace("300.*GeV", "300.*TeV"), "TeV"),
        (GOOD.replace("400.*GeV,", "", 1), "not a multiple"),
        (GOOD.replace("0.6", "zero"), "could not convert"),
        (GOOD.replace("0.6", "inf"), "not finite"),
        (GOOD.replace("0.6", "__import__('os')"), "could not convert"),
        (GOOD[:40], "does not start with a list"),
        ("0.5", "does not start with a list"),
        ("[[1, 2, 3]]", "first entry"),
    ],
    ids=[
        "two-units",
        "unknown-unit",
        "ragged",
        "word",
        "infinite",
        "code",
        "cut",
        "number",
        "shape",
    ],
)
def test_damaged_data_blocks_are_refused(tmp_path, text, message):
    with pytest.raises(DatabaseError, match=message) as error:
        text_format.read_data_block(text, "efficiencyMap", tmp_path)
    assert "efficiencyMap" in str(error.value)
