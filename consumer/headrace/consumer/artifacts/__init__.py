"""Artefacts: from the URI and digest of an event to a verified folder on this machine."""
