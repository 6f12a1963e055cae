"""Pages in a real browser: no errors, no network, figures, themes, sorting, film, phones."""

import json
import os

import pytest
from chromium import Chromium, chromium_path
from report_pages import HOSTILE, calibration, figure_specs, posterior_folder, search_folder

from jaxlik.fit.html.theme import DARK, INK, PAPER
from jaxlik.fit.html.write import write_report

pytestmark = pytest.mark.slow

PHONE = {"width": 390, "height": 844, "phone": True}
PLOTS = "document.querySelectorAll('figure.chart .plot')"


@pytest.fixture(scope="module")
def browser():
    path = chromium_path()
    if path is None:
        message = "no Chromium found: install chromium, or put chrome on the path"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    found = Chromium(path)
    yield found
    found.close()


@pytest.fixture(scope="module")
def run(tmp_path_factory, assembled, inspection):
    """Run directory of a search, with a film of three blocks."""
    folder = tmp_path_factory.mktemp("browser") / "run"
    search_folder(folder, assembled, inspection)
    return folder


@pytest.fixture(scope="module")
def page_of(run, tmp_path_factory):
    """Page of each kind."""
    folder = tmp_path_factory.mktemp("browser")
    posterior_folder(folder / "posterior")
    write_report(folder / "posterior")
    (folder / "calibration.json").write_text(json.dumps(calibration()))
    return {
        "run": run / "report.html",
        "posterior": folder / "posterior" / "report.html",
        "calibration": write_report(folder / "calibration.json"),
    }


@pytest.fixture
def opened(browser, page_of):
    """Opens a page; all of them are closed at the end."""
    pages = []

    def open_page(name, **options):
        path = page_of[name] if isinstance(name, str) else name
        pages.append(browser.open(path, **options))
        return pages[-1]

    yield open_page
    for page in pages:
        page.close()


@pytest.mark.parametrize("name", ["run", "posterior", "calibration"])
@pytest.mark.parametrize("options", [{}, {"dark": True}, PHONE], ids=["light", "dark", "phone"])
def test_pages_load_without_errors_and_without_network(opened, page_of, name, options):
    page = opened(name, **options)
    assert page.errors() == []
    assert {address.partition(":")[0] for address in page.requests()} <= {"file", "data", "blob"}
    specs = figure_specs(page_of[name].read_text(encoding="utf-8"))
    assert page.evaluate(f"{PLOTS}.length") == len(specs)
    assert page.evaluate("document.querySelectorAll('svg.main-svg').length") >= 2 * len(specs)
    # Wide tables and figures scroll in boxes of their own, or shrink.
    width = options.get("width", 1280)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    widest = f"Math.max(...[...{PLOTS}].map(p => p.getBoundingClientRect().right))"
    assert page.evaluate(widest) <= width


def test_the_theme_follows_system_and_button(opened):
    colours = (
        "(() => { const l = document.querySelector('#figure-scan .plot')._fullLayout;"
        " return [l.paper_bgcolor, l.font.color]; })()"
    )
    page = opened("run")
    assert page.evaluate(colours) == [PAPER, INK]
    page.evaluate("document.getElementById('theme').click()")
    page.wait(
        f"document.querySelector('#figure-scan .plot')._fullLayout.font.color === '{DARK[INK]}'"
    )
    assert page.evaluate(colours) == [DARK[PAPER], DARK[INK]]
    line = "document.querySelector('#figure-scan .plot').data[0].line.color"
    assert page.evaluate(line) == DARK[INK]
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(21, 24, 29)"
    # The choice holds for the next page, whatever the system prefers.
    page.evaluate("document.getElementById('theme').click()")
    page.wait(f"document.querySelector('#figure-scan .plot')._fullLayout.font.color === '{INK}'")
    page.evaluate("window.localStorage.clear()")
    dark = opened("run", dark=True)
    assert dark.evaluate(colours) == [DARK[PAPER], DARK[INK]]
    assert [*page.errors(), *dark.errors()] == []


