"""What one run may spend: `stop_after=` in time, `max_cost=` in what its workers cost."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.config.job_config import JobConfig
from pipeline.driver.clock import Clock
from pipeline.driver.progress import duration


@dataclass(frozen=True)
class RunBudget:
    """The budget of a run that began at `started`, by `clock`; None: nothing bounds it."""

    clock: Clock
    started: float
    stop_after: float | None = None
    max_cost: float | None = None
    price_per_hour: float = 0.0

    @classmethod
    def of(cls, config: JobConfig, clock: Clock) -> RunBudget:
        """The budget of a run that begins now."""
        return cls(clock, clock(), config.stop_after, config.max_cost, config.price_per_hour or 0.0)

    @property
    def is_bounded(self) -> bool:
        """Whether there is a bound at all."""
        return self.stop_after is not None or self.max_cost is not None

    def spent(self, worker_seconds: float) -> str:
        """What is used up, after so many seconds of workers together; empty while nothing is."""
        seconds = self.clock() - self.started
        if self.stop_after is not None and seconds >= self.stop_after:
            return f"stop_after={duration(self.stop_after)}"
        cost = worker_seconds / 3600 * self.price_per_hour
        if self.max_cost is not None and cost >= self.max_cost:
            return f"max_cost={self.max_cost:g}, and its workers have cost {cost:.2f}"
        return ""
