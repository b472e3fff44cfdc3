"""The commands of ``headrace``, one per module, each a plain function that the program registers.

A command imports what it runs inside its function, so that ``headrace --help`` stays fast.
"""
