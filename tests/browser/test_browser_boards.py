"""The boards' pages in a real browser: sorted, filtered, unfolded, copied from, by mouse and by keyboard."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser_boards import HOSTILE, build
from browser_chromium import PALE, Browser, Page
from scipy.spatial.transform import Rotation

from kt3d_bench.leaderboard.samples import SAMPLES


@pytest.fixture(scope="module")
def boards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("boards")
    build(folder)
    return folder


@pytest.fixture
def page(tab: Page, boards: Path) -> Page:
    """The crowded board at desktop width."""
    tab.open(boards / "street-test" / "index.html")
    return tab


def methods(page: Page) -> list[str]:
    """Of the measured rows that are shown, in their order."""
    found = page.run(
        "[...document.querySelectorAll('.board tbody:not([hidden]) .method')].map(e => e.textContent.slice(0, 30))"
    )
    return [str(name) for name in found]


def column(page: Page, place: int) -> dict[str, list[float]]:
    """Numbers of one column of the measured table, by track."""
    return dict(page.run(f"""(() => {{
        const found = {{}};
        document.querySelectorAll('.board tbody.item').forEach(body => {{
            const text = body.rows[0].cells[{place}].dataset.sort;
            if (text) (found[body.dataset.track] ||= []).push(parseFloat(text));
        }});
        return found;
    }})()"""))  # fmt: skip


def ranks(page: Page) -> list[str]:
    """Of the measured rows that are shown."""
    cells = "[...document.querySelectorAll('.board tbody.item:not([hidden]) .rank')].map(e => e.textContent)"
    return [str(text) for text in page.run(cells)]


def head(name: str) -> str:
    """Selector of the sort button of the measured table's nth column."""
    places = {"#": 1, "Method": 2, "MPJPE": 3, "PCK@100": 8}
    return f".board th:nth-child({places[name]}) .sort"


def sorted_by(page: Page) -> list[Any]:
    return list(page.run("[...document.querySelectorAll('.board th[aria-sort]')].map(e => [e.cellIndex, e.ariaSort])"))


def test_rows_are_sorted_within_their_track_best_first(page: Page) -> None:
    assert sorted_by(page) == [[0, "ascending"]]
    ranked = methods(page)
    for name, place, higher in (("MPJPE", 2, False), ("PCK@100", 7, True)):
        for turned in (False, True):
            page.click(head(name))
            found = column(page, place)
            assert list(found) == ["none", "some", "all", "not stated"]
            down = higher != turned
            assert all(values == sorted(values, reverse=down) for values in found.values())
            direction = "descending" if down else "ascending"
            assert sorted_by(page) == [[place, direction]]
            assert page.run("document.getElementById('said').textContent") == f"Sorted by {name}, {direction}"
    page.click(head("#"))
    assert methods(page) == ranked
    heads = page.run("[...document.querySelectorAll('.board tbody')].filter(e => e.matches('.track')).length")
    assert heads == 4


def test_the_address_keeps_sorting_and_filters(page: Page, boards: Path) -> None:
    page.click(head("PCK@100"))
    choose(page, "select[name=kind]", "measured")
    choose(page, "input[name=text]", "sweep")
    query = str(page.run("location.search"))
    assert query == "?sort=7-descending&kind=measured&text=sweep"
    shown = methods(page)
    page.open(boards / "index.html")
    page.open(boards / "street-test" / "index.html", query)
    assert methods(page) == shown
    assert sorted_by(page) == [[7, "descending"]]
    assert page.run("document.querySelector('select[name=kind]').value") == "measured"
    choose(page, "input[name=text]", "")
    assert page.run("location.search") == "?sort=7-descending&kind=measured"
    page.open(boards / "street-test" / "index.html", "?sort=99-ascending&level=nobody")
    assert sorted_by(page) == [[0, "ascending"]]


def test_ranks_follow_the_filters_and_empty_tracks_go(page: Page) -> None:
    before = ranks(page)
    choose(page, "select[name=level]", "full")
    assert ranks(page)[0] in ("1", "1=")
    assert "2" in " ".join(ranks(page))
    assert page.run("[...document.querySelectorAll('.board tbody.track:not([hidden])')].map(e => e.dataset.track)") == [
        "all"
    ]
    choose(page, "select[name=level]", "")
    assert ranks(page) == before


