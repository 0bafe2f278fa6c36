"""Many calls at once: one session, shared by a pool of threads."""

import logging
import os
from concurrent.futures import ThreadPoolExecutor

from requests_cc_token import AccessTokenManagement

#: As many calls as the API bears at once.
THREADS = int(os.environ.get("WORKER_THREADS", "32"))


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(threadName)s %(message)s")

    with AccessTokenManagement.from_config("worker.toml") as management:
        session = management.make_session("client")

        def upload(number: int) -> int:
            response = session.post("upload", data=b"x" * number)
            response.raise_for_status()
            length: int = response.json()["length"]
            return length

        with ThreadPoolExecutor(THREADS) as pool:
            total = sum(pool.map(upload, range(200)))
    print(total, "bytes uploaded")


if __name__ == "__main__":
    main()
