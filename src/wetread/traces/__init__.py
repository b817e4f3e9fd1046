"""Reasoning traces and reflections: what models that think are trained on. Written, checked, kept with why not."""
