"""Shadows: requests that are sent to a second version too, and how its answers compare.

`shadowing` decides what is mirrored and asks the second version, `comparer` has the answers
compared by a process of its own (`comparing_process`), `results` publishes what it found.
"""
