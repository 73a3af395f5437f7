"""flowlake: AWS VPC Flow Logs as tables that people can trust and afford."""

from __future__ import annotations

__version__ = "0.1.0"
