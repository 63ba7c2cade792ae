"""The playground's page, as a person meets it in a browser."""

import io
import urllib.parse
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import optiscope as osc

PANELS = ("descent", "step", "modes", "mechanisms", "race")
AXE = Path(__file__).parents[1] / "data" / "axe-core" / "axe.min.js"
SECONDS = 120_000  # a machine that is busy compiles slowly


@pytest.fixture
def visit(browser, address):
    """Open the page, in a window of its own; at the end nothing must have gone wrong in it or left the machine."""
    windows, troubles, asked = [], [], []

    def visit(hash="", **options):
        window = browser.new_context(accept_downloads=True, locale="en-GB", **options)
        window.set_default_timeout(SECONDS)
        windows.append(window)
        page = window.new_page()
        page.on(
            "console", lambda message: troubles.append(message.text) if message.type in ("error", "warning") else None
        )
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.underway = set()
        page.on("request", lambda request: (asked.append(request.url), page.underway.add(request)))
        page.on("requestfinished", lambda request: page.underway.discard(request))
        page.on("requestfailed", lambda request: page.underway.discard(request))
        page.goto(f"{address}/{hash}")
        drawn(page)
        return page

    visit.refusals = 0
    yield visit
    for window in windows:
        window.close()
    refused = "Failed to load resource: the server responded with a status of 422 (Unprocessable Entity)"
    assert troubles == [refused] * visit.refusals
    assert asked
    assert [url for url in asked if not url.startswith((address + "/", "blob:" + address + "/"))] == []


def drawn(page, than=0):
    """Wait for a picture that is newer than the first `than`; returns how many there are."""
    return page.evaluate(
        """async (than) => {
            const count = () => performance.getEntriesByName("drawn").length;
            while (count() <= than || !document.querySelector("#ends td")) await new Promise((r) => setTimeout(r, 20));
            return count();
        }""",
        than,
    )


def settled(page, act):
    """Do something, and wait for the picture that it leads to."""
    before = page.evaluate("performance.getEntriesByName('drawn').length")
    act()
    drawn(page, before)


def picture(page, canvas="#map"):
    return page.evaluate("(canvas) => document.querySelector(canvas).toDataURL()", canvas)


def still(page):
    """The picture once nothing that would change it is under way: heights come after the ways over them."""
    before = None
    while page.underway or (now := picture(page)) != before:
        before = picture(page)
        page.wait_for_timeout(300)
    return now


def ends(page):
    rows = page.locator("#ends tbody tr")
    return {r.locator("th").inner_text(): r.locator("td").all_inner_texts() for r in rows.all()}


def blank(page, canvas):
    """Whether a canvas shows one colour."""
    return page.evaluate(
        """(canvas) => {
            const { width, height } = canvas, data = canvas.getContext("2d").getImageData(0, 0, width, height).data;
            const pixels = new Uint32Array(data.buffer);
            return pixels.every((pixel) => pixel === pixels[0]);
        }""",
        canvas.element_handle(),
    )


def open_panel(page, panel):
    page.click(f"#tab-{panel}")
    if panel == "step":
        page.locator("#step-numbers td").first.wait_for()
    if panel == "modes":
        page.locator("#modes-says:not(:empty)").wait_for()
    if panel == "mechanisms":
        page.locator("#mechanisms-says li").first.wait_for()


def test_every_panel_loads_and_draws(visit):
    page = visit()
    for panel in PANELS:
        open_panel(page, panel)
        if panel == "race":
            page.select_option("#race-steps", "100")
            for name in ("gd", "rmsprop"):
                page.click(f"#race-rules [aria-label='Remove {name}']")
            page.click("#race-go")
            page.get_by_text("Done.").wait_for()
            assert page.locator("#race-maps canvas").count() == 2
            assert page.locator("#race-table tbody tr").count() == 2
        for canvas in page.locator(f"#{panel} canvas").all():
            assert not blank(page, canvas), (panel, canvas)
    assert page.inner_text("#message") == ""


