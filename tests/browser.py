"""Debian's chromium driven through playwright, and what every page must stand: no sideways scrolling, axe-core finds nothing."""

from pathlib import Path

import axe_core_python
import pytest

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-sync",
]
AXE = next(Path(axe_core_python.__file__).parent.rglob("axe*.js")).read_text("utf-8")
VIEWS = [("ja", 320), ("en", 320), ("ja", 1280), ("en", 1280)]
JOURNEY = [
    pytest.mark.journey,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="Debian's chromium is not installed"),
]


MEASURE = """() => {
  const main = document.querySelector('main').getBoundingClientRect();
  return [document.querySelectorAll('h1').length, document.documentElement.lang, main.left, main.right,
    document.documentElement.scrollWidth];
}"""


def sound(page):
    """No sideways scrolling of the page, right language, one first heading."""
    page.wait_for_load_state()  # with its style
    headings, lang, left, right, needed = page.evaluate(MEASURE)
    width = page.viewport_size["width"]
    assert (headings, lang) == (1, page.lang), page.url
    assert 0 <= left < right <= width + 1, page.url
    assert needed <= width, page.url


def sign_in(page, url, field, secret):
    page.goto(f"{url}/signin?lang={page.lang}")
    page.fill(field, secret)
    page.press(field, "Enter")


def violations(page, *rules):
    """What axe-core (or some of its rules) has against the page; its own policy must be set aside for the checker (``bypass_csp``)."""
    page.evaluate(AXE)
    only = {"runOnly": {"type": "rule", "values": list(rules)}} if rules else {}
    return page.evaluate(
        "async (o) => (await axe.run(o)).violations.map(v => v.id + ': ' + v.nodes.map(n => n.html).join(' '))",
        {"resultTypes": ["violations"], **only},
    )


def tab_to(page, selector, most=80):
    """Go on with the Tab key until what ``selector`` names has the focus, and can be seen to have it."""
    for _ in range(most):
        page.keyboard.press("Tab")
        if page.evaluate("(s) => document.activeElement.matches(s)", selector):
            shown = page.evaluate(
                "() => { const s = getComputedStyle(document.activeElement); return s.outlineStyle !== 'none' || s.boxShadow !== 'none' }"
            )
            assert shown, f"{selector}: nobody sees where the focus is"
            return
    raise AssertionError(f"{selector} is not reached with the keyboard")
