"""The node's links to the fleet: the control log it follows, the status it publishes, and what
clients ask to be served.

Turns Kafka records into `ControlEvent`s, `ServableStatus`es into Kafka records, and wishes of
clients into events; what the events mean is the core's business.
"""