def test_dragging_moves_the_way(visit):
    page = visit()
    before, where = picture(page), ends(page)
    box = page.locator("#map").bounding_box()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.5 * box["height"])
    page.mouse.down()
    settled(page, lambda: page.mouse.move(box["x"] + 0.9 * box["width"], box["y"] + 0.2 * box["height"], steps=5))
    page.mouse.up()
    assert picture(page) != before
    x, y = (float(page.input_value(f"#start-{axis}")) for axis in "xy")
    assert (x, y) == pytest.approx((4, 3), abs=0.1)
    assert ends(page) != where
    # gd from there, by the library: the page shows five digits of it
    run = osc.run(
        osc.GradientDescent(lr=0.002), osc.task("himmelblau"), steps=500, seeds=1, start=[x, y], record=["params"]
    )
    assert [float(n) for n in ends(page)["gd"][:2]] == pytest.approx(run.params[0, -1].tolist(), abs=2e-3)


def test_the_keyboard_does_what_the_mouse_does(visit):
    page = visit()
    start = page.input_value("#start-x")
    page.focus("#map")
    settled(page, lambda: page.keyboard.press("ArrowRight"))
    assert float(page.input_value("#start-x")) == pytest.approx(float(start) + 0.2)
    before = picture(page)
    page.focus("#rules input[type=range]")
    settled(page, lambda: page.keyboard.press("PageUp"))
    assert picture(page) != before
    page.focus("#tab-descent")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.id") == "tab-step"
    assert page.is_visible("#arrows")
    page.keyboard.press("ArrowRight")
    page.focus("#modes-lr")
    page.locator("#modes-says:not(:empty)").wait_for()
    said = page.inner_text("#modes-says")
    for _ in range(40):
        page.keyboard.press("ArrowRight")
    page.wait_for_timeout(500)
    assert page.inner_text("#modes-says") != said


def test_a_link_restores_the_view(visit):
    page = visit()
    settled(page, lambda: page.select_option("#landscape", "beale"))
    settled(page, lambda: page.fill("#start-x", "1.25") or page.keyboard.press("Enter"))
    settled(page, lambda: page.uncheck("#rules fieldset:first-of-type legend input"))
    settled(page, lambda: page.select_option("#basins", "3"))
    page.select_option("#language", "zh")
    page.click("#share")
    link = urllib.parse.urlsplit(page.url).fragment
    again = visit("#" + link)
    assert again.input_value("#landscape") == "beale"
    assert again.input_value("#start-x") == "1.25"
    assert again.input_value("#basins") == "3"
    assert again.get_attribute("html", "lang") == "zh-Hans"
    assert ends(again) == ends(page)
    assert "gd" not in ends(again)


def test_a_broken_link_says_so(visit):
    page = visit("#%7B%22rules%22%3A%5B%7B%22rule%22%3A%22nosuch%22%7D%5D%7D")
    assert "no view" in page.inner_text("#status")
    assert ends(page)


def test_exports(visit):
    page = visit()
    settled(page, lambda: page.select_option("#steps", "50"))

    def exported(kind):
        with page.expect_download() as download:
            page.click(f"#exports [data-kind={kind}]")
        assert download.value.suggested_filename == f"optiscope-himmelblau.{kind}"
        return Path(download.value.path()).read_bytes()

    with Image.open(io.BytesIO(exported("png"))) as png:
        assert png.format == "PNG"
        assert len(set(png.convert("RGB").resize((64, 64)).get_flattened_data())) > 10
    assert ElementTree.fromstring(exported("svg")).tag.endswith("svg")
    with Image.open(io.BytesIO(exported("gif"))) as gif:
        assert gif.n_frames > 10
    page.click("#exports [data-kind=code]")
    page.locator("#code-text").wait_for()
    names = {}
    exec(page.inner_text("#code-text"), names)
    page.click("#code-close")
    assert [rule.name for rule in names["rules"]] == list(ends(page))
    np.testing.assert_allclose(names["run"].params[0, -1], [float(n) for n in ends(page)["adam"][:2]], rtol=1e-3)


