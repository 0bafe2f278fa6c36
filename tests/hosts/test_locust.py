"""Locust: users whose client is a session under ``mount``; token requests are no part of the load."""

from __future__ import annotations

import json

import pytest

from tests.neighbours.conftest import Services, needed, run
from tests.neighbours.worker import as_environment

pytestmark = pytest.mark.hosts

PROGRAM = """
import gevent, json, os
from locust import HttpUser, constant, task
from locust.env import Environment
import requests
from requests_cc_token.clock import SystemClock
from tests.neighbours.worker import SECRET, Place

class HandMovedClock(SystemClock):
    ahead = 0.0

    def __init__(self):
        super().__init__()
        real = self.monotonic
        self.monotonic = lambda: real() + self.ahead

clock = HandMovedClock()
place = Place(**json.loads(os.environ["PLACE"]))
management = place.management(clock)

class User(HttpUser):
    host = place.base_url
    wait_time = constant(0.01)

    def on_start(self):
        management.mount(self.client, place.base_url)

    @task
    def call(self):
        self.client.get("test")

environment = Environment(user_classes=[User])
runner = environment.create_local_runner()
runner.start(4, spawn_rate=4)
with gevent.Timeout(60):
    while environment.stats.total.num_requests < 40:
        gevent.sleep(0.05)
    clock.ahead = 3601.0
    while environment.stats.total.num_requests < 80:
        gevent.sleep(0.05)
    # The token service forgets the token; the API says 401 to it from now on.
    token = management.service.get_access_token().value
    requests.post(os.environ["REVOKE"], data={"token": token}, auth=("worker", SECRET), timeout=30).raise_for_status()
    while environment.stats.total.num_requests < 120:
        gevent.sleep(0.05)
runner.quit()
total = environment.stats.total
print(json.dumps([sorted(name for name, method in environment.stats.entries), total.num_failures]))
"""


def test_all_users_share_one_token(services: Services) -> None:
    """Four users: forty calls with one token, forty after it has expired, forty after it was revoked; no failure."""
    needed("locust")
    place = {"PLACE": as_environment(services.place), "REVOKE": services.tokens.revocation_endpoint}
    names, failures = json.loads(run(PROGRAM, **place).splitlines()[-1])
    assert (names, failures) == (["/api/test"], 0)
    assert len(services.tokens.requests) == 3
