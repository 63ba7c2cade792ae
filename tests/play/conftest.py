"""A playground for the tests of this folder, started as a person starts it."""

import json
import urllib.error
import urllib.request

import pytest
from playground import start


@pytest.fixture(scope="session")
def address():
    process, where = start()
    yield where.rstrip("/")
    process.terminate()
    process.communicate()


@pytest.fixture
def ask(address):
    """Ask the server: (status, body)."""

    def post(path, facts):
        body = facts if isinstance(facts, bytes) else json.dumps(facts).encode()
        request = urllib.request.Request(address + path, body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request) as reply:
                return reply.status, reply.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    return post
