"""What is said to the token service, and what it answers.

- ``token_request``: one fetch of a token, its requests and tries
- ``token_answer``: what an answer means, a token or an error
- ``advice``: what to do about an error code or a status
- ``excerpt``: what may be repeated of an answer
- ``backchannel``: sessions, retries and the time budget
- ``backchannel_options``: what can be configured of it
- ``http_exchange``: one request and its answer, by a session of ``requests``
- ``answer``: the answer as HTTP brought it
- ``failures``: what went wrong on the way, in words
- ``deadline``: work that is waited for until a deadline, whatever it does
- ``server``: what is known of an issuer or endpoint: metadata, clock, DPoP nonce
- ``discovery``: the issuer's metadata, fetched and refreshed
- ``metadata``: what it says
- ``revocation``: revoking a token, and asking whether it is active
- ``retry_after``: the header of that name
- ``http_date``: dates in headers
"""
