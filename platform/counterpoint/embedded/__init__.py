"""Real PostgreSQL and Valkey as supervised children, when no address is given. Knows no Django.

One process owns the engines of a home folder (`python -m counterpoint.embedded`); web, workers and
commands read `connection.json` and attach. Loopback only: this PostgreSQL speaks no TLS.
"""
