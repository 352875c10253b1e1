"""What an error of the Redis client says of the command that was sent."""

from __future__ import annotations

import redis


def gave_no_answer(error: Exception) -> bool:
    """Whether the command was sent, and may have been done all the same.

    The client has no classes for that: where it could not connect, it says so in its text.
    """
    if isinstance(error, (redis.AuthenticationError, redis.BusyLoadingError)):
        return False
    lost = isinstance(error, (redis.TimeoutError, redis.ConnectionError))
    return lost and "connecting to" not in str(error)
