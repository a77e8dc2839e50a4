"""What can go wrong for a program that publishes; each message is one line."""


class PublisherError(Exception):
    """Base of the others."""


class Invalid(PublisherError, ValueError):
    """A node or an edge is not what Skydive takes; nothing was sent."""


class Full(PublisherError):
    """More than a publisher may hold."""


class Refused(PublisherError):
    """The server does not let this publisher in, and will not later either."""


class Unavailable(PublisherError):
    """The server is not there now, or did not answer in time."""
