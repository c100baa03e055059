"""What every question uses: cases, measurement, report."""

from .case import Case, Size, values

__all__ = ["Case", "Size", "values"]
