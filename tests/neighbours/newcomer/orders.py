"""A worker: it copies the open orders of one API. ``WAY`` is how it came by its session."""

import os

import requests

from requests_cc_token import AccessTokenManagement, session_for

LOGIN = os.environ.get("LOGIN_URL", "https://login.example.com/connect/token")
API = os.environ.get("API_URL", "https://api.example.com/api/")


def make_session():
    client = {
        "token_endpoint": LOGIN,
        "client_id": "worker",
        "client_secret": os.environ.get("WORKER_SECRET", "secret"),
    }
    way = os.environ.get("WAY", "session_for")
    if way == "session_for":
        return session_for(API, **client)
    management = AccessTokenManagement()
    management.add_client("orders", **client)
    if way == "make_session":
        management.add_session("orders", base_url=API)
        return management.make_session("orders")
    session = requests.Session()
    if way == "mount":
        management.mount(session, API)
    else:
        session.auth = management.auth("orders", API)
    return session


def claims(session=None):
    """What the API knows of the worker, one claim a line."""
    with session or make_session() as api:
        answer = api.get(API + "test")
        answer.raise_for_status()
        return sorted(claim["type"] for claim in answer.json())
