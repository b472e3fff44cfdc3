"""Shared by all tests: nothing heavy, so that one unit test starts at once."""
