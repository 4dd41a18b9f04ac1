"""A round that learns from rewards at a site: the model answers the site's tasks, and members' policies judge what it says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from transformers import PreTrainedTokenizerFast

from contributors.site.private import Tasks
from learning.adaptation import AdaptationResult
from learning.objectives.chats import marks_of
from learning.objectives.completions import Sampling
from learning.rewarding import Grouped, adapt_to_rewards
from learning.rewards.policies import reward
from learning.trainable import Prepared
from protos.documents.campaigns import CampaignSpec
from protos.documents.rewards import Rewarded, RewardPolicy
from trust.errors import Invalid


class Judge:
    """By all of some policies: the reward of a completion is the mean of theirs. `rows` are those of the prompts, in order."""

    def __init__(
        self,
        policies: Sequence[RewardPolicy],
        rows: Sequence[Mapping[str, Any]],
        tokenizer: PreTrainedTokenizerFast,
    ) -> None:
        self._policies = [policy.model_dump(mode="json", exclude_none=True) for policy in policies]
        self._rows, self._tokenizer = rows, tokenizer

    def __call__(self, number: int, completion: Sequence[int]) -> float:
        """Of what was said after prompt `number`, without the mark that ends it."""
        text = self._tokenizer.decode(list(completion), skip_special_tokens=True)
        given = [reward(policy, self._rows[number], text).value for policy in self._policies]
        return sum(given) / len(given)


def learn(
    prepared: Prepared,
    tasks: Tasks,
    tokenizer: PreTrainedTokenizerFast,
    policies: Sequence[RewardPolicy],
    spec: CampaignSpec,
    seed: int,
) -> tuple[AdaptationResult, Rewarded]:
    """A round of GRPO as the spec says, in place. Raises `Invalid`."""
    training, how = spec.training, spec.rewards
    if how is None or len(policies) != len(how.policies):
        raise Invalid("The site does not hold the policies that the campaign learns by.", "Join the campaign again.")
    found = adapt_to_rewards(
        prepared,
        [each.prompt for each in tasks.each],
        Judge(policies, [each.row for each in tasks.each], tokenizer),
        Sampling(how.temperature, how.max_new_tokens, marks_of(tokenizer).end),
        Grouped(how.group, how.passes, how.clip, how.beta),
        *(training.steps, training.batch_size, training.learning_rate, seed),
        proximal=training.proximal,
    )
    return found.adaptation, Rewarded(
        first=found.reward_first, last=found.reward_last, divergence=found.divergence, length=found.length
    )
