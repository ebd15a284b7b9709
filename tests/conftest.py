"""Fixtures that all tests may use: see python/pollux/pytest_plugin.py."""

pytest_plugins = ["pollux.pytest_plugin"]
