"""The playground's server: local, stateless, and wary of whoever else can reach a port of this machine."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import itertools
import json
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from importlib import resources
from types import FrameType
from typing import Any

import anyio
import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ... import rules
from ...errors import BadInput
from ...learning.zoo import zoo
from ...tasks.contract import factory
from . import asks, exports, mechanisms, modes, race, walks

SECONDS = 120.0
"""How long one request may take before it is given up: none needs a twentieth of it, but of a machine all to itself."""
BYTES = 32_768
"""The largest request."""
AT_ONCE = 4
"""Requests that compute at a time; the others wait."""

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """Answers only pages of its own: another site's page cannot ask, not even through a name that leads here.

    A browser says in Host which name it was told (a rebound DNS name betrays itself there) and in Origin whose page
    asks.
    """

    def __init__(self, app: ASGIApp, hosts: tuple[str, ...]) -> None:
        self.app, self.hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        origin = headers.get("origin")
        if headers.get("host") not in self.hosts or origin not in (None, *(f"http://{host}" for host in self.hosts)):
            refusal = _refusal("this server answers its own page alone, at " + f"http://{self.hosts[0]}", 403)
            await refusal(scope, receive, send)
            return

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] += [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
            await send(message)

        await self.app(scope, receive, sent)


def app(hosts: tuple[str, ...], ended: threading.Event) -> Starlette:
    """The application, which answers when it is called by one of `hosts`, each as a browser writes it.

    Once `ended` is set, what takes long stops at the next opportunity.
    """
    page = resources.files(__package__) / "page"

    async def index(request: Request) -> Response:
        return Response((page / "index.html").read_bytes(), media_type="text/html")

    async def catalogue(request: Request) -> Response:
        return JSONResponse(await anyio.to_thread.run_sync(_catalogue))

    async def racing(request: Request) -> Response:
        try:
            told = race.race(await _facts(request))
        except BadInput as error:
            return _refusal(str(error), 422)
        going = itertools.takewhile(lambda _: not ended.is_set(), told)
        return StreamingResponse((json.dumps(_plain(x)) + "\n" for x in going), media_type="application/x-ndjson")

    @contextlib.asynccontextmanager
    async def warming(app: Starlette) -> AsyncIterator[None]:
        """Compile what the page opens with and what is one click away, behind its back."""
        going = itertools.takewhile(lambda _: not ended.is_set(), _likely())
        thread = threading.Thread(target=lambda: [walks.ways(ask) for ask in going])
        thread.start()
        yield
        ended.set()
        await asyncio.to_thread(thread.join)

    computed: dict[str, Callable[[asks.Facts], Response]] = {
        "/walk": _walk,
        "/basins": lambda facts: _floats(walks.basins(asks.descent(facts))),
        "/heights": _heights,
        "/marks": _marks,
        "/moment": _moment,
        "/modes": lambda facts: JSONResponse(_plain(modes.modes(facts))),
        "/rates": lambda facts: _floats(modes.rates(facts)),
        "/code": lambda facts: JSONResponse({"code": exports.code(asks.descent(facts))}),
        "/mechanisms": lambda facts: JSONResponse(_plain(mechanisms.mechanisms(facts))),
        "/picture": _picture,
    }
    slots = anyio.CapacityLimiter(AT_ONCE)
    return Starlette(
        routes=[
            Route("/", index),
            Route("/catalogue", catalogue),
            *(Route(path, _posted(answer, slots), methods=["POST"]) for path, answer in computed.items()),
            Route("/race", racing, methods=["POST"]),
            Mount("/page", StaticFiles(directory=str(page))),
        ],
        middleware=[Middleware(Guard, hosts=hosts)],
        lifespan=warming,
    )


def _posted(answer: Callable[[asks.Facts], Response], slots: anyio.CapacityLimiter) -> Callable[..., Any]:
    async def handle(request: Request) -> Response:
        try:
            facts = await _facts(request)
            with anyio.fail_after(SECONDS):
                return await anyio.to_thread.run_sync(answer, facts, abandon_on_cancel=True, limiter=slots)
        except BadInput as error:
            return _refusal(str(error), 422)
        except TimeoutError:
            return _refusal(f"that takes longer than {SECONDS:g} seconds; ask for less", 429)

    return handle


async def _facts(request: Request) -> dict[str, Any]:
    # A form of another site cannot send this type without the browser asking first.
    if request.headers.get("content-type", "").partition(";")[0] != "application/json":
        raise BadInput("a request is JSON, with the content type application/json")
    body = b""
    try:
        async for part in request.stream():
            body += part
            if len(body) > BYTES:
                raise BadInput(f"a request has at most {BYTES} bytes")
    except ClientDisconnect:
        raise BadInput("the request broke off") from None
    try:
        facts = json.loads(body)
    except (ValueError, RecursionError):
        raise BadInput("the request is not JSON") from None
    if not isinstance(facts, dict):
        raise BadInput("a request is a JSON object")
    return facts


def _refusal(message: str, status: int) -> Response:
    return JSONResponse({"message": message if len(message) < 400 else message[:399] + "…"}, status)


def _floats(*arrays: np.ndarray) -> Response:
    """Arrays one after another, as little-endian float32."""
    return Response(
        b"".join(np.ascontiguousarray(a, "<f4").tobytes() for a in arrays), media_type="application/octet-stream"
    )


def _walk(facts: asks.Facts) -> Response:
    return _floats(*(array for way in walks.ways(asks.descent(facts)) for array in way))


def _heights(facts: asks.Facts) -> Response:
    place = asks.landscape(facts)
    box = place.low, place.high
    return _floats(walks.heights(place, asks.interval(facts, "x", box), asks.interval(facts, "y", box)))


def _marks(facts: asks.Facts) -> Response:
    points = walks.marks(asks.landscape(facts))
    return JSONResponse([{"x": p.x, "value": _plain(p.value), "kind": p.kind} for p in points])


def _moment(facts: asks.Facts) -> Response:
    ask = asks.descent(facts)
    return JSONResponse(_plain(walks.moment(ask, asks.whole(facts, "k", 1, ask.steps))))


def _picture(facts: asks.Facts) -> Response:
    kind = asks.choice(facts, "kind", ("svg", "gif"))
    return Response(exports.picture(asks.descent(facts), kind), media_type=exports.TYPES[kind])


def _plain(value: Any) -> Any:
    """The value as JSON has it, a number that is not finite as null."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


