"""A run's report in a real browser: the 3D view turned by mouse and by keys, samples switched, curves read."""

from __future__ import annotations

import base64
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from browser_boards import HOSTILE
from browser_chromium import PALE, Browser, Page

sys.path.insert(0, str(Path(__file__).parents[1] / "report"))

from report_fake import benchmarks, document, log_lines, whole_run, write_document

from kt3d_bench.report import build

STAGE = ".sample:not([hidden]) .stage3d"
KNOWN = "willReadFrequently"
"""A hint of the browser's on how plotly.js measures text; no fault."""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = whole_run(tmp_path_factory.mktemp("report"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build.registry, "benchmarks", benchmarks)
        return build.write_report(run)


@pytest.fixture
def page(tab: Page, report: Path) -> Iterator[Page]:
    tab.call("Page.bringToFront")
    tab.open(report)
    yield tab
    tab.messages[:] = [message for message in tab.messages if KNOWN not in message]


def seen(page: Page) -> None:
    """Bring the 3D view into sight and wait until it is drawn."""
    page.run(f"document.querySelector('{STAGE}').scrollIntoView({{block: 'center', behavior: 'instant'}})")
    page.until(f"document.querySelector('{STAGE}').dataset.drawn && document.querySelector('{STAGE} canvas')")


def middle(page: Page) -> tuple[float, float]:
    x, y = page.run(
        f"(() => {{ const r = document.querySelector('{STAGE}').getBoundingClientRect(); "
        "return [r.x + r.width / 2, r.y + r.height / 2]; })()"
    )
    return float(x), float(y)


def camera(page: Page) -> tuple[float, float, float]:
    """Azimuth and elevation in degrees, distance, as the report notes them."""
    azimuth, elevation, distance = str(page.run(f"document.querySelector('{STAGE}').dataset.camera")).split()
    return float(azimuth), float(elevation), float(distance)


def plotted(page: Page) -> tuple[float, float, float]:
    """Where plotly.js says that its own camera is."""
    eye = page.run(f"document.querySelector('{STAGE} .plot')._fullLayout.scene._scene.getCamera().eye")
    return float(eye["x"]), float(eye["y"]), float(eye["z"])


def pixels(page: Page) -> np.ndarray:
    """What the 3D view shows, once it has come to rest."""
    before = np.zeros(())
    for _ in range(20):
        x, y, width, height = page.run(
            f"(() => {{ const r = document.querySelector('{STAGE}').getBoundingClientRect(); "
            "return [r.x + scrollX, r.y + scrollY, r.width, r.height]; })()"
        )
        clip = {"x": x, "y": y, "width": width, "height": height, "scale": 1}
        shot = page.call("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)
        now = cv2.imdecode(np.frombuffer(base64.b64decode(shot["data"]), np.uint8), cv2.IMREAD_COLOR)
        if before.shape == now.shape and np.array_equal(before, now):
            return np.asarray(now, np.int64)
        before = now
    return np.asarray(before, np.int64)


def changed(first: np.ndarray, second: np.ndarray) -> float:
    return float((np.abs(first - second).max(axis=-1) > 30).mean())


def test_the_view_starts_when_it_is_seen_and_shows_both_skeletons(page: Page) -> None:
    assert page.run("typeof Plotly") == "undefined"
    seen(page)
    assert page.run("typeof Plotly") == "object"
    assert page.run("document.querySelectorAll('canvas').length") >= 1
    page.click("[role=tab]:last-child")
    page.until(f"document.querySelector('{STAGE}').dataset.drawn?.startsWith('8 ')")
    picture = pixels(page)
    teal = (picture[..., 1] - picture[..., 2] > 50).sum()
    orange = (picture[..., 2] - picture[..., 0] > 80).sum()
    assert min(teal, orange) > 300


def test_the_view_is_turned_by_mouse_by_keys_and_by_buttons(page: Page) -> None:
    seen(page)
    before, at, start = pixels(page), camera(page), middle(page)
    page.drag(start, (start[0] + 160, start[1]))
    page.until(f"document.querySelector('{STAGE}').dataset.camera !== '{' '.join(f'{one:.1f}' for one in at)}'")
    assert abs(camera(page)[0] - at[0]) > 10
    turned = pixels(page)
    assert changed(before, turned) > 0.005

    page.click("[data-view=front]")
    azimuth, elevation, distance = camera(page)
    assert (azimuth, elevation) == (0.0, 4.0)
    page.run(f"document.querySelector('{STAGE}').focus({{preventScroll: true}})")
    for _ in range(4):
        page.press("ArrowRight")
    page.press("ArrowDown")
    page.until(f"document.querySelector('{STAGE}').dataset.camera.startsWith('40.0 -6.0')")
    assert changed(turned, pixels(page)) > 0.005
    x, y, z = plotted(page)
    assert np.degrees(np.arctan2(x, -y)) == pytest.approx(40, abs=0.5)
    assert z == pytest.approx(distance * np.sin(np.radians(-6)), abs=0.02)
    page.press("ArrowLeft")
    assert camera(page)[0] == pytest.approx(30, abs=0.11)

    page.click("[data-view=side]")
    assert camera(page)[:2] == (90.0, 4.0)
    page.click("[data-view=top]")
    assert camera(page)[:2] == (0.0, 85.0)
    page.click("[data-view=in]")
    assert camera(page)[2] < distance


def test_sample_alignment_and_skeletons_are_chosen(page: Page) -> None:
    seen(page)
    page.click("[data-view=side]")
    page.click("[role=tab]:nth-child(4)")
    page.until(f"document.querySelector('{STAGE}').dataset.drawn?.startsWith('3 ')")
    assert "Median 1 110.0 mm" in page.run("document.querySelector('.sample:not([hidden]) h3').textContent")
    assert camera(page)[:2] == (90.0, 4.0)
    page.press("ArrowRight")
    assert page.run("document.activeElement.getAttribute('aria-selected')") == "true"
    assert "Median 2" in page.run("document.querySelector('.sample:not([hidden]) h3').textContent")
    assert page.run("document.querySelectorAll('.sample:not([hidden])').length") == 1
    assert page.run("document.querySelectorAll('.plot').length") == 1

    page.click("[role=tab]:last-child")
    page.until(f"document.querySelector('{STAGE}').dataset.drawn?.startsWith('8 measured')")
    far = pixels(page)
    page.run(
        "(() => { const s = document.querySelector('[data-align]'); s.value = 'aligned'; "
        "s.dispatchEvent(new Event('change')); })()"
    )
    page.until(f"document.querySelector('{STAGE}').dataset.drawn?.startsWith('8 aligned')")
    assert changed(far, pixels(page)) > 0.005
    page.click("[data-show=true]")
    assert page.run("getComputedStyle(document.querySelector('.sample:not([hidden]) .over .true')).display") == "none"
    page.until(f"document.querySelector('{STAGE} .plot').data.length === 3")


def test_a_joint_is_read_by_pointing_at_it_and_a_row_shows_its_joint(page: Page) -> None:
    page.click("[role=tab]:last-child")
    page.run(
        "document.querySelector('.sample:not([hidden]) .over .pred circle:nth-of-type(3)')"
        ".dispatchEvent(new MouseEvent('click', {bubbles: true}))"
    )
    assert page.run("document.querySelector('.sample:not([hidden]) .readout').textContent") == (
        "right knee, predicted: 190 mm off"
    )
    page.run(
        "document.querySelector('.sample:not([hidden]) .joints-list tr[data-joint=\"2\"]')"
        ".dispatchEvent(new PointerEvent('pointerenter'))"
    )
    marked = page.run("[...document.querySelectorAll('circle.on title')].map(e => e.textContent)")
    assert len(marked) == 8
    assert all(title.startswith("right knee") for title in marked)


def test_a_curve_is_read_under_the_pointer(page: Page) -> None:
    x, y, width = page.run(
        "(() => { const e = document.querySelector('.panel svg'); "
        "e.scrollIntoView({block: 'center', behavior: 'instant'}); "
        "const r = e.getBoundingClientRect(); return [r.x, r.y + r.height / 2, r.width]; })()"
    )
    page.call("Input.dispatchMouseEvent", type="mouseMoved", x=x + width * 46 / 300, y=y)
    page.until("document.querySelector('.panel .read').textContent === '8.433 at 1'")
    page.call("Input.dispatchMouseEvent", type="mouseMoved", x=x + width * 292 / 300, y=y)
    page.until("document.querySelector('.panel .read').textContent === '5.833 at 40'")


def test_small_screens_do_not_scroll_sideways_and_the_view_follows_the_theme(page: Page) -> None:
    page.prefer("light")
    for width in (768, 390, 360):
        page.size(width, 800)
        seen(page)
        assert page.run("document.documentElement.scrollWidth") <= width
    light = pixels(page)
    page.run("document.querySelector('.theme').click()")
    assert page.run("document.documentElement.dataset.theme") == "dark"
    assert pixels(page).mean() < light.mean() - 80
    page.run("document.querySelector('.theme').click()")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_has_contrast(page: Page, scheme: str) -> None:
    page.prefer(scheme)
    page.run("document.querySelectorAll('details').forEach(e => { e.open = true; })")
    assert page.run(PALE) == []


def test_hostile_names_stay_text_and_no_other_script_runs(tab: Page, tmp_path: Path) -> None:
    run = whole_run(tmp_path, origin="official")
    content = document(tmp_path / "shards" / "yard", command=HOSTILE, state=HOSTILE)
    content["config"] |= {"method": HOSTILE, "preset": HOSTILE}
    content["stages"][0]["name"] = HOSTILE
    write_document(run, content)
    (run / "log.jsonl").write_text(log_lines({HOSTILE: 20}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build.registry, "benchmarks", benchmarks)
        tab.open(build.write_report(run))
    assert tab.run("document.title") == "toy-yard · kt3d report"
    assert tab.run("document.body.textContent.includes('</title></script><script>')")
    assert tab.run("document.documentElement.scrollWidth") <= 1280
    tab.run(
        "document.body.insertAdjacentHTML('beforeend', '<img src=\"data:,x\" onerror=\"document.title=`hurt`\">');"
        "const s = document.createElement('script'); s.textContent = 'document.title=`hurt`'; document.body.append(s);"
    )
    assert tab.run("document.title") == "toy-yard · kt3d report"
    assert len([said for said in tab.messages if "Content Security Policy" in said]) >= 2
    tab.messages.clear()


def test_without_webgl_the_drawings_stay(page: Page) -> None:
    page.run("HTMLCanvasElement.prototype.getContext = () => null")
    page.run(f"document.querySelector('{STAGE}').scrollIntoView({{block: 'center', behavior: 'instant'}})")
    page.until(f"document.querySelector('{STAGE} .said')?.textContent.startsWith('This browser cannot')")
    assert page.run(f"document.querySelector('{STAGE} .flats').offsetHeight") > 100


def test_without_scripts_every_sample_is_shown(browser: Browser, report: Path) -> None:
    bare = browser.page()
    bare.call("Emulation.setScriptExecutionDisabled", value=True)
    bare.open(report)
    bare.call("Emulation.setScriptExecutionDisabled", value=False)
    assert bare.run("[...document.querySelectorAll('.sample')].filter(e => e.offsetHeight > 100).length") == 9
    assert bare.run("getComputedStyle(document.querySelector('.tabs')).display") == "none"
    bare.close()
