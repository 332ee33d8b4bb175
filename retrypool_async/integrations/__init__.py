"""Pools together with other libraries: one module each, imported by whoever uses it."""
