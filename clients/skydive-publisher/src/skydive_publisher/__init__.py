"""State nodes and edges in the topology of Skydive, from any Python program.

Blocking, thread-safe, pure Python: it works in services whose sockets and threads were replaced by
eventlet or gevent.
"""

from skydive_publisher.errors import Full, Invalid, PublisherError, Refused, Unavailable
from skydive_publisher.publisher import Publisher

__all__ = ["Full", "Invalid", "Publisher", "PublisherError", "Refused", "Unavailable"]
