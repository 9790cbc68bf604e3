# SPDX-License-Identifier: GPL-3.0-or-later
"""The page as readers have it, in Chromium: on a phone, at a desk, in the dark, on paper, and by a screen reader."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import pytest

from plugins.plugin_utils.report import answers, render
from tests.support import fleets
from tests.support.browser import Browser

SIZES: t.Final = (1, 3, 300)
LONG: t.Final = "a" * 240  # a name that no line can be broken in

# Of each text that is seen: [ratio, text]; colours are what the browser has worked out.
CONTRAST: t.Final = """(() => {
  const numbers = (text) => text.match(/[0-9.]+/g).map(Number);
  const light = (rgb) => rgb.slice(0, 3).map((one) => {
    const part = one / 255; return part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  }).reduce((sum, part, at) => sum + part * [0.2126, 0.7152, 0.0722][at], 0);
  const behind = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const colour = numbers(getComputedStyle(one).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const one of document.querySelectorAll('body *')) {
    const text = [...one.childNodes].filter((node) => node.nodeType === 3).map((node) => node.data.trim()).join('');
    if (!text || !one.checkVisibility() || one.closest('svg')) continue;
    const [a, b] = [numbers(getComputedStyle(one).color), behind(one)].map(light).sort((x, y) => y - x);
    found.push([(a + 0.05) / (b + 0.05), text]);
  }
  const card = getComputedStyle(document.querySelector('.node')).backgroundColor;
  for (const one of document.querySelectorAll('pattern')) {
    const [a, b] = [getComputedStyle(one).fill, card].map(numbers).map(light).sort((x, y) => y - x);
    found.push([(a + 0.05) / (b + 0.05) * 1.5, one.id]);  // of a figure 3 to 1 is asked
  }
  return found;
})()"""

# Elements that stick out, where the page is wider than the window.
OVERFLOW: t.Final = """(() => {
  const wide = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= wide) return [];
  return [...document.querySelectorAll('body *')].filter((one) => one.getBoundingClientRect().right > wide + 0.5)
    .slice(0, 5).map((one) => one.outerHTML.slice(0, 200)).concat(['the page']);
})()"""

OPEN_ALL: t.Final = "document.querySelectorAll('details').forEach((one) => { one.open = true })"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """By the number of nodes; `odd`: with names that are no good for a phone."""
    found: dict[str, t.Any] = {str(size): fleets.fleet(size) for size in SIZES}
    raw = fleets.node(
        1, 6, instance_id=LONG, doctor={"findings": [{"what": LONG, "remedy": LONG, "severity": "error"}]}
    )
    raw["nics"][0].update(state="BROKEN", note=LONG, nic_id=LONG, vxnet_id=LONG, private_ip=LONG)
    raw["leases"][1]["args"].update(K8S_POD_NAME=LONG)
    found["odd"] = {"nodes": {LONG: fleets.told(raw)}, "vxnets": {"msg": LONG}, "sweep": fleets.sweep(1)}
    found["odd"]["sweep"]["strays"][0].update(nic_id=LONG, reason=LONG, private_ip=LONG)
    directory = tmp_path_factory.mktemp("pages")
    for name, raw in found.items():
        fleet = answers.fleet(raw["nodes"], raw["vxnets"], raw["sweep"])
        (directory / f"{name}.html").write_text(render.document(fleet, "2026-03-04 03:00 UTC")[1], encoding="utf-8")
    return {name: directory / f"{name}.html" for name in found}


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("browser")) as running:
        yield running


@pytest.mark.parametrize("name", [*map(str, SIZES), "odd"])
def test_it_fits_every_window_and_asks_for_nothing(browser: Browser, pages: dict[str, Path], name: str) -> None:
    browser.open(pages[name], 320)
    requests = [
        event["params"]["request"]["url"] for event in browser.events if event["method"] == "Network.requestWillBeSent"
    ]
    assert requests == [pages[name].as_uri()]
    loud = ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled")
    assert [event for event in browser.events if event["method"] in loud] == []
    for opened in (False, True):
        for width in (320, 768, 1280):
            browser.width(width)
            assert browser.run(OVERFLOW) == [], (width, opened)
        if name == "300":
            break
        browser.run(OPEN_ALL)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_everything_can_be_read(browser: Browser, pages: dict[str, Path], dark: bool) -> None:
    """4.5 to 1, as the browser has worked the colours out."""
    browser.open(pages["3"], dark=dark)
    browser.run(OPEN_ALL)
    found = browser.run(CONTRAST)
    assert len(found) > 300
    assert [one for one in found if one[0] < 4.5] == []
    darkness = "(() => getComputedStyle(document.body).backgroundColor.match(/\\d+/g).reduce((a, b) => a + +b, 0))()"
    assert (browser.run(darkness) < 200) is dark


def test_paper_is_white_and_shows_no_links_to_jump_by(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["300"], dark=True, media="print")
    assert browser.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert min(one[0] for one in browser.run(CONTRAST)) >= 4.5
    assert browser.run("[...document.querySelectorAll('nav')].filter((one) => one.checkVisibility()).length") == 0
    named = "document.querySelector('.problems details a').checkVisibility()"
    assert browser.run(named)
    browser.look(dark=False)
    assert not browser.run(named) and browser.run("document.querySelector('nav').checkVisibility()")
    browser.open(pages["3"])
    document = browser.pdf()
    assert document.startswith(b"%PDF-") and 1 < len(re.findall(rb"/Type\s*/Page\b", document)) < 8


def test_a_screen_reader_is_told_all_of_it(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["3"])
    browser.run(OPEN_ALL)
    tree = browser.tree()
    roles = [role for role, __ in tree]
    assert [roles.count(role) for role in ("banner", "main", "contentinfo")] == [1, 1, 1]
    assert ("navigation", "Parts of this page") in tree
    assert {name for role, name in tree if role == "region"} == {
        "What is wrong", "In figures", "Vxnets", "Leaks", "Versions", "Nodes",
    }  # fmt: skip
    pictures = [name for role, name in tree if role in ("img", "image")]
    assert len(pictures) == 2 and all(re.match(r"\d+ used, .*ready", name) for name in pictures)
    assert not [role for role, name in tree if role in ("link", "heading", "table", "DisclosureTriangle") and not name]
    assert browser.run("document.documentElement.lang") == "en"


def test_headings_and_tables_are_what_they_look_like(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["3"])
    levels = browser.run("[...document.querySelectorAll('h1,h2,h3,h4,h5,h6')].map((one) => +one.tagName[1])")
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in zip(levels, levels[1:]))
    tables = "[...document.querySelectorAll('table')]"
    assert browser.run(f"{tables}.length") >= 4
    assert browser.run(f"{tables}.filter((one) => !one.caption || !one.querySelector('thead th')).length") == 0
    assert browser.run("[...document.querySelectorAll('th')].filter((one) => !one.scope).length") == 0


def test_whoever_has_no_mouse_sees_where_he_is(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["300"])
    browser.send("Input.dispatchKeyEvent", type="keyDown", key="Tab", code="Tab", windowsVirtualKeyCode=9)
    at = "(() => { const one = document.activeElement, box = one.getBoundingClientRect();"
    at += (
        " return [one.className || one.tagName, getComputedStyle(one).outlineStyle, box.left >= 0 && box.top >= 0] })()"
    )
    assert browser.run(at) == ["skip", "solid", True]
    browser.send(
        "Input.dispatchKeyEvent", type="keyDown", key="Enter", code="Enter", windowsVirtualKeyCode=13, text="\r"
    )
    assert browser.run("location.hash") == "#wrong"
    browser.send("Input.dispatchKeyEvent", type="keyDown", key="Tab", code="Tab", windowsVirtualKeyCode=9)
    assert browser.run(at)[1:] == ["solid", True]
    assert browser.run("document.activeElement.closest('section').getAttribute('aria-labelledby')") == "wrong"


def test_nodes_are_jumped_to(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["300"])
    browser.run("document.querySelector('.jump details').open = true")
    browser.run("document.querySelector('.jump a[href=\"#n200\"]').click()")
    assert browser.run("document.querySelector(':target h3').textContent") == "node200"
    assert browser.run("Math.abs(document.querySelector(':target').getBoundingClientRect().top) < 100")


def test_pictures_are_drawn(browser: Browser, pages: dict[str, Path], tmp_path: Path) -> None:
    """A pattern that could not be found would leave its squares out."""
    browser.open(pages["3"])
    used = "document.querySelectorAll('.node svg path[fill]').length"
    known = "new Set([...document.querySelectorAll('pattern')].map((one) => `url(#${one.id})`))"
    assert browser.run(used) > 10
    assert browser.run(
        f"[...document.querySelectorAll('path[fill]')].every((one) => {known}.has(one.getAttribute('fill')))"
    )
    browser.run("document.querySelector('#n1').scrollIntoView()")
    before, after = tmp_path / "with.png", tmp_path / "without.png"
    browser.screenshot(before)
    browser.run("document.querySelectorAll('pattern path').forEach((one) => one.remove())")
    browser.screenshot(after)
    assert len(before.read_bytes()) > len(after.read_bytes()) + 1000
