"""A second, independent gateway for tests: the uplink on PyPI's `h2` and `wsproto`.

Run as `python -m pygateway --cert FILE --key FILE --scenario NAME` with `tests/` as the working
directory. It prints JSON lines; the last one is `{"event": "result", "ok": ...}`.
"""
