"""A Django site in one file whose views call an API as the site itself."""

import functools
from pathlib import Path

import django
import requests
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, JsonResponse
from django.urls import path

from requests_cc_token import AccessTokenManagement

# settings.py
settings.configure(
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["*"],
    API_CONFIG=Path(__file__).with_name("worker.toml"),
    LOGGING={
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"console": {"class": "logging.StreamHandler"}},
        "root": {"handlers": ["console"], "level": "WARNING"},
    },
)
django.setup()


# api.py
@functools.cache
def management() -> AccessTokenManagement:
    return AccessTokenManagement.from_config(settings.API_CONFIG)


@functools.cache
def api(name: str = "client") -> requests.Session:
    """The session of that name, made when it is first asked for and then shared by all requests and threads."""
    return management().make_session(name)


# views.py
def claims(request: HttpRequest) -> JsonResponse:
    response = api().get("test")
    response.raise_for_status()
    return JsonResponse(response.json(), safe=False)


# urls.py
urlpatterns = [path("claims", claims)]

# wsgi.py
application = WSGIHandler()
