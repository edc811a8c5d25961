//! The independent gateway in Python, started and commanded.
