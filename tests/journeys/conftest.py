"""One browser for all journeys; a page without script in each view."""

import pytest
from playwright.sync_api import sync_playwright

from tests.browser import CHROMIUM, FLAGS, VIEWS


@pytest.fixture(scope="package")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def opened(browser):
    """Opens pages of one language and width, each with cookies of its own."""
    contexts = []

    def open_(lang, width):
        context = browser.new_context(viewport={"width": width, "height": 800}, locale=lang, java_script_enabled=False)
        contexts.append(context)
        page = context.new_page()
        page.lang = lang
        return page

    yield open_
    for context in contexts:
        context.close()


@pytest.fixture(params=VIEWS, ids=lambda v: f"{v[0]}-{v[1]}")
def page(request, opened):
    return opened(*request.param)
