"""Serving maps as the manager would leave them at a control record, without a manager."""

from __future__ import annotations

from headrace.consumer.core.choice import Serving
from headrace.consumer.core.serving_map import ServingMap
from tests.fakes.servable import FakeServable


def plan(served: ServingMap, offset: int, *servables: FakeServable) -> None:
    """Serve these versions, and want them of their models and no others, as of an offset."""
    for name in {servable.planned.record.model for servable in servables}:
        of_model = [each for each in servables if each.planned.record.model == name]
        routes = served.model(name)
        numbers = frozenset(each.planned.record.version for each in of_model)
        routes.wanted = routes.planned = numbers
        routes.published = {
            each.planned.record.version: each.planned.control_offset for each in of_model
        }
        for each in of_model:
            routes.serving[each.planned.record.version] = Serving(each.planned, each)
    served.note_change(offset)
