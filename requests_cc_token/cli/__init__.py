"""What operators run: ``requests-cc-token``, a file a command.

- ``app``: the commands together, and what the process ends with
- ``options``: ``--config`` and what else every command takes
- ``outcome``: exit codes, and which error means which
- ``report``: findings: one verdict a line, with what to do, or JSON
- ``check``: a configuration by itself: nothing is sent without --live
- ``files``: what a configuration's files look like: there, readable, by whom, until when
- ``literals``: secrets that stand in a configuration itself
- ``live``: a token client against its token service, step by step; then the store of tokens, and the API
- ``connection``: name, connection, TLS: the way to a server, with times
- ``call``: ``request``: an authenticated request from the shell
- ``token``: an access token for scripts, or what is known of it
- ``cache``: what the store of tokens holds, and emptying it
- ``keys``: key pairs for signed assertions, DPoP and mutual TLS
- ``discover``: a configuration to start from, of what an issuer or API publishes
- ``demo``: a worker that is watched at its work
- ``demo_output``: what the demo shows: lines, and the life of each token as a bar
"""
