"""A script that cron starts each minute. Its token outlives it in a folder, so most runs ask for none."""

import logging

import requests_cc_token

# The warnings go to standard error, which cron sends by mail.
logging.basicConfig()

session = requests_cc_token.make_session("client")
response = session.get("test")
response.raise_for_status()
print(response.text.strip())
