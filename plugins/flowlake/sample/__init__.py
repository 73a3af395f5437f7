"""The sample log generator: flow logs of a network that people recognise, and the truth that they tell imperfectly.

    report = generate(SampleSpec(seed=7, hours=3), Path("sample"))

writes `sample/logs/` (a source's root: objects named, laid out and dated as S3 would have them), `sample/truth.parquet`
(who really sent how much to whom, computed from the traffic and not from the records) and `sample/network.yaml` (the
facts that a run's settings may need: NAT gateways, internal networks, names).
"""

from __future__ import annotations

from flowlake.sample.generator import generate
from flowlake.sample.spec import FaultKind, InjectedFault, SampleError, SampleReport, SampleSpec
from flowlake.sample.worst_case import WorstCaseReport, generate_worst_case

__all__ = [
    "FaultKind",
    "InjectedFault",
    "SampleError",
    "SampleReport",
    "SampleSpec",
    "WorstCaseReport",
    "generate",
    "generate_worst_case",
]
