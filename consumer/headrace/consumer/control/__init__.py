"""The node's two links to the fleet: the control log it follows, and the status it publishes.

Turns Kafka records into `ControlEvent`s and `ServableStatus`es into Kafka records; what the events
mean is the core's business.
"""
