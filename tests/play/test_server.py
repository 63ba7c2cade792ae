"""The playground's server: what it computes, and whom and what it refuses."""

import dataclasses
import http.client
import json
import random
import signal
import socket
import sys

import numpy as np
import pytest
from playground import start

import optiscope as osc
from optiscope import cli
from optiscope.view.play import asks, exports, race, server, walks

VIEW = {
    "landscape": "himmelblau",
    "rules": [
        {"rule": "momentum", "fields": {"lr": 0.003}},
        {"rule": "adam", "fields": {"lr": 0.1, "eps_on": "raw v"}},
    ],
    "starts": [[-0.5, 4.2]],
    "steps": 60,
    "noise": 0.5,
    "seed": 3,
}
TYPED = {**{k: v for k, v in VIEW.items() if k != "landscape"}, "formula": "sin(3*x) + y**2", "low": -3, "high": 3}


def floats(body):
    return np.frombuffer(body, "<f4")


def test_a_walk_is_the_labs_run(ask):
    status, body = ask("/walk", VIEW)
    assert status == 200
    points = floats(body).reshape(2, -1)[:, : 2 * 61].reshape(2, 61, 2)
    heights = floats(body).reshape(2, -1)[:, 2 * 61 :]
    task = osc.task("himmelblau", noise=0.5)
    for i, rule in enumerate((osc.Momentum(lr=0.003), osc.Adam(lr=0.1, eps_on="raw v"))):
        runs = osc.run(rule, task, steps=60, seeds=[3], start=[-0.5, 4.2], record=["params"])
        np.testing.assert_allclose(points[i], runs.params[0], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(heights[i], runs.loss[0], rtol=1e-3, atol=1e-3)


def test_the_code_makes_the_same_run(capsys):
    for view in (VIEW, TYPED):
        ask = asks.descent(view)
        names = {}
        exec(exports.code(ask), names)
        for rule, (points, _) in zip(names["rules"], walks.ways(ask), strict=True):
            runs = osc.run(rule, names["task"], steps=60, seeds=[3], start=[-0.5, 4.2], record=["params"])
            np.testing.assert_allclose(points[0, -1], runs.params[0, -1], rtol=1e-3, atol=1e-4)
    assert "momentum" in capsys.readouterr().out


def test_a_drag_compiles_nothing():
    ask = asks.descent(VIEW)
    walks.ways(ask)
    program = walks._programs(ask.landscape.function).ways
    compiled = program._cache_size()
    for lr in (0.01, 0.02, 0.03):
        moved = [{"rule": "momentum", "fields": {"lr": lr, "momentum": 0.5 + lr}}, VIEW["rules"][1]]
        walks.ways(asks.descent({**VIEW, "rules": moved, "starts": [[lr, lr]], "steps": 61, "noise": lr}))
    assert program._cache_size() == compiled


def test_many_starts_are_many_walks(ask):
    starts = [[x / 7, -x / 9] for x in range(5)]
    together = floats(ask("/walk", {**VIEW, "starts": starts})[1])[: 5 * 61 * 2].reshape(5, 61, 2)
    alone = floats(ask("/walk", {**VIEW, "starts": starts[3:4]})[1])[: 61 * 2].reshape(61, 2)
    np.testing.assert_allclose(together[3], alone, rtol=1e-4, atol=1e-4)


def test_basins_are_where_gradient_flow_ends():
    # x⁴ − 2x² + y² has its minima at (±1, 0), and small steps never cross x = 0.
    view = {**TYPED, "formula": "x**4 - 2*x**2 + y**2", "low": -2, "high": 2, "noise": 0, "steps": 500}
    found = walks.basins(asks.descent({**view, "rules": [{"rule": "gd", "fields": {"lr": 0.02}}]}))
    minima = [p.x for p in walks.marks(asks.landscape(view)) if p.kind == "minimum"]
    assert np.round(minima, 6).tolist() == [[-1, 0], [1, 0]]
    x = np.broadcast_to(np.linspace(-2, 2, walks.SIDE), found.shape)
    assert (found == (x > 0)).all()


def test_a_trained_rule_plays_like_any_other(tmp_path, monkeypatch, capsys):
    weights = {"w": np.linspace(-1, 1, 4, dtype=np.float32), "b": np.zeros((), np.float32)}
    rule = osc.GRU.untrained(units=4)
    monkeypatch.setattr(sys.modules["optiscope.learning.zoo"], "ZOO", tmp_path)
    rule = dataclasses.replace(rule, readout={k: v.reshape(np.shape(rule.readout[k])) for k, v in weights.items()})
    osc.save(rule, tmp_path / "tiny.safetensors")
    ask = asks.descent({**VIEW, "rules": [{"rule": "tiny", "fields": {"lr": 0.05}}]})
    ((points, _),) = walks.ways(ask)
    runs = osc.run(rule.replace(lr=0.05), ask.landscape, steps=60, seeds=[3], start=[-0.5, 4.2], record=["params"])
    np.testing.assert_allclose(points[0], runs.params[0], rtol=1e-3, atol=1e-3)
    exec(exports.code(ask), {})
    assert capsys.readouterr().out.startswith("gru [")


def test_a_step_says_what_the_rule_did(ask):
    made = json.loads(ask("/moment", {**VIEW, "noise": 0, "k": 7})[1])
    v, grad = (np.array(x) for x in (made["before"]["v"], made["grad"]))
    np.testing.assert_allclose(made["after"]["v"], 0.9 * v + grad, rtol=1e-5)
    np.testing.assert_allclose(made["step"], -0.003 * np.array(made["after"]["v"]), rtol=1e-5)
    np.testing.assert_allclose(np.array(made["at"]) + made["step"], made["to"], rtol=1e-5)
    x, y = made["at"]
    np.testing.assert_allclose(
        grad,
        [4 * x * (x * x + y - 11) + 2 * (x + y * y - 7), 2 * (x * x + y - 11) + 4 * y * (x + y * y - 7)],
        rtol=1e-4,
    )
    assert made["signed"] == ["v"]


def test_a_race_is_the_labs_run():
    rules = [{"rule": "adam", "fields": {"lr": 0.01}}]
    told = list(race.race({"task": "airfoil", "rules": rules, "seeds": 4, "steps": 20}))
    runs = osc.run(osc.Adam(lr=0.01), osc.task("airfoil", batch=10), steps=20, seeds=4)
    assert [line["k"] for line in told] == [0, 10, 20]
    for line in told:
        losses = runs.loss[:, line["k"]]
        assert line["mean"][0] == pytest.approx(losses.mean(), rel=1e-4)
        assert line["error"][0] == pytest.approx(losses.std(ddof=1) / 2, rel=1e-3)


def test_the_mechanism_of_momentum_is_its_momentum(ask):
    rule = {"rule": "momentum", "fields": {"momentum": 0.8}}
    found = json.loads(ask("/mechanisms", {"rule": rule, "task": "quadratic"})[1])
    farthest = max(found["eigenvalues"], key=lambda mode: mode[2])
    assert farthest[:2] == pytest.approx([0.8, 0], abs=1e-6)
    assert [said["mechanism"] for said in found["says"] if said["present"]] == ["momentum"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "evil.example"}, 403),  # what a rebound name brings
        ({"Host": "127.0.0.1"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Content-Type": "text/plain"}, 422),  # what another site's form may send unasked
    ],
)
def test_only_its_own_page_is_answered(address, headers, status):
    where = address.removeprefix("http://")
    connection = http.client.HTTPConnection(where)
    connection.request(
        "POST", "/walk", json.dumps(VIEW), {"Content-Type": "application/json", "Host": where, **headers}
    )
    reply = connection.getresponse()
    body = reply.read()
    connection.close()
    assert reply.status == status
    assert status == 200 or "message" in json.loads(body)


