"""What can load and run a model. `platform` is the contract; each other module keeps it for one
kind of model. Only the worker processes import them.
"""
