"""The nightly report, three lines changed: nobody renews its token by hand any more."""

import sys

import requests

from requests_cc_token import AccessTokenManagement


def main() -> int:
    session = requests.Session()
    management = AccessTokenManagement.from_config("worker.toml")
    management.mount(session, "https://demo.duendesoftware.com/api/")
    try:
        response = session.get("https://demo.duendesoftware.com/api/test", timeout=10)
        response.raise_for_status()
    except requests.RequestException as error:
        print("no report tonight:", error, file=sys.stderr)
        return 1
    for claim in response.json():
        print(f"{claim['type']:>12} {claim['value']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
