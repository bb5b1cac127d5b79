"""The small screen of the workflow's tests, and the finished run over it."""

from workflow.conftest import finished, finished_run, fresh, fresh_checkout, screened_plates

__all__ = ["finished", "finished_run", "fresh", "fresh_checkout", "screened_plates"]
