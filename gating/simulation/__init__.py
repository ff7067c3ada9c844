"""What would the gate have decided? Recorded decisions, made again under a draft. Pure.

`recorded` is what is known of a decision, `drafts` how a draft changes the rules it was
made under, `worlds` what had been used and held by then, `judging` the decision made
again, and `results` what came of all of them.
"""

from gating.simulation.drafts import Draft, Home, PlanChange, Standing, redrafted
from gating.simulation.judging import Judged, Mode, NotJudged, Simulation
from gating.simulation.recorded import Ended, Recorded, rules_of
from gating.simulation.results import Counts, Example, Flip, Group, Results

__all__ = [
    "Counts",
    "Draft",
    "Ended",
    "Example",
    "Flip",
    "Group",
    "Home",
    "Judged",
    "Mode",
    "NotJudged",
    "PlanChange",
    "Recorded",
    "Results",
    "Simulation",
    "Standing",
    "redrafted",
    "rules_of",
]
