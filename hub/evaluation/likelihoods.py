"""Log likelihoods for lm-eval, with every prompt read once for all of its choices; and what the model says by itself.

HFLM reads the prompt again for each choice and computes logits at every position. Here the choices of a prompt stand behind
it in one row, hidden from each other by the attention mask, and logits are computed where a choice is predicted only.

Precision: matrix products of the layers in bf16 where the processor has it, everything else (residual stream, norms,
logits, sums) in fp32. The log likelihood of a text differs from fp32's by about 1e-5 of itself; half the time is saved.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from torch import Tensor
from transformers import LlamaForCausalLM

from hub.evaluation import greedy
from trust.errors import Invalid

TOKENS_AT_ONCE = 4096
LOGITS_AT_ONCE = 1 << 25  # 128 MiB in fp32
WORTH_SHARING = 8  # tokens of a prompt; below, a row of its own can do without a mask
_PADDING = -1

Request = tuple[tuple[str, str] | None, list[int], list[int]]
"""lm-eval's: the two texts, or None; the tokens that are given; the tokens whose likelihood is asked for."""
Answer = tuple[float, bool]
"""(log likelihood in nats, whether greedy decoding would say just that)."""


@dataclass
class Row:
    """A prompt and what may follow it. `choices` are (number of the request, its tokens)."""

    prompt: tuple[int, ...]
    choices: list[tuple[int, list[int]]] = field(default_factory=list)

    def __len__(self) -> int:
        """Tokens that the model reads: the last one of a choice predicts nothing."""
        return len(self.prompt) + sum(len(tokens) - 1 for _, tokens in self.choices)


