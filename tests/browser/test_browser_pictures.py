"""The page of predicted pictures in a real browser: poses turn in 3D, pictures keep their shape, names stay text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from browser_boards import HOSTILE
from browser_chromium import Page

from kt3d_bench.pictures.inputs import Picture
from kt3d_bench.pictures.output import InputRecord, Record
from kt3d_bench.pictures.page import Gallery, write_page
from kt3d_bench.pictures.people import Found, Person, pose_of
from kt3d_bench.records import Camera

KNOWN = "willReadFrequently"
"""A hint of the browser's on how plotly.js measures text; no fault."""


def written(path: Path) -> Path:
    """Write the page of two people in one wide picture, one of them partly outside."""
    record, gallery = Record({"model": HOSTILE, "boxes": "given", "smoothed": False}), Gallery(True)
    record.inputs.append(InputRecord(HOSTILE, "image", (400, 200), "camera: given", people=2, notes=[HOSTILE]))
    picture = Picture(HOSTILE, np.full((200, 400, 3), 90, np.uint8))
    camera = Camera.pinhole((300.0, 300.0), (199.5, 99.5), (400, 200))
    rng = np.random.default_rng(0)
    for number, x in enumerate((-800.0, 1900.0)):
        joints = np.array([x, 0.0, 3000.0]) + rng.normal(0, 300, (17, 3))
        pose = pose_of(Person(picture, camera, np.array([0.0, 0, 199, 199]), number), Found(joints, "height", None))
        record.add(pose)
        gallery.offer(pose, 0, number)
    return write_page(path, record, gallery)


def test_the_page_of_pictures(tab: Page, tmp_path: Path) -> None:
    tab.call("Page.bringToFront")
    tab.open(written(tmp_path / "index.html"))
    tab.run("document.querySelector('.stage3d').scrollIntoView()")
    tab.until("document.querySelector('.stage3d').dataset.drawn && document.querySelector('.stage3d canvas')")
    shape = tab.run(
        "(() => { const i = document.querySelector('.frame img'); return i.clientWidth / i.clientHeight; })()"
    )
    assert abs(shape - 2) < 0.05
    assert tab.run("document.querySelectorAll('.sample:not([hidden])').length") == 1
    tab.click("#tab-1")
    tab.until("document.querySelector('#panel-1 .stage3d').dataset.drawn")
    absent = int(tab.run("document.querySelectorAll('#panel-1 td[colspan]').length"))
    assert 0 < absent < 17
    assert f"{absent} of 17 joints absent" in tab.run("document.querySelector('#panel-1 header').textContent")
    assert "<script>document.title='hurt'</script>" in tab.run("document.querySelector('h1').textContent")
    assert tab.run("document.title") != "hurt"
    for width in (390, 1280):
        tab.size(width)
        assert tab.run("document.documentElement.scrollWidth") <= width
    tab.messages[:] = [message for message in tab.messages if KNOWN not in message]
