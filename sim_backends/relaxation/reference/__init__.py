"""Readable NumPy/SciPy reference of the relaxation; the compiled engine is compared with it."""

from .engine import ReferenceEngine

__all__ = ["ReferenceEngine"]
