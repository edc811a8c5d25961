"""JSON lines on standard output."""

import json
import time

START = time.monotonic()


def emit(event, **fields):
    """Prints one event; `t` is seconds since start."""
    print(json.dumps({"event": event, "t": round(time.monotonic() - START, 4), **fields}), flush=True)


class Failure(Exception):
    """The agent did something that the protocol does not allow, or did not do what it must."""