def test_on_port_80_a_browser_says_no_port():
    assert server._hosts(80) == ("127.0.0.1", "localhost")
    assert server._hosts(8080) == ("127.0.0.1:8080", "localhost:8080")


def test_the_page_may_load_nothing_from_elsewhere(address):
    connection = http.client.HTTPConnection(address.removeprefix("http://"))
    connection.request("GET", "/")
    reply = connection.getresponse()
    assert b"<html" in reply.read()
    connection.close()
    policy = reply.getheader("Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize(
    ("formula", "says"),
    [
        ("__import__('os').system('true')", "no function|unknown function|no place"),
        ("x.real", "no place"),
        ("x + z", "formula in x and y"),
        ("x**", "cannot be read"),
        ("(" * 150 + "x" + ")" * 150, "at most 200"),
        ("9**9**9**9**9", None),  # infinite, and computed as such
    ],
)
def test_a_formula_is_parsed_and_never_run(ask, formula, says):
    status, body = ask("/heights", {"formula": formula, "low": -1, "high": 1})
    if says is None:
        assert status == 200
        assert not np.isfinite(floats(body)).any()
    else:
        assert status == 422
        assert any(part in json.loads(body)["message"] for part in says.split("|"))


JUNK = [
    None, True, -1, 1e308, -0.5, float("nan"), float("inf"), 10**400, "", "junk", "\ud800", "x" * 300, [], {},
    [[]], [None], {"rule": {}}, [[1, 2, 3]], [{"rule": "adam", "fields": []}],
    [{"rule": "adam", "fields": {"lr": "a"}}],
    [{"rule": "adam", "fields": {"lr": -1}}], [{"rule": "adam", "fields": {"b1": 1}}], [{"rule": "nosuch"}],
    [{"rule": "adam", "fields": {"__class__": 1}}], [[0, 0]] * 65, ["a", "b"], [float("nan")], "../../etc/passwd",
]  # fmt: skip
PATHS = {
    "/walk": VIEW,
    "/basins": VIEW,
    "/heights": {"landscape": "himmelblau"},
    "/marks": {"landscape": "himmelblau"},
    "/moment": {**VIEW, "k": 3},
    "/code": VIEW,
    "/picture": {**VIEW, "kind": "svg"},
    "/modes": {"rule": "momentum", "curvatures": [0.1, 1], "lr": 1, "momentum": 0.5},
    "/rates": {"rule": "momentum", "curvatures": [0.1, 1]},
    "/mechanisms": {"rule": VIEW["rules"][0], "task": "quadratic"},
    "/race": {"task": "airfoil", "rules": VIEW["rules"], "seeds": 2, "steps": 10},
}


