"""A Keras callback that publishes while it trains: each epoch that improves a metric is a version.

The only module of the publisher that imports Keras; nothing of the publisher imports it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, Protocol, Unpack

import structlog

from headrace.publisher import configuration
from headrace.publisher.errors import InvalidArgument
from headrace.publisher.events import Published
from headrace.publisher.improvement import Improvement, Mode
from headrace.publisher.models import ModelPublisher
from headrace.publisher.training import (
    PublishOptions,
    publish_blocking,
    publisher_from_environment,
)

if TYPE_CHECKING:

    class _Model(Protocol):
        def export(self, filepath: str, *, verbose: bool) -> object: ...

    class Callback:
        """keras.callbacks.Callback, as far as it is used here; Keras ships no types."""

        @property
        def model(self) -> _Model:
            """The model that is trained."""
            ...

else:
    try:
        from keras.callbacks import Callback
    except ImportError as error:
        raise ImportError(
            f"headrace.publisher.keras needs Keras 3 and a backend of it ({error}): install them "
            "with pip install 'headrace[keras]'"
        ) from error

_LOG: Final = structlog.get_logger(__name__)


class PublishBest(Callback):
    """Publishes the model after each epoch in which a metric was better than ever before.

        model.fit(x, y, validation_split=0.2, callbacks=[PublishBest("ranker", wait="fleet")])

    The version takes the next free number, and its metadata has the epoch, counted from 1 as Keras
    prints it, and all metrics. Training waits for the publication. The best value is kept from one
    `fit` to the next, so a model that is trained on and on is only ever replaced by a better one.

    Attributes:
        published: what was published, oldest first.
        failures: what publications failed with.

    **Concurrency:** one training at a time. A running event loop, as in a notebook, does no harm.
    """

    def __init__(
        self,
        model_name: str,
        publisher: ModelPublisher | None = None,
        *,
        monitor: str = "val_loss",
        mode: Mode = "auto",
        min_delta: float = 0.0,
        better_than: float | None = None,
        on_error: Literal["log", "raise"] = "log",
        **options: Unpack[PublishOptions],
    ) -> None:
        """Prepare; no I/O.

        Args:
            model_name: what to publish as.
            publisher: where to, with which topics and store; None asks the environment, as the
                commands do.
            monitor: the metric, as Keras calls it in its logs.
            mode: whether `min` or `max` is better; `auto` tells by the name where it can.
            min_delta: how much better, at least, a value must be to count.
            better_than: what the first version must be better than, for example the value of the
                version that serves; None publishes the first epoch, too.
            on_error: what to do when a publication fails. `log` warns and trains on: hours of
                training must not be lost to a broker that is away. The epoch then does not count
                as published, so the next one that is better than the last published one is.
            options: as in `ModelPublisher.publish`.

        Raises:
            InvalidArgument: an argument cannot be.
        """
        super().__init__()
        configuration.check_name(model_name)
        if on_error not in {"log", "raise"}:
            raise InvalidArgument(f"on_error {on_error!r} is not known: give 'log' or 'raise'")
        self._model_name = model_name
        self._publisher = publisher or publisher_from_environment()
        self._monitor = monitor
        self._improvement = Improvement(monitor, mode, min_delta=min_delta, best=better_than)
        self._raises = on_error == "raise"
        self._options = options
        self._was_seen = False
        self.published: list[Published] = []
        self.failures: list[Exception] = []

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Publish, if the metric has improved; Keras calls this.

        Raises:
            InvalidArgument: Keras does not report the metric.
        """
        metrics = {name: float(value) for name, value in (logs or {}).items()}
        value = metrics.get(self._monitor)
        if value is None:
            self._check_seen(metrics)
            return
        self._was_seen = True
        if not self._improvement.is_better(value):
            return
        try:
            published = self._publish(epoch + 1, metrics)
        except Exception as error:  # door: whatever it is, it must not end the training
            if self._raises:
                raise
            self.failures.append(error)
            _LOG.warning(
                "publication.failed", model=self._model_name, epoch=epoch + 1, error=str(error)
            )
        else:
            self._improvement.best = value
            self.published.append(published)

    def _check_seen(self, metrics: Mapping[str, float]) -> None:
        """Raise unless the metric was there before: `validation_freq` may leave epochs out."""
        if not self._was_seen:
            raise InvalidArgument(
                f"Keras reports no metric {self._monitor!r} after the first epoch, it reports "
                f"{', '.join(sorted(metrics)) or 'none'}: monitor one of these, or have it "
                "computed (metrics with val_ need validation data, after the first epoch, too)"
            )

    def _publish(self, epoch: int, metrics: Mapping[str, float]) -> Published:
        told = {name: repr(value) for name, value in metrics.items()}
        told |= {"epoch": str(epoch), "monitor": self._monitor}
        options: PublishOptions = {
            **self._options,
            "metadata": {**told, **(self._options.get("metadata") or {})},
        }
        with tempfile.TemporaryDirectory(prefix="headrace-") as folder:
            path = Path(folder) / "model"
            self.model.export(str(path), verbose=False)
            return publish_blocking(self._publisher, self._model_name, None, path, **options)
