"""What machines may be granted tokens for, beside their own credentials (RFC 6749 section 4.5).

- ``grant``: what every grant has in common
- ``jwt_bearer``: a JWT that the worker signs itself (RFC 7523)
- ``token_exchange``: a token of the worker's own, exchanged for another one (RFC 8693)
- ``by_name``: which grant is meant by a table with its keywords
"""