def test_the_forest_plot_and_the_csv_say_what_the_table_says(page: Page, boards: Path) -> None:
    lines = list(csv.DictReader((boards / "street-test" / "board.csv").open()))
    shown = page.run("""[...document.querySelectorAll('.board tbody.item')].map(e => [
        e.id, e.querySelector('.headline').dataset.sort, e.querySelector('.bar title').textContent,
        e.querySelector('.mean')?.getAttribute('cx')])""")
    assert len(shown) == len(lines)
    places = []
    for line, (identity, value, title, at) in zip(lines, shown, strict=True):
        assert line["entries"].startswith(identity)
        assert float(line["mpjpe_mm"]) == pytest.approx(float(value), abs=1e-3)
        low, high = float(line["mpjpe_mm_low"]), float(line["mpjpe_mm_high"])
        assert title == f"MPJPE {float(line['mpjpe_mm']):.1f} mm, 95 % interval {low:.1f} to {high:.1f}"
        places += [] if at is None else [(float(value), float(at.rstrip("%")))]
    ordered = sorted(places)
    assert [at for _, at in ordered] == sorted(at for _, at in ordered)
    (first, start), (last, end) = ordered[0], ordered[-1]
    for value, at in ordered:
        assert at == pytest.approx(start + (end - start) * (value - first) / (last - first), abs=0.11)


def test_the_first_screen_holds_the_answer_and_twelve_rows(page: Page) -> None:
    page.size(1440)
    assert page.run("document.querySelector('.answer').getBoundingClientRect().bottom") < 200
    assert page.run("document.querySelectorAll('.board tbody.item')[11].getBoundingClientRect().top") < 900
    assert page.run("document.querySelector('.repeat pre').offsetHeight") < 36
    high = "[...document.querySelectorAll('.board .main')].filter(e => e.offsetHeight > 46).map(e => e.textContent)"
    assert [name for name in page.run(high) if "undefined" not in name] == []
    assert page.run("document.querySelector('.board').scrollWidth <= document.querySelector('.wide-table').clientWidth")
    page.run("scrollTo({top: 600, behavior: 'instant'})")
    assert page.run("document.querySelector('.board thead th').getBoundingClientRect().top") == 0


def test_print_keeps_every_column(page: Page) -> None:
    page.size(1040)
    page.call("Emulation.setEmulatedMedia", media="print")
    assert page.run("getComputedStyle(document.querySelector('.wide-table')).overflowX") == "visible"
    assert page.run("document.querySelector('.board').getBoundingClientRect().right") <= 1040
    assert not page.run("document.querySelector('.filters').checkVisibility()")
    page.call("Emulation.setEmulatedMedia", media="")


def test_sorting_keeps_a_row_and_its_provenance_together(page: Page) -> None:
    page.click(head("Method"))
    names = [name.lower() for name in methods(page)]
    assert names.index("half-done") < names.index("martinez") < names.index("transfer")
    assert page.run(
        "[...document.querySelectorAll('.board tbody.item')].every(body => body.rows.length === 2 "
        "&& body.rows[1].querySelector('.record a').getAttribute('href').includes(body.id.split('-')[0]))"
    )


def test_a_reported_table_is_sorted_for_itself_and_gaps_come_last(page: Page) -> None:
    for sign in (1, -1):
        page.click("table.reported th:last-child .sort")
        *shown, last = page.run(
            "[...document.querySelectorAll('table.reported td:last-child')].map(e => e.textContent)"
        )
        values = [sign * float(text) for text in shown]
        assert values == sorted(values)
        assert last == "–"
    assert sorted_by(page) == [[0, "ascending"]]


