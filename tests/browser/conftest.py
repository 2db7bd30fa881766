"""One headless browser per test process; tests that need it are skipped where none starts."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from browser_chromium import Browser, BrowserError, Page, chromium

NEEDED = "KT3D_NEEDS_CHROMIUM"
"""Environment variable: set where a browser was installed for the tests, which then must not be skipped."""


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    program = chromium()
    try:
        if program is None:
            raise BrowserError("no Chromium on this machine: apt-get install chromium")
        running = Browser(program)
    except BrowserError as error:
        if os.environ.get(NEEDED):
            raise
        pytest.skip(f"not tested in a browser: {error}")
    with running:
        yield running


@pytest.fixture
def tab(browser: Browser) -> Iterator[Page]:
    """A fresh tab at desktop width. Whatever a test does, nothing may complain or ask the network for anything."""
    page = browser.page()
    page.size(1280)
    yield page
    assert page.messages == []
    assert [one for one in page.requests if not one.startswith(("file:", "data:", "blob:"))] == []
    page.close()
