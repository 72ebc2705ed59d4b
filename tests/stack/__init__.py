"""Real services for tests and for ./quickstart.

Every class here starts one program on a free port of 127.0.0.1, in a
directory of its own, and can stop, kill, freeze and restart it.  Nothing here
knows what Sluice does with the services; tests and quickstart.py do.
"""