@functools.cache
def _catalogue() -> dict[str, Any]:
    """What there is to choose from, read from the rules' and the tasks' own declarations."""
    return {
        "rules": [_described(name, asks.rule({"rule": name})) for name in [*rules.names(), *zoo()]],
        "landscapes": [
            {"name": name, "low": place.low, "high": place.high, "doc": _line(name)}
            for name, place in ((name, asks.landscape({"landscape": name})) for name in asks.plane_landscapes())
        ],
        "races": list(race.RACES),
        "modes": list(modes.LINEAR),
        "explained": list(mechanisms.TASKS),
        "sizes": {"heights": walks.HEIGHTS, "basins": walks.SIDE, "rates": modes.SHAPE, "formula": asks.FORMULA},
    }


def _line(name: str) -> str:
    """A task's own line."""
    return factory(name).__doc__ or ""


def _described(name: str, rule: rules.Rule) -> dict[str, Any]:
    return {
        "name": name,
        "doc": inspect.cleandoc(type(rule).__doc__ or ""),
        "fields": [
            {
                "name": name,
                "value": getattr(rule, name),
                "low": space.low,
                "high": space.high,
                "scale": type(space).__name__,
            }
            for name, space in rule.hypers().items()
        ],
        "variants": {} if name in zoo() else {field: list(choices) for field, choices in rule.variants().items()},
    }


def _likely() -> Iterator[asks.Descent]:
    page = {"landscape": "himmelblau", "starts": [[0.0, 0.0]], "steps": 500}
    names = ["gd", "momentum", "rmsprop", "adam"]
    for name in [*names, *(name for name in rules.names() if name not in names)]:
        yield asks.descent({**page, "rules": [{"rule": name}]})


class _Server(uvicorn.Server):
    """A server that says when it answers, and when it has been told to end: until its answers are done it goes on."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None], ended: threading.Event) -> None:
        super().__init__(config)
        self.ready, self.ended = ready, ended

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.ended.set()
        super().handle_exit(sig, frame)


def _hosts(port: int) -> tuple[str, ...]:
    """What a browser calls this server: of http's own port it says nothing."""
    return tuple(name if port == 80 else f"{name}:{port}" for name in ("127.0.0.1", "localhost"))


def serve(port: int, *, ready: Callable[[str], None]) -> None:
    """Serve the playground on this machine alone until Ctrl-C.

    Args:
        port: the port; 0 for a free one.
        ready: told the page's address once it answers.

    Raises:
        BadInput: the port is taken.
    """
    with contextlib.suppress(KeyboardInterrupt), socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(("127.0.0.1", port))
        except OSError as error:
            raise BadInput(f"port {port} cannot be had: {error.strerror}; choose another with --port") from None
        listening.listen()
        hosts = _hosts(listening.getsockname()[1])
        ended = threading.Event()
        config = uvicorn.Config(app(hosts, ended), log_level="warning", server_header=False, ws="none")
        _Server(config, lambda: ready(f"http://{hosts[0]}/"), ended).run(sockets=[listening])
