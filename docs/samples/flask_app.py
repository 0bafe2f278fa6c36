"""A Flask application whose views call an API as the application itself."""

import requests
from flask import Flask, Response, current_app, jsonify

from requests_cc_token import AccessTokenManagement


class ApiSessions:
    """A Flask extension: the sessions that the application's configuration describes."""

    def __init__(self, app: Flask | None = None) -> None:
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        management = AccessTokenManagement.from_config(app.config["API_CONFIG"])
        # One session for all requests and threads: its connections and its token are shared.
        app.extensions["api_sessions"] = {"client": management.make_session("client")}


def api(name: str = "client") -> requests.Session:
    """The session of that name, anywhere within a request."""
    session: requests.Session = current_app.extensions["api_sessions"][name]
    return session


def create_app() -> Flask:
    app = Flask(__name__)
    app.config.from_mapping(API_CONFIG="worker.toml")
    ApiSessions(app)

    @app.get("/claims")
    def claims() -> Response:
        response = api().get("test")
        response.raise_for_status()
        return jsonify(response.json())

    @app.errorhandler(requests.RequestException)
    def upstream_failed(error: requests.RequestException) -> tuple[str, int]:
        # A token that could not be had comes here too. What it says is for the log, not for the browser.
        app.logger.error("API call failed: %s", error)
        return "The API cannot be reached just now.", 502

    return app