def test_a_formula_of_ones_own(visit):
    page = visit()
    settled(page, lambda: page.select_option("#landscape", ""))
    settled(page, lambda: (page.fill("#formula", "(x - 1)**2 + 3*y**2"), page.click("#typed button")))
    assert [float(n) for n in ends(page)["adam"][:2]] == pytest.approx([1, 0], abs=0.05)
    before = still(page)
    page.fill("#formula", "open('/etc/passwd')")
    page.click("#typed button")
    page.locator("#message:not(:empty)").wait_for()
    assert "unknown function" in page.inner_text("#message")
    visit.refusals = 2  # the way and the heights
    assert still(page) == before
    settled(page, lambda: page.select_option("#landscape", "bowl"))
    assert page.inner_text("#message") == ""


def test_a_box_with_an_empty_side_is_not_drawn_and_spoils_nothing(visit):
    """What is empty is no number, and a start held within such a box was none either, for good."""
    page = visit()
    settled(page, lambda: page.select_option("#landscape", ""))
    page.fill("#low", "")
    page.click("#typed button")
    settled(page, lambda: (page.fill("#low", "-2"), page.click("#typed button")))
    assert page.inner_text("#message") == ""
    assert np.isfinite(float(page.input_value("#start-x")))


def test_playing_shows_the_way_grow(visit):
    page = visit()
    page.select_option("#speed", "4")
    page.click("#play")
    page.wait_for_timeout(300)
    page.click("#play")
    at = int(page.inner_text("#shown-value"))
    assert 0 < at < 500
    page.click("#forward")
    assert int(page.inner_text("#shown-value")) == at + 1
    some = picture(page)
    page.focus("#shown")
    page.keyboard.press("End")
    assert still(page) != some


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing(visit, theme):
    page = visit(color_scheme=theme)
    assert page.get_attribute("html", "data-theme") == theme
    page.evaluate(AXE.read_text(encoding="utf-8"))
    for panel in PANELS:
        open_panel(page, panel)
        for element in page.locator(f"#{panel} details").all():
            element.evaluate("element => element.open = true")
        found = page.evaluate("async () => (await axe.run()).violations")
        assert [(v["id"], [n["html"][:150] for n in v["nodes"]]) for v in found] == [], panel


def test_a_narrow_screen_and_chinese(visit):
    page = visit(viewport={"width": 390, "height": 844})
    page.select_option("#language", "zh")
    assert page.inner_text("#tab-descent") == "下降"
    for panel in PANELS:
        open_panel(page, panel)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, panel
        latin = page.evaluate(
            "(panel) => [...document.querySelectorAll(`#${panel} [data-t]`)].filter((e) => !e.textContent).length",
            panel,
        )
        assert latin == 0


def test_how_soon_a_picture_follows_a_slider(visit, capsys):
    """Printed, not judged: what a machine has to spare while tests run says nothing about the page."""
    page = visit()
    measure = """async () => {
        const slider = document.querySelector("#rules input[type=range]"), first = slider.valueAsNumber;
        const count = () => performance.getEntriesByName("drawn").length;
        const turn = () => new Promise((done) => {
            const channel = new MessageChannel();
            channel.port1.onmessage = done;
            channel.port2.postMessage(0);
        });
        const times = [];
        for (let i = 0; i < 80; i++) {
            const before = count(), began = performance.now();
            slider.value = first + (i % 20);
            slider.dispatchEvent(new Event("input"));
            while (count() === before) await turn();
            const entry = performance.getEntriesByName("drawn").at(-1);
            const frame = await new Promise(requestAnimationFrame);
            times.push([entry.duration, Math.max(frame, performance.now()) - began]);
        }
        return times.slice(10);
    }"""
    times = {"4 rules × 500 steps": page.evaluate(measure)}
    settled(page, lambda: page.check("#many"))
    times["64 starts of them"] = page.evaluate(measure)
    with capsys.disabled():
        for what, pairs in times.items():
            for name, values in zip(("to drawn", "to the next frame"), np.transpose(pairs), strict=True):
                median, late = np.percentile(values, [50, 95])
                print(f"\n  slider {name}, {what}: median {median:.1f} ms, 95th percentile {late:.1f} ms", end="")
    assert all(len(pairs) == 70 for pairs in times.values())
