"""Programs and SDKs that make requests of their own, with a token of ours: ``tox -e hosts``.

Each shows one token request for all tasks, and the renewal of a token that expires in mid-job and of one that the API
refuses.
"""
