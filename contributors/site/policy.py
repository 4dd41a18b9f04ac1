"""What this site agrees to without being asked (`site.toml`), and the test that a round's task must pass."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from contributors.site.budget import NOTHING, Spending, unaffordable
from contributors.site.kept import keep, kept
from protos.documents.base import DigestText, Document, FileEntry, Identifier
from protos.documents.campaigns import CampaignSpec, SitePolicy
from protos.documents.methods import Objective
from protos.documents.rewards import RewardPolicy
from protos.documents.rounds import RoundTask
from trust.errors import Denied, Invalid, NotFound
from trust.files import write_atomic

FILE = "site.toml"


class Agreed(Document):
    """A campaign that we consented to: the spec as its signed statement has it, the reward policies that it names as theirs
    have them, the files of its base model as the ledger has them, the site's key that our consent names, and whether it is still
    on."""

    campaign: Identifier
    spec: CampaignSpec
    rewards: tuple[RewardPolicy, ...] = ()
    base: tuple[FileEntry, ...] = ()
    site_key: DigestText | None = None
    ended: bool = False


class Agreements(Document):
    """All of them; the site writes this file, its training process reads it before every round."""

    campaigns: tuple[Agreed, ...] = ()


def load_policy(home: Path) -> SitePolicy:
    """Raises `NotFound` before the first `coalition site start`, `Invalid` for a wrong file."""
    path = home / FILE
    try:
        return SitePolicy.read(tomllib.loads(path.read_text()))
    except FileNotFoundError:
        raise NotFound(
            f"There is no {path}.", "Say where your private text lies: coalition site start --data DIR"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"{path} is not valid TOML: {error}.") from None


def update_policy(home: Path, data: Path | None, join: str, country: str = "") -> SitePolicy:
    """The policy with what was given on the command line, kept for the next time; a new one agrees to every objective that there
    is now. Raises as `load_policy`."""
    given = {"data": str(data.absolute())} if data is not None else {}
    given |= {name: value for name, value in (("join", join), ("country", country)) if value}
    known: dict[str, object] = {"objectives": get_args(Objective)}
    if (home / FILE).exists() or not data:
        known = load_policy(home).model_dump()
    policy = SitePolicy.read({**known, **given})
    if not Path(policy.data).exists():
        raise NotFound(f"There is no {policy.data}.", "Name the folder or file of your private text with --data.")
    if given:
        write_atomic(home / FILE, _toml(policy.model_dump(exclude_none=True)).encode())
    return policy


def _toml(values: Mapping[str, Any]) -> str:
    """Values first, then tables."""
    tables = {key: value for key, value in values.items() if isinstance(value, dict)}
    lines = [f"{key} = {json.dumps(value)}\n" for key, value in values.items() if key not in tables]
    return "".join([*lines, *(f"\n[{key}]\n{_toml(value)}" for key, value in tables.items())])


def acceptable(policy: SitePolicy, spec: CampaignSpec, spent: Spending = NOTHING) -> str:
    """Why the policy refuses a campaign, where so much was `spent` on others; empty when it does not."""
    if spec.rounds > policy.maximum_rounds:
        return f"it has {spec.rounds} rounds, and the site's policy allows {policy.maximum_rounds}"
    if spec.objective not in policy.objectives:
        return (
            f"its objective is {spec.objective}, and the site's policy allows {', '.join(policy.objectives) or 'none'}"
        )
    if spec.trainable not in policy.trainable:
        return (
            f'its trainable part is "{spec.trainable}", and the site\'s policy allows {", ".join(policy.trainable) or "none"}'
            " (trainable)"
        )
    if spec.generated > policy.maximum_generated:
        return (
            f"its model writes up to {spec.generated} tokens a round, and the site's policy allows "
            f"{policy.maximum_generated} (maximum_generated)"
        )
    return unaffordable(policy.privacy, spec, spent)


def check_task(task: RoundTask, policy: SitePolicy, agreements: Agreements) -> Agreed:
    """That we consented to exactly this and it is still on: what we consented to. Raises `Denied`."""
    agreed = next((each for each in agreements.campaigns if each.campaign == task.campaign), None)
    if agreed is None:
        raise Denied(f"This site has not joined {task.campaign}.")
    if agreed.ended:
        raise Denied(f"{task.campaign} is over.")
    if task.spec != agreed.spec:
        raise Denied(f"The task differs from the spec of {task.campaign} that this site consented to.")
    if task.round > agreed.spec.rounds:
        raise Denied(f"{task.campaign} has no round {task.round}.")
    if task.round == 1 and agreed.base and (others := task.model ^ set(agreed.base)):
        wrong = min(each.path for each in others)
        raise Denied(f"{wrong} of the task is not that of {task.spec.base_model} on the ledger.", "Tell the core team.")
    if why := acceptable(policy, task.spec):
        raise Denied(f"{task.campaign} goes beyond the site's policy: {why}.")
    return agreed


def read_agreements(home: Path) -> Agreements:
    return kept(_agreements(home), Agreements) or Agreements()


def write_agreements(home: Path, agreements: Agreements) -> None:
    keep(_agreements(home), agreements)


def _agreements(home: Path) -> Path:
    return home / "site" / "agreements.json"