def test_text_has_enough_contrast(opened):
    """At least 4.5 to 1, as WCAG 2 asks for."""

    def luminance(colour):
        channels = [int(x) / 255 for x in colour.removeprefix("rgb(").rstrip(")").split(",")[:3]]
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for options in ({}, {"dark": True}):
        page = opened("run", **options)
        paper = luminance(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        for what in ("p", "figcaption", "th", "td", "td a", "nav a", ".tiles small", ".facts dt"):
            shown = f"getComputedStyle(document.querySelector('{what}')).color"
            text = luminance(page.evaluate(shown))
            bright, dim = max(text, paper), min(text, paper)
            assert (bright + 0.05) / (dim + 0.05) > 4.5, (what, options)


def test_a_click_on_a_header_sorts_by_number(opened):
    page = opened("run")
    column = (
        "[...document.querySelectorAll('#critic table tbody tr')]"
        ".map(row => row.cells[4].textContent)"
    )
    found = [float(text) for text in page.evaluate(column)]
    assert found == sorted(found, reverse=True)
    assert len(set(found)) > 3
    button = "document.querySelectorAll('#critic thead button')[4]"
    page.evaluate(f"{button}.click()")
    page.evaluate(f"{button}.click()")
    assert [float(text) for text in page.evaluate(column)] == sorted(found)
    header = f"{button}.closest('th').getAttribute('aria-sort')"
    assert page.evaluate(header) == "ascending"
    names = (
        "[...document.querySelectorAll('#critic table tbody tr')].map(r => r.cells[0].textContent)"
    )
    page.evaluate("document.querySelectorAll('#critic thead button')[0].click()")
    shown = page.evaluate(names)
    assert shown == sorted(shown)


def test_the_film_plays_to_its_end(opened):
    page = opened("run")
    slider, said = "document.getElementById('film-frame')", "#figure-film output"
    masses = "document.querySelector('#figure-film .plot').data[3].y"
    assert page.evaluate(f"document.querySelector('{said}').textContent").startswith("step 30")
    page.evaluate(f"{slider}.value = 0, {slider}.dispatchEvent(new Event('input'))")
    page.wait(f"document.querySelector('{said}').textContent.startsWith('step 10')")
    assert page.evaluate(masses) == [1010, 160]
    page.evaluate("document.querySelector('#figure-film .play').click()")
    page.wait(f"document.querySelector('{said}').textContent.startsWith('step 30')")
    assert page.evaluate(masses) == [1030, 160]
    page.wait("document.querySelector('#figure-film .play').textContent.includes('Play')")
    assert page.errors() == []


def test_a_choice_changes_the_figure(opened):
    page = opened("posterior")
    number = "document.querySelector('#figure-spectra-chart .plot').data.length"
    before = page.evaluate(number)
    choice = "document.getElementById('spectra-chart-choice')"
    page.evaluate(f"{choice}.value = 1, {choice}.dispatchEvent(new Event('change'))")
    page.wait(f"{number} !== {before}")
    assert page.errors() == []


def test_hovering_a_level_tells_its_decays(opened):
    page = opened("run", height=1100)
    place = page.evaluate(
        "(() => { const p = document.querySelector('#figure-ruler .plot'), l = p._fullLayout;"
        " const box = p.getBoundingClientRect(), y = p.data[p.data.length - 2].y[1];"
        " return [box.left + l._size.l + l.xaxis.d2p(0.2), box.top + l._size.t + l.yaxis.d2p(y)]; })()"
    )
    page.hover(*place)
    label = "document.querySelector('#figure-ruler .hoverlayer').textContent"
    page.wait(f"{label}.length > 0")
    shown = page.evaluate(label)
    assert "GeV" in shown
    assert "100 %" in shown


def test_names_stand_above_their_rows_on_phones(opened):
    show = "document.querySelector('#figure-r-values .plot')._fullLayout.yaxis.showticklabels"
    assert opened("run").evaluate(show)
    page = opened("run", **PHONE)
    assert not page.evaluate(show)
    assert "SUSY" in page.evaluate("document.querySelector('#figure-r-values .plot').textContent")


def test_hostile_names_run_no_script(opened, run, tmp_path):
    document = json.loads((run / "summary.json").read_text())
    best = document["best"][0]
    for row in (*best["combination"], *best["r_values"]):
        row["analysis"] = row["region"] = HOSTILE
    for entry in best["particles"].values():
        entry["name"] = HOSTILE
    (tmp_path / "summary.json").write_text(json.dumps(document))
    page = opened(write_report(tmp_path))
    assert page.errors() == []
    dialogs = [e for e in page.browser.events if e.get("method") == "Page.javascriptDialogOpening"]
    assert dialogs == []
    assert page.evaluate("document.querySelectorAll('td b, td script').length") == 0
    assert HOSTILE in page.evaluate("document.querySelector('#results').textContent")
