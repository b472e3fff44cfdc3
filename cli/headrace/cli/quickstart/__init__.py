"""The quickstart: a broker, a node, continuous training and two clients, all real, on one machine.

It owns the show and its verdict: every process of it is what a deployment would run, and every
number that it tells was counted from answers. Nothing of the product depends on it.
"""
