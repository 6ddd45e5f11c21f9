"""Logs and metrics. Nothing personal: names of events, codes of institutions and reasons, counts and times.

Log lines are JSON on standard error. Metrics are Prometheus text at ``/metrics``; each institution has its own registry, so that
several can live in one process.
"""

from __future__ import annotations

import logging
import secrets
import sys
import traceback
from functools import lru_cache

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


class Observer:
    """What one institution tells its operators."""

    def __init__(self, body: str, role: str, level: str = "warning") -> None:
        self.registry = CollectorRegistry()
        self.log: structlog.typing.FilteringBoundLogger = structlog.wrap_logger(
            structlog.PrintLogger(sys.stderr),
            processors=[
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                structlog.processors.JSONRenderer(ensure_ascii=False),
            ],
            wrapper_class=structlog.make_filtering_bound_logger(LEVELS.get(level, logging.WARNING)),
        ).bind(body=body, role=role)
        self._counter = lru_cache(maxsize=None)(
            lambda name: Counter(f"renkei_{name}", name.replace("_", " "), registry=self.registry)
        )
        self._gauge = lru_cache(maxsize=None)(
            lambda name: Gauge(f"renkei_{name}", name.replace("_", " "), registry=self.registry)
        )
        self._histogram = lru_cache(maxsize=None)(
            lambda name: Histogram(f"renkei_{name}_seconds", name.replace("_", " "), registry=self.registry)
        )

    def count(self, name: str, amount: int = 1) -> None:
        """Add to the counter ``renkei_<name>_total``."""
        self._counter(name).inc(amount)

    def set(self, name: str, value: float) -> None:
        """Set the gauge ``renkei_<name>``."""
        self._gauge(name).set(value)

    def time(self, name: str, seconds: float) -> None:
        """Observe a duration in the histogram ``renkei_<name>_seconds``."""
        self._histogram(name).observe(seconds)

    def failure(self, where: str) -> str:
        """Log the exception being handled, without its message (it may quote data); answers a reference for the caller."""
        reference = secrets.token_hex(6)
        kind, _, at = sys.exc_info()
        frames = [f"{f.filename.rsplit('/', 2)[-1]}:{f.lineno} {f.name}" for f in traceback.extract_tb(at)][-6:]
        self.log.error("failure", where=where, reference=reference, kind=kind.__name__ if kind else "", frames=frames)
        self.count("failures")
        return reference

    def metrics(self) -> bytes:
        """All metrics as Prometheus text."""
        return generate_latest(self.registry)