def malformed(chance):
    """A request (method, path, body, headers) with something wrong in it."""
    path = chance.choice(list(PATHS))
    facts, headers = dict(PATHS[path]), {"Content-Type": "application/json"}
    kind = chance.randrange(6)
    if kind <= 2:  # a field that holds what it should not; all that are needed are there
        field = chance.choice([name for name in facts if name not in ("noise", "seed")])
        facts[field] = chance.choice([junk for junk in JUNK if not (field in ("lr", "momentum") and junk == -1)])
        return "POST", path, json.dumps(facts).encode(), headers
    if kind == 3:
        del facts[chance.choice([name for name in facts if name not in ("noise", "seed")])]
        return "POST", path, json.dumps(facts).encode(), headers
    if kind == 4:
        text = json.dumps(facts).encode()
        cut = chance.randrange(len(text))
        noise = bytes(chance.randrange(256) for _ in range(chance.randrange(1, 20)))
        bodies = (text[:cut], noise, text[:cut] + noise, b"[" * 20_000, b"{}" + b" " * 40_000, b"[1]", b"")
        return "POST", path, chance.choice(bodies), headers
    wrong = chance.choice(["/nosuch", "/page/../server.py", "/page/%2e%2e/server.py", "/page/", "/walk/x", "/page/%00"])
    return chance.choice(["GET", "POST", "PUT", "DELETE"]), wrong, b"{}", headers


