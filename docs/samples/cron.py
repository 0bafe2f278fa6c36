"""A script that cron or systemd starts each minute. Its token outlives it in a folder, so most runs ask for none."""

import logging
import os
import sys

import requests

import requests_cc_token

# The warnings go to standard error, which cron sends by mail and systemd keeps in its journal.
logging.basicConfig()

session = requests_cc_token.make_session("client")
try:
    response = session.get("test")
    response.raise_for_status()
except requests_cc_token.TokenRequestError as error:
    # A warning has said why. 75: a later run may get a token. 78: none will, before somebody changes something.
    sys.exit(os.EX_TEMPFAIL if error.transient else os.EX_CONFIG)
except requests.RequestException as error:
    sys.exit(f"the API: {error}")
print(response.text.strip())
