"""What hosts find by a class path or an entry point; nothing else imports it.

- ``httpie``: ``http -A cc -a SESSION: URL``
"""
