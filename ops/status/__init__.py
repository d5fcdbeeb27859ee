"""`make status`: one screen about the compose stack, and whether anything in it needs a person.

Needs Docker and Python's standard library alone, so that it works where nothing was installed. ``collect`` asks, each
source by itself, since any of them may be down; ``judge`` and what it calls are pure functions on what was found;
``render`` and ``as_json`` show it.
"""
