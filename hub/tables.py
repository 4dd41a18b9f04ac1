"""All rooms' tables in one import, for the migrations. Rooms themselves import their own `tables` only."""

from hub.evaluation import tables as evaluation
from hub.ledger import tables as ledger
from hub.members import tables as members
from hub.models import tables as models
from hub.progress import tables as progress
from hub.rounds import tables as rounds
from hub.submissions import tables as submissions
from hub.training import tables as training
from hub.witnesses import tables as witnesses

__all__ = ["evaluation", "ledger", "members", "models", "progress", "rounds", "submissions", "training", "witnesses"]
