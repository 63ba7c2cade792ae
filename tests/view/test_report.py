"""The report: it says what was found, its code runs, and a browser shows it to a phone, in the dark, printed."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optiscope as osc
from optiscope.frameworks.numpy import minimize
from optiscope.rules import contract
from optiscope.view.page.code import expression, snippets

TASK = osc.task("quadratic", n=2)


@pytest.fixture(scope="module")
def comparison():
    rules = {
        "tuned": "momentum:lr=0.1",
        "slow & <b>steady</b>": osc.Adam(lr=1e-3),
        "broken": osc.GradientDescent(lr=1e6),
    }
    return osc.compare(rules, TASK, steps=20, seeds=8, tune=24, tuning_seeds=8, with_schedule=True)


@pytest.fixture(scope="module")
def page(comparison, tmp_path_factory):
    return osc.report(
        comparison, tmp_path_factory.mktemp("report") / "out.html", command="optiscope compare <quadratic>"
    )


def test_the_page_has_the_answer_every_number_and_the_manifest(comparison, page):
    text = page.read_text(encoding="utf-8")
    for entry, row in zip(comparison.entries, comparison.table, strict=True):
        if np.isfinite(row["iqm"]):
            assert f"{row['iqm']:.5g}" in text
        assert f"{row['diverged']} of {row['seeds']}" in text
        for space in row["space"].values():
            assert space in text
        assert entry.contender.label.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") in text
    for fact in (*comparison.environment.values(), "0 to 7 (8)", "x64 off", "optiscope compare &lt;quadratic&gt;"):
        assert str(fact) in text
    assert text.count("<svg role=") == 2 + 3  # two pictures of all; the two tuned fields, and the best of k trials


def test_the_page_is_one_file_that_fetches_nothing_and_what_users_write_is_text(page):
    text = page.read_text(encoding="utf-8")
    assert "<b>steady" not in text
    links = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert links
    assert all(link.startswith(("#", "data:")) for link in links)
    ids = re.findall(r'<[a-z]+[^>]* id="([^"]*)"', re.sub(r"<defs>.*?</defs>", "", text, flags=re.DOTALL))
    assert len(ids) == len(set(ids))


def test_the_same_comparison_gives_the_same_page(comparison, page, tmp_path):
    again = osc.report(comparison, tmp_path / "again.html", command="optiscope compare <quadratic>")
    assert again.read_bytes() == page.read_bytes()


def test_a_suite_has_its_own_answer_and_a_part_for_each_task(tmp_path):
    found = [
        osc.compare(["gd:lr=0.1", "gd:lr=0.01"], osc.task(name), steps=5, seeds=4) for name in ("bowl", "parabola")
    ]
    text = osc.report(osc.suite(found), tmp_path / "suite.html").read_text(encoding="utf-8")
    assert "Over 2 tasks" in text
    assert text.count("<h2>") == 3
    assert text.count("<svg role=") == 1 + 2 * 2


def test_bad_input(comparison, tmp_path):
    with pytest.raises(osc.BadInput, match=r"a report is made of what osc\.compare returns, not of a int"):
        osc.report(3, tmp_path / "out.html")
    with pytest.raises(osc.BadInput, match="cannot write the page to"):
        osc.report(comparison, tmp_path / "nowhere" / "out.html")


@pytest.mark.parametrize(
    "rule",
    [
        osc.Adam(lr=0.01, b1=0.8),
        osc.RMSProp.preset("torch", lr=0.02, centered=True),
        osc.Annealed(osc.ClipByValue(osc.Momentum(lr=0.1), 0.5), 30, warmup=0.1, power=2.0, final=0.01),
        osc.Scheduled(osc.WeightDecay(osc.Adam(), 0.01), lr=osc.LinearWarmup(0.1, 10, then=osc.Cosine(0.1, 90))),
        osc.Scheduled(osc.Lion(), lr=osc.Piecewise((5,), (0.1, 0.01))),
    ],
)
def test_an_expression_makes_the_rule_again(rule):
    assert eval(expression(rule), {"osc": osc}) == rule


def test_each_snippet_trains_with_its_framework_as_the_rule_does():
    import keras
    import optax
    import torch

    rule = osc.Annealed(osc.ClipByValue(osc.Adam(lr=0.1), 0.5), 30, warmup=0.1)
    code = snippets(rule)
    assert set(code) == {"PyTorch", "optax", "Keras"}
    start = np.array([1.0, -2.0], "float32")
    wanted = minimize(None, lambda x: x, start, rule, steps=3).x

    model = torch.nn.ParameterList([torch.nn.Parameter(torch.tensor(start))])
    names = {"model": model}
    exec(code["PyTorch"], names)
    for _ in range(3):
        model[0].grad = model[0].detach().clone()
        names["optimizer"].step()
    np.testing.assert_allclose(model[0].detach(), wanted, rtol=1e-5)

    names = {}
    exec(code["optax"], names)
    params, state = jnp.asarray(start), names["tx"].init(jnp.asarray(start))
    for _ in range(3):
        updates, state = jax.jit(names["tx"].update)(params, state, params)
        params = optax.apply_updates(params, updates)
    np.testing.assert_allclose(params, wanted, rtol=1e-5)

    class Model:
        def compile(self, optimizer, loss):
            self.optimizer = optimizer

    names = {"model": Model(), "loss": "mse"}
    exec(code["Keras"], names)
    variable = keras.Variable(start)
    for _ in range(3):
        names["model"].optimizer.apply([keras.ops.copy(variable.value)], [variable])
    np.testing.assert_allclose(keras.ops.convert_to_numpy(variable.value), wanted, rtol=1e-5)


def test_what_no_line_can_hold_has_no_code():
    @osc.rule
    class Here(osc.GradientDescent):
        name = "here"

    del contract._registry["here"]  # other tests list the package's own rules
    assert snippets(Here()) == {}
    assert snippets(osc.learned("gru", units=2)) == {}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_a_browser_shows_it_whole(browser, page, width, scheme):
    context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme, offline=True)
    shown = context.new_page()
    said, asked = [], []
    shown.on("console", lambda message: said.append(message.text))
    shown.on("pageerror", lambda error: said.append(str(error)))
    shown.on("request", lambda request: asked.append(request.url))
    shown.goto(page.as_uri())
    assert shown.evaluate("document.documentElement.scrollWidth") <= width  # nothing hangs over the edge
    dark = "rgb(22, 22, 22)"
    assert (shown.evaluate("getComputedStyle(document.body).backgroundColor") == dark) == (scheme == "dark")
    # Every letter of a picture is in the text's colour, and a phone's reader can make it out: 9 px or more.
    colour = shown.evaluate("getComputedStyle(document.body).color")
    letters = shown.evaluate(
        """[...document.querySelectorAll('.pictures:not(.small) svg text')].map(x =>
             [getComputedStyle(x).fill, x.getBoundingClientRect().height])"""
    )
    assert letters
    assert {fill for fill, _ in letters} == {colour}
    assert min(max(size) for size in [[height] for _, height in letters]) >= 9
    assert shown.evaluate(
        "[...document.querySelectorAll('figure svg')].every(x => x.getBoundingClientRect().height > 0)"
    )
    assert (asked, said) == ([page.as_uri()], [])
    context.close()


def test_printed_every_part_is_open(browser, page):
    shown = browser.new_page()
    shown.goto(page.as_uri())
    assert shown.evaluate("document.querySelectorAll('details[open]').length") == 1
    shown.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert shown.evaluate("document.querySelectorAll('details:not([open])').length") == 0
    shown.evaluate("dispatchEvent(new Event('afterprint'))")
    assert shown.evaluate("document.querySelectorAll('details[open]').length") == 1
    assert shown.pdf().startswith(b"%PDF")
    shown.close()


def test_the_button_copies_the_code(browser, page):
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    shown = context.new_page()
    shown.goto(page.as_uri())
    block = shown.locator(".code").first
    block.locator("button").click()
    assert block.locator("button").inner_text() == "Copied"
    assert shown.evaluate("navigator.clipboard.readText()") == block.locator("pre").inner_text()
    context.close()
