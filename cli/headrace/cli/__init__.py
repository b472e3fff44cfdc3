"""The command line: one program, ``headrace``, and the embedded broker that it starts.

It owns what a person at a terminal needs (commands, progress, one clear line per mistake) and
leaves serving to ``headrace.consumer`` and publishing to ``headrace.publisher``.
"""
