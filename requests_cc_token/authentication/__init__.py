"""How a client proves who it is to the token service (RFC 6749 section 2.3).

- ``method``: what every method has in common; derive from it for one of your own
- ``client_secret``: the secret itself, in a header or in the form
- ``assertions``: JWTs that are signed with a key, MACed with the secret, or made by somebody else
- ``ambient``: the identity that a CI job or cloud workload has by itself
- ``mutual_tls``: the client's TLS certificate
- ``no_authentication``: none, where the grant brings a proof of its own
- ``by_name``: which method is meant by an IANA name, by a table with its keywords, or by the keys of a TOML file
- ``signing_key``: private keys that sign
- ``certificate``: TLS certificates with their keys, read again once their files change
- ``dpop``: the key that tokens are bound to, and the proofs that it is held
"""
