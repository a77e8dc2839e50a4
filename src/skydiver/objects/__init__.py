"""Captures and other API resources: types, and the store contract."""

from skydiver.objects.capture import Capture, CaptureChecks, new_capture
from skydiver.objects.resource import Resource
from skydiver.objects.store import Change, ChangeKind, Conflict, ObjectStore

__all__ = [
    "Capture",
    "CaptureChecks",
    "Change",
    "ChangeKind",
    "Conflict",
    "ObjectStore",
    "Resource",
    "new_capture",
]