class SharedPromptLM(HFLM):  # type: ignore[misc]
    """HFLM for Llama models, which attend to everything; other classes are read HFLM's own way."""

    def _loglikelihood_tokens(
        self, requests: Sequence[Request], disable_tqdm: bool = True, override_bs: int | None = None
    ) -> list[Answer]:
        if not isinstance(self.model, LlamaForCausalLM):
            answers: list[Answer] = super()._loglikelihood_tokens(list(requests), True, override_bs)
            return answers
        found: dict[int, Answer] = {}
        for batch in batches(rows(requests, self.max_length)):
            found |= likelihoods(self.model, batch)
        return [found[number] for number in range(len(requests))]

    def generate_until(self, requests: Sequence[Instance], disable_tqdm: bool = True) -> list[str]:
        """Greedy answers, up to the first of each request's stop strings. Prompts that are too long lose their beginning."""
        if not isinstance(self.model, LlamaForCausalLM):
            outputs: list[str] = super().generate_until(list(requests), True)
            return outputs
        alike: dict[tuple[tuple[str, ...], int], list[int]] = defaultdict(list)
        for number, request in enumerate(requests):
            asked = request.args[1]
            alike[tuple(asked["until"]), asked["max_gen_toks"]].append(number)
        found: dict[int, str] = {}
        for (stops, most), numbers in alike.items():
            texts = self._say([str(requests[number].args[0]) for number in numbers], stops, most)
            found |= dict(zip(numbers, texts, strict=True))
        return [found[number] for number in range(len(requests))]

    def _say(self, texts: Sequence[str], stops: Sequence[str], most: int) -> list[str]:
        new = min(most, self.max_length // 2)
        room = self.max_length - new
        prompts = [self.tok_encode(text)[-room:] or [self.prefix_token_id] for text in texts]
        tail = max((len(stop) for stop in stops), default=0) + 2  # a token may be a single byte, a character up to four

        last = {stop[-1] for stop in stops}
        pieces: dict[
            int, str
        ] = {}  # what a token is by itself; half a character shows as U+FFFD, a leading space may not show

        def stopped(said: Sequence[int]) -> bool:
            piece = pieces.get(said[-1])
            if piece is None:
                piece = pieces[said[-1]] = self.tokenizer.decode(said[-1:])
            if " " not in last and "\ufffd" not in piece and last.isdisjoint(piece):
                return False
            end = self.tokenizer.decode(said[-4 * tail :])
            return any(stop in end for stop in stops)

        said: dict[int, str] = {}
        for batch in greedy.batches(prompts, new):
            tokens = greedy.decode(self.model, [prompts[i] for i in batch], new, {self.eot_token_id}, stopped)
            for position, answer in zip(batch, tokens, strict=True):
                said[position] = _cut(self.tokenizer.decode(answer, skip_special_tokens=True), stops)
        return [said[position] for position in range(len(texts))]


def _cut(text: str, stops: Sequence[str]) -> str:
    """The text before the first stop string in it."""
    return min((text.partition(stop)[0] for stop in stops), key=len, default=text)


def rows(requests: Sequence[Request], max_length: int) -> list[Row]:
    """Requests with the same prompt together, in rows of at most twice `max_length` tokens (or one choice).

    What is too long for the model loses tokens at its beginning, as in HFLM. Raises `Invalid` for a choice that is too long
    by itself.
    """
    groups: dict[tuple[int, ...], list[Row]] = defaultdict(list)
    for number, (_, given, asked) in enumerate(requests):
        if not given or not 1 <= len(asked) <= max_length:
            raise Invalid(f"A choice has {len(asked)} tokens, and the model reads 1 to {max_length}.")
        prompt = tuple(given[-(max_length + 1 - len(asked)) :])
        group = groups[prompt]
        if len(prompt) < WORTH_SHARING or not group or len(group[-1]) + len(asked) - 1 > 2 * max_length:
            group.append(Row(prompt))
        group[-1].choices.append((number, asked))
    return [row for group in groups.values() for row in group]


def batches(unsorted: Sequence[Row]) -> Iterator[list[Row]]:
    """Rows of similar length together, at most `TOKENS_AT_ONCE` tokens with padding (or one row), longest first."""
    batch: list[Row] = []
    for row in sorted(unsorted, key=len, reverse=True):
        if batch and len(batch[0]) * (len(batch) + 1) > TOKENS_AT_ONCE:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def precision() -> str:
    """The type of the layers' matrix products: bf16 where the hardware computes in it."""
    if torch.cuda.is_available():
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bfloat16" if fast else "float32"


@torch.inference_mode()
def likelihoods(model: LlamaForCausalLM, batch: Sequence[Row]) -> dict[int, Answer]:
    """The answer to every request of a batch, by its number. The model's weights are fp32."""
    width = max(len(row) for row in batch)
    tokens = torch.zeros(len(batch), width, dtype=torch.int64)
    positions = torch.zeros(len(batch), width, dtype=torch.int64)
    owners = torch.full((len(batch), width), _PADDING, dtype=torch.int64)
    places: list[int] = []
    wanted: list[int] = []
    order: list[tuple[int, int]] = []
    for index, row in enumerate(batch):
        start, length = index * width, len(row.prompt)
        _lay(tokens, positions, owners, index, slice(0, length), row.prompt, 0, 0)
        for owner, (number, asked) in enumerate(row.choices, start=1):
            end = length + len(asked) - 1
            _lay(tokens, positions, owners, index, slice(length, end), asked[:-1], len(row.prompt), owner)
            places += [start + len(row.prompt) - 1, *range(start + length, start + end)]
            wanted += asked
            order.append((number, len(asked)))
            length = end
    alone = all(len(row.choices) == 1 for row in batch)
    with torch.autocast(model.device.type, torch.bfloat16, enabled=precision() == "bfloat16"):
        hidden = model.model(
            input_ids=tokens.to(model.device),
            position_ids=positions.to(model.device),
            attention_mask=None if alone else _visible(owners).to(model.device),
            use_cache=False,
        ).last_hidden_state
    values, greedy = _chosen(model, hidden.flatten(0, 1)[places], torch.tensor(wanted, device=model.device))
    return _sums(order, values, greedy)


def _lay(
    tokens: Tensor,
    positions: Tensor,
    owners: Tensor,
    row: int,
    columns: slice,
    values: Sequence[int],
    first: int,
    owner: int,
) -> None:
    tokens[row, columns] = torch.tensor(values, dtype=torch.int64)
    positions[row, columns] = torch.arange(first, first + len(values))
    owners[row, columns] = owner


def _visible(owners: Tensor) -> Tensor:
    """[rows, 1, width, width]: what each token attends to: the prompt and its own choice, up to itself."""
    width = owners.shape[1]
    same = owners[:, :, None] == owners[:, None, :]
    prompt = owners[:, None, :] == 0
    return ((same | prompt) & torch.ones(width, width, dtype=torch.bool).tril())[:, None]


def _chosen(model: Any, hidden: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """For each position: the log likelihood of the wanted token, and whether it is the likeliest."""
    step = max(1, LOGITS_AT_ONCE // model.config.vocab_size)
    values, greedy = [], []
    for part, target in zip(torch.split(hidden, step), torch.split(wanted, step), strict=True):
        logits = model.lm_head(part.float())
        values.append(logits.gather(1, target[:, None])[:, 0] - logits.logsumexp(1))
        greedy.append(logits.argmax(1) == target)
    return torch.cat(values).cpu(), torch.cat(greedy).cpu()


def _sums(order: Sequence[tuple[int, int]], values: Tensor, greedy: Tensor) -> dict[int, Answer]:
    lengths = [length for _, length in order]
    parts = zip(order, torch.split(values, lengths), torch.split(greedy, lengths), strict=True)
    return {number: (float(part.double().sum()), bool(right.all())) for (number, _), part, right in parts}
