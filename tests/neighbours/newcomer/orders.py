"""A worker: it copies the open orders of one API."""

import os

from requests_cc_token import session_for

LOGIN = os.environ.get("LOGIN_URL", "https://login.example.com/connect/token")
API = os.environ.get("API_URL", "https://api.example.com/api/")


def make_session():
    return session_for(
        API, token_endpoint=LOGIN, client_id="worker", client_secret=os.environ.get("WORKER_SECRET", "secret")
    )


def claims(session=None):
    """What the API knows of the worker, one claim a line."""
    with session or make_session() as api:
        answer = api.get("test")
        answer.raise_for_status()
        return sorted(claim["type"] for claim in answer.json())
