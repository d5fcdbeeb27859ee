"""The state of the compose stack on one screen: ``collect`` asks, ``judge`` decides what needs a person."""
