"""How a program signs the control events that it writes, and whose events it believes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

from headrace.publisher.errors import InvalidKey, NotTrusted
from headrace.publisher.gate import check_validated
from headrace.publisher.signing import SigningKey
from headrace.publisher.trusted_keys import TrustedKeys
from headrace.schemas.errors import EventRefused
from headrace.schemas.records import ModelConfig, ModelVersion

SIGNING_KEY_VARIABLE: Final = "HEADRACE_SIGNING_KEY"
TRUSTED_KEYS_VARIABLE: Final = "HEADRACE_TRUSTED_KEYS"


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSecurity:
    """Signing, trust and the demand for validation; the default has none of them.

    **Concurrency:** immutable; share it freely.

    Args:
        signing_key: signs what is written; None writes unsigned events.
        trusted_keys: whose events of the log are believed; None believes all.
        requires_validation: whether versions without validation are believed.

    Raises:
        InvalidKey: the signing key is not among the trusted ones.
    """

    signing_key: SigningKey | None = None
    trusted_keys: TrustedKeys | None = None
    requires_validation: bool = False

    def __post_init__(self) -> None:
        """Refuse a signing key whose events would be refused."""
        key, trusted = self.signing_key, self.trusted_keys
        if key is not None and trusted is not None and trusted.find(key.id) is None:
            raise InvalidKey(
                f"signing key {key.id} is not among the trusted keys ({trusted}): its events would "
                "be refused; add what 'headrace keys show' prints of it to their file, or sign "
                "with one of them"
            )

    @classmethod
    def of_files(
        cls,
        signing_key: str | os.PathLike[str] | None,
        trusted_keys: str | os.PathLike[str] | None,
        *,
        requires_validation: bool = False,
    ) -> Self:
        """Read the keys from their files; raises InvalidKey, in words."""
        return cls(
            signing_key=SigningKey.load(signing_key) if signing_key else None,
            trusted_keys=TrustedKeys.load(trusted_keys) if trusted_keys else None,
            requires_validation=requires_validation,
        )

    @classmethod
    def from_environment(
        cls,
        signing_key: str | os.PathLike[str] | None = None,
        trusted_keys: str | os.PathLike[str] | None = None,
        *,
        environment: Mapping[str, str] | None = None,
    ) -> Self:
        """Read the files that are given or that HEADRACE_SIGNING_KEY and _TRUSTED_KEYS name."""
        variables = os.environ if environment is None else environment
        return cls.of_files(
            signing_key or variables.get(SIGNING_KEY_VARIABLE),
            trusted_keys or variables.get(TRUSTED_KEYS_VARIABLE),
        )

    def check_model(self, model: str) -> None:
        """Raise NotTrusted, in words, when an event of this model would be refused."""
        if self.trusted_keys is None:
            return
        if self.signing_key is None:
            raise NotTrusted(
                "with trusted keys only signed events count: give a signing key (--signing-key, "
                f"{SIGNING_KEY_VARIABLE})"
            )
        key = self.trusted_keys.find(self.signing_key.id)
        if key is None or not key.may_sign_for(model):
            models = ", ".join(key.models) if key else "none"
            raise NotTrusted(
                f"signing key {key or self.signing_key.id} may sign for models {models}, and not "
                f"for {model!r}: use a key that may, or give this one the model in the file of "
                "trusted keys"
            )

    def check_unvalidated(self, model: str) -> None:
        """Raise NotTrusted, in words, when versions without validation would be refused."""
        if self.requires_validation:
            raise NotTrusted(
                f"versions of {model!r} that clients ask a node for are not validated, and only "
                "validated ones are served here (--require-validation): use 'headrace publish'"
            )

    def check_record(self, model: str, record: ModelVersion | ModelConfig | None) -> None:
        """Raise NotTrusted, in words, when this event would be refused; None is a tombstone."""
        self.check_model(model)
        if self.requires_validation:
            try:
                check_validated(record)
            except EventRefused as error:
                raise NotTrusted(str(error)) from error
