"""The run folder and the loops that fill it: draft, evaluate, compare."""