@pytest.mark.parametrize("formula", ["log(x) + y**2", "3", "exp(exp(x*x))"])
def test_any_formula_has_a_picture(ask, formula):
    asked = {"formula": formula, "low": -9, "high": 9, "rules": [{"rule": "gd"}], "starts": [[1, 1]], "steps": 5}
    assert ask("/picture", asked | {"kind": "svg"})[0] == 200


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"lr": 10**400}, b"lr must be a finite number"),
        ({"\ud800": [1]}, b"must be a finite number or the name of a variant"),
    ],
)
def test_a_rule_that_cannot_be_is_a_sentence(ask, fields, says):
    asked = {"landscape": "himmelblau", "starts": [[0, 0]], "steps": 5}
    status, body = ask("/code", asked | {"rules": [{"rule": "adam", "fields": fields}]})
    assert status == 422
    assert says in body


def test_what_else_is_said_of_a_rule_is_not_heard(ask):
    asked = {"landscape": "himmelblau", "rules": [{"rule": "adam", "on": True}], "starts": [[0, 0]], "steps": 5}
    assert ask("/code", asked)[0] == 200


def test_a_thousand_malformed_requests_break_nothing(address):
    chance = random.Random(0)
    connection = http.client.HTTPConnection(address.removeprefix("http://"))
    statuses = []
    for _ in range(1000):
        method, path, body, headers = malformed(chance)
        connection.request(method, path, body, headers)
        reply = connection.getresponse()
        said = reply.read()
        statuses.append(reply.status)
        assert 400 <= reply.status < 500, (method, path, body[:200], reply.status, said[:200])
        if reply.status == 422:
            assert json.loads(said)["message"]
    assert len(statuses) == 1000
    connection.request("POST", "/walk", json.dumps(VIEW), {"Content-Type": "application/json"})
    assert connection.getresponse().read()
    connection.close()


def test_what_is_no_http_at_all_is_refused(address):
    host, port = address.removeprefix("http://").split(":")
    for raw in (b"\x16\x03\x01 hello\r\n\r\n", b"GET\r\n\r\n", b"POST /walk HTTP/1.1\r\nContent-Length: -1\r\n\r\n"):
        with socket.create_connection((host, int(port)), timeout=10) as line:
            line.sendall(raw)
            assert line.recv(100).startswith(b"HTTP/1.1 4")


def test_a_request_that_breaks_off_leaves_no_trace():
    process, address = start()
    host, port = address.removeprefix("http://").rstrip("/").split(":")
    head = f"POST /walk HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n"
    with socket.create_connection((host, int(port)), timeout=60) as line:
        line.sendall(head.encode() + b'{"landscape')
    process.send_signal(signal.SIGINT)
    _, trouble = process.communicate(timeout=60)
    assert (process.returncode, trouble) == (0, "")


@pytest.mark.parametrize("busy", [False, True])
def test_ctrl_c_ends_it_cleanly(busy):
    process, address = start()
    if busy:  # a race that compiles, its first line told
        connection = http.client.HTTPConnection(address.removeprefix("http://").rstrip("/"))
        connection.request("POST", "/race", json.dumps(PATHS["/race"]), {"Content-Type": "application/json"})
        assert connection.getresponse().readline()
    process.send_signal(signal.SIGINT)
    _, trouble = process.communicate(timeout=60)
    if busy:
        connection.close()
    assert process.returncode == 0
    assert "Traceback" not in trouble


def test_without_its_extra_it_says_what_to_install(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("optiscope.view.play")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(osc.BadInput, match=r"needs uvicorn: pip install 'optiscope\[play\]'"):
        cli.cli.main(["play"], standalone_mode=False)
