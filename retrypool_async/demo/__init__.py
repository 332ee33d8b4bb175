"""The demo: a service with strict keys, in a process of its own, and a pool that serves it.

`python -m retrypool_async demo` runs it. It needs what `retrypool-async[demo]` installs; nothing
in the library imports it.
"""