def test_filters_search_supervision_and_kind_of_row(page: Page) -> None:
    everything = len(methods(page))
    page.click("input[type=search]")
    page.type("sweep weight=3")
    page.until("document.querySelectorAll('.board tbody.item:not([hidden])').length === 1")
    assert methods(page) == ["sweep-3"]
    assert page.run("document.querySelector('.count').textContent") == "1 of 32 rows"
    assert page.run("document.querySelectorAll('.heat tr[data-of]:not([hidden])').length") == 4
    assert page.run("document.querySelectorAll('polyline:not([hidden])').length") == 1
    choose(page, "input[name=text]", "")
    assert len(methods(page)) == everything
    choose(page, "select[name=level]", "full")
    assert set(methods(page)) == {"transfer", "integral", "near-integral"}
    choose(page, "select[name=kind]", "reported")
    assert page.run("document.getElementById('measured').hidden")
    assert not page.run("document.getElementById('reported').hidden")
    choose(page, "select[name=level]", "fully supervised")
    assert page.run("document.querySelectorAll('table.reported tbody tr:not([hidden])').length") == 5
    choose(page, "select[name=level]", HOSTILE_LEVEL)
    choose(page, "select[name=kind]", "measured")
    assert len(methods(page)) == 1
    choose(page, "input[name=text]", "nobody is called so")
    assert methods(page) == []
    assert page.run("document.querySelector('.nothing').checkVisibility()")


HOSTILE_LEVEL = "".join(char if char.isprintable() else " " for char in HOSTILE)


def choose(page: Page, selector: str, value: str) -> None:
    page.run(
        f"(() => {{ const e = document.querySelector({json.dumps(selector)}); e.value = {json.dumps(value)}; "
        "e.dispatchEvent(new Event('input', {bubbles: true})); })()"
    )
    assert page.run(f"document.querySelector({json.dumps(selector)}).value") == value


def test_provenance_is_unfolded_by_mouse_and_by_keyboard(page: Page) -> None:
    shown = "document.querySelector('.board .digest').checkVisibility()"
    assert not page.run(shown)
    page.click(".board summary")
    assert page.run(shown)
    page.run("document.querySelector('.board summary').focus()")
    page.press("Enter")
    assert not page.run(shown)


def test_an_address_with_a_row_opens_it(page: Page, boards: Path) -> None:
    name = page.run("document.querySelectorAll('.board tbody.item')[3].id")
    unfolded = "document.querySelectorAll('.board tbody.item')[3].querySelector('details').open"
    assert not page.run(unfolded)
    page.open(boards / "street-test" / "index.html", f"#{name}")
    page.until(unfolded)
    page.open(boards / "index.html")
    page.open(boards / "street-test" / "index.html", f"#{name}")
    assert page.run(unfolded)


def test_a_command_is_copied(page: Page, browser: Browser) -> None:
    browser.call("Browser.grantPermissions", {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]})
    page.call("Page.bringToFront")
    page.click(".board summary")
    page.click(".board .copy")
    page.until("document.querySelector('.board .copy').textContent === 'Copied'")
    command = page.run("document.querySelector('.board pre code').textContent")
    assert page.run("document.querySelector('.repeat pre code').textContent") == command
    first = page.run("document.querySelector('.board .method').textContent.trim()")
    assert command.startswith(f"kt3d train --method {first}")
    assert page.run("navigator.clipboard.readText()") == command


