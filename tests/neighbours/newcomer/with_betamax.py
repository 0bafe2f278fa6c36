from pathlib import Path

import orders
from betamax import Betamax

Path("cassettes").mkdir(exist_ok=True)

with Betamax.configure() as config:
    config.cassette_library_dir = "cassettes"


def test_recorded():
    session = orders.make_session()
    with Betamax(session) as recorder:
        recorder.use_cassette("claims")
        assert "client_id" in orders.claims(session)


def test_fixture_like():
    session = orders.make_session()
    recorder = Betamax(session)
    with recorder.use_cassette("claims_again", record="once"):
        assert session.get(orders.API + "test").status_code == 200
