"""What is said to the token service, and what it answers.

- ``token_request``: one fetch of a token, its requests and tries
- ``token_answer``: what an answer means, a token or an error
- ``backchannel``: the session that requests go through, with its retries and bounds
- ``options``: what can be configured of it
- ``deadline``: a time limit and a size for a whole HTTP exchange
- ``discovery``: the issuer's metadata
- ``revocation``: revoking a token, and asking whether it is active
"""