@pytest.mark.parametrize("copies", [True, False])
def test_a_command_is_copied_or_selected_where_the_clipboard_is_closed(page: Page, copies: bool) -> None:
    page.run("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    if not copies:
        page.run("document.execCommand = () => false")
    page.click(".board summary")
    page.click(".board .copy")
    page.until("document.querySelector('.board .copy').textContent !== 'Copy'")
    said = page.run("document.querySelector('.board .copy').textContent")
    assert said == ("Copied" if copies else "Selected: press Ctrl+C")
    assert page.run("getSelection().toString() === document.querySelector('.board pre code').textContent")


def test_colours_follow_the_system_and_the_button_and_are_kept(page: Page, boards: Path) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    page.prefer("light")
    light = page.run(ground)
    page.prefer("dark")
    dark = page.run(ground)
    assert light != dark
    page.click(".theme")
    assert page.run(ground) == light
    page.open(boards / "index.html")
    assert page.run(ground) == light
    page.click(".theme")
    assert page.run(ground) == dark
    page.run("localStorage.clear()")


def test_everything_is_reached_by_keyboard_and_focus_is_seen(page: Page) -> None:
    seen = []
    for _ in range(30):
        page.press("Tab")
        seen.append(page.run("document.activeElement.className || document.activeElement.tagName"))
        width, style = page.run("(s => [s.outlineWidth, s.outlineStyle])(getComputedStyle(document.activeElement))")
        assert style != "none"
        assert width != "0px"
    assert seen[0] == "skip"
    assert "sort" in seen
    page.run(f"document.querySelector({json.dumps(head('MPJPE'))}).focus()")
    page.press("Enter")
    assert sorted_by(page) == [[2, "ascending"]]
    page.press(" ")
    assert sorted_by(page) == [[2, "descending"]]


def test_the_figure_shows_the_row_that_is_chosen(page: Page) -> None:
    ankle = "document.querySelector('.figure [data-joint=left_ankle] text').textContent"
    row = "document.querySelectorAll('.figure-split tbody tr')[4]"
    place = page.run("document.querySelector('th[data-joint=left_ankle]').cellIndex")
    before = page.run(ankle)
    page.click(".figure-split tbody tr:nth-child(5) input")
    assert page.run(ankle) == page.run(f"{row}.cells[{place}].textContent") != before
    assert page.run("document.querySelector('.person .shown').textContent") == page.run(
        f"{row}.querySelector('bdi').textContent"
    )
    assert page.run("document.querySelector('.figure [data-joint=left_ankle]').classList.contains('none')") is False
    page.press("ArrowDown")
    assert page.run("document.querySelectorAll('.figure-split input')[5].checked")


def test_the_threshold_moves_and_curves_are_coloured_in_turn(page: Page) -> None:
    choose(page, ".threshold input", "50")
    assert page.run("document.querySelector('.threshold output').textContent") == "50 mm"
    assert page.run("document.querySelector('.curves-key .at').textContent") == "50"
    assert page.run(
        "[...document.querySelectorAll('.curves-key tbody tr')].every("
        "row => row.querySelector('.pck').textContent === row.dataset.shares.split(' ')[10])"
    )
    coloured = "document.querySelectorAll('polyline[class*=\" t\"]').length"
    assert page.run(coloured) == 6
    page.click(".curves-key tbody tr:nth-child(2) .pick")
    assert page.run(coloured) == 5
    page.click(".curves-key tbody tr:nth-child(9) .pick")
    page.click(".curves-key tbody tr:nth-child(10) .pick")
    assert page.run(coloured) == 6
    tones = page.run("[...document.querySelectorAll('polyline[class*=\" t\"]')].map(e => e.getAttribute('class'))")
    assert len(set(tones)) == 6


@pytest.mark.parametrize("width", [360, 390, 768, 1081, 1280])
def test_no_page_scrolls_sideways(page: Page, boards: Path, width: int) -> None:
    for path in sorted(boards.rglob("index.html")):
        page.size(width)
        page.open(path)
        page.run("document.querySelectorAll('details').forEach(e => { e.open = true; })")
        assert page.run("document.documentElement.scrollWidth") <= width, path


@pytest.mark.parametrize("width", [1081, 1280])
def test_the_header_stays_in_sight_and_no_box_hides_rows(page: Page, boards: Path, width: int) -> None:
    page.size(width)
    page.open(boards / "street-test" / "index.html")
    page.run("scrollTo(0, document.querySelector('.board tbody').getBoundingClientRect().top + scrollY + 100)")
    assert page.run("scrollY") > 100
    assert page.run("document.querySelector('.board th.headline').getBoundingClientRect().top") == 0
    inner = "[...document.querySelectorAll('.scroll')].filter(e => e.scrollHeight > e.clientHeight + 1).length"
    assert page.run(inner) == 0


@pytest.mark.parametrize("width", [390, 768, 1081, 1440])
def test_every_method_is_named_in_sight(page: Page, boards: Path, width: int) -> None:
    page.size(width)
    page.open(boards / "street-test" / "index.html")
    shown = "[...document.querySelectorAll('.board .method')].map(e => [e.offsetHeight, e.scrollHeight, e.offsetWidth])"
    sizes = page.run(shown)
    assert len(sizes) > 5
    assert [size for size in sizes if size[0] < 12 or size[2] < 8] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_has_contrast(page: Page, boards: Path, scheme: str) -> None:
    page.prefer(scheme)
    for path in sorted(boards.rglob("index.html")):
        page.open(path)
        page.run("document.querySelectorAll('details').forEach(e => { e.open = true; })")
        assert page.run(PALE) == [], path


def test_names_from_strangers_stay_text(page: Page, boards: Path) -> None:
    for path in sorted(boards.rglob("index.html")):
        page.open(path)
        assert page.run("document.title") != "hurt"
        turned = 'class="turning"' in path.read_text()
        assert page.run("document.scripts.length") == 1 + turned
        assert page.run(
            "[...document.querySelectorAll('*')].flatMap(e => [...e.attributes]).every("
            "a => !a.name.startsWith('on') && !/^\\s*javascript:/i.test(a.value))"
        )
    assert page.run("document.querySelectorAll('a[href^=\"https://example.org/code\"]').length") == 1
    assert page.run("document.body.textContent.includes('</title></script><script>')")


def test_the_policy_lets_no_other_script_run(page: Page) -> None:
    page.run(
        "document.body.insertAdjacentHTML('beforeend', '<img src=\"data:,x\" onerror=\"document.title=`hurt`\">');"
        "const s = document.createElement('script'); s.textContent = 'document.title=`hurt`'; document.body.append(s);"
        "const i = new Image(); i.src = 'http://127.0.0.1:9/x.png';"
        "fetch('http://127.0.0.1:9/').catch(() => 0)"
    )
    assert page.run("document.title") != "hurt"
    refused = " ".join(said for said in page.messages if "Content Security Policy" in said)
    for what in ("inline event handler", "inline script", "x.png", "http://127.0.0.1:9/'"):
        assert what in refused
    page.messages.clear()
    page.requests.clear()


def test_without_scripts_the_page_is_still_read(browser: Browser, boards: Path) -> None:
    page = browser.page()
    page.call("Emulation.setScriptExecutionDisabled", value=True)
    page.open(boards / "street-test" / "index.html")
    page.call("Emulation.setScriptExecutionDisabled", value=False)
    assert page.run("document.documentElement.className") == ""
    assert len(methods(page)) == 23
    assert page.run("[...document.querySelectorAll('.js-only')].every(e => !e.checkVisibility())")
    page.click(".board summary")
    assert page.run("document.querySelector('.board .digest').checkVisibility()")
    page.close()


def test_the_index_leads_to_every_board_and_filters_them(page: Page, boards: Path) -> None:
    page.open(boards / "index.html")
    links = page.run("[...document.querySelectorAll('td.name a')].map(e => e.href)")
    assert {Path(link.removeprefix("file://")) for link in links} == {
        path for path in boards.rglob("index.html") if path.parent != boards
    }
    rows = "[...document.querySelectorAll('tr[data-item]:not([hidden]) code')].map(e => e.textContent)"
    assert page.run(rows) == ["room-test", "street-test", "generated/street-test"]
    choose(page, "select[name=modality]", "depth")
    assert page.run(rows) == ["room-test"]
    choose(page, "select[name=modality]", "")
    choose(page, "select[name=origin]", "standin")
    assert page.run(rows) == ["generated/street-test"]


def turned(page: Page) -> list[list[float]]:
    """What the first drawing's paths say, as numbers."""
    found = page.run("""[...document.querySelector('.turned-pose').querySelectorAll('path')].map(
        e => e.getAttribute('d').match(/-?\\d+/g).map(Number))""")
    return [list(map(float, one)) for one in found]


def expected(page: Page, degrees: float) -> list[list[float]]:
    """The first drawing's bones, seen after a turn about the vertical axis through the hip."""
    ends = page.run("[...document.querySelector('.turned-pose').querySelectorAll('path')].map(e => e.dataset.ends)")
    found = []
    for text in ends:
        points = np.array(text.split(), float).reshape(-1, 3)
        points = points @ Rotation.from_euler("y", degrees, degrees=True).as_matrix().T
        found.append(points[:, :2].ravel().tolist())
    return found


def test_poses_turn_by_the_last_of_several_sightings(tab: Page, boards: Path) -> None:
    tab.open(boards / "generated" / "street-test" / "index.html")
    turned = tab.run("""(() => {
        let tell, asked;
        matchMedia = () => ({matches: false, addEventListener() {}});
        IntersectionObserver = class { constructor(told) { tell = told; } observe() {} };
        document.dispatchEvent(new Event('DOMContentLoaded'));
        const kept = requestAnimationFrame;
        const turns = (...seen) => {
          asked = 0;
          requestAnimationFrame = () => ++asked;
          tell(seen.map(isIntersecting => ({isIntersecting})));
          requestAnimationFrame = kept;
          return asked;
        };
        return [turns(true, false), turns(false, true)];
    })()""")
    assert turned == [0, 1]


@pytest.mark.parametrize("place", ["generated/street-test", ""])
def test_six_samples_are_shown_under_two_rows_as_the_file_says(tab: Page, boards: Path, place: str) -> None:
    document = json.loads((boards / "generated" / "street-test" / SAMPLES).read_text())
    tab.open(boards / place / "index.html")
    shown = tab.run("""[...document.querySelectorAll('.turn-list li')].map(e => [
        e.querySelector('.key').textContent, [...e.querySelectorAll('.error')].map(f => f.textContent),
        [...e.querySelectorAll('svg')].map(f => f.getAttribute('aria-label')),
        [...e.querySelectorAll('figcaption a')].map(f => f.href)])""")
    assert len(shown) == len(document["samples"]) == 6
    for sample, (key, errors, labels, links) in zip(document["samples"], shown, strict=True):
        assert key.split()[0] == sample["key"].split()[0]
        for row, pose in enumerate(sample["predicted_mm"]):
            if None in pose:
                assert errors[row] == "no answer"
            else:
                off = np.linalg.norm(np.array(pose) - np.array(sample["true_mm"]), axis=1).mean()
                assert errors[row] == f"{off:.1f} mm"
            assert errors[row] in labels[row]
            assert document["rows"][row]["entry"].startswith(links[row].partition("#")[2])
            assert Path(links[row].removeprefix("file://").partition("#")[0]).is_file()
    tab.run("document.querySelector('.turning').scrollIntoView({behavior: 'instant'})")
    tab.run("document.querySelector('.turning button').click()")
    assert tab.run("document.querySelectorAll('.turn-list img').length") == 6


def test_samples_turn_together_by_mouse_and_keyboard(tab: Page, boards: Path) -> None:
    tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-reduced-motion", "value": "reduce"}])
    tab.open(boards / "index.html")
    tab.run("document.querySelector('.turning').scrollIntoView({behavior: 'instant'})")
    assert turned(tab) == expected(tab, 0)
    tab.run("document.querySelector('.turning input').focus()")
    tab.press("ArrowRight")
    assert tab.run("document.querySelector('.turning input').getAttribute('aria-valuetext')") == "1 degrees"
    choose(tab, ".turning input", "90")
    for seen, right in zip(turned(tab), expected(tab, 90), strict=True):
        assert seen == pytest.approx(right, abs=0.51)
    x, y = tab.run(
        "(r => [r.x + r.width / 2, r.y + 40])(document.querySelector('.turned-pose').getBoundingClientRect())"
    )
    tab.drag((x, y), (x - 100, y))
    for seen, right in zip(turned(tab), expected(tab, 20), strict=True):
        assert seen == pytest.approx(right, abs=0.51)


def test_samples_turn_by_themselves_where_motion_is_allowed_and_stop(tab: Page, boards: Path) -> None:
    tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-reduced-motion", "value": "no-preference"}])
    tab.open(boards / "generated" / "street-test" / "index.html")
    tab.call("Page.bringToFront")
    tab.run("document.querySelector('.turning').scrollIntoView({behavior: 'instant'})")
    tab.until("Number(document.querySelector('.turning input').value) > 2")
    tab.click(".turning button")
    assert tab.run("document.querySelector('.turning button').textContent") == "Turn"
    stopped = turned(tab)
    tab.run("new Promise(done => setTimeout(done, 100))")
    assert turned(tab) == stopped
