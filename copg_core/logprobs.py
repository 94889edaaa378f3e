"""The one owner of shift, mask, packing and SUM: log-probabilities of completions, and rewards at their last token.

Two things vary with the architecture. LAYOUT: prompt and both completions in one row (`packed`), or a row each. HEAD:
the output layer on completion positions alone, in chunks with a float32 logsumexp (`chunked`), or the model's own
logits at every position. What is recognised from the configuration is then checked on the first batch against plain
rows and the model's own logits, and a disagreement stops the run.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from copg_core.errors import ModelError
from copg_core.layout import NO_TARGET, Rows, TokenRow, lay_out

# Logits alive at once in the chunked head: 2^25 float32 values are 128 MiB.
LOGITS_AT_ONCE = 2**25
# Multipliers and caps that some architectures apply to their logits, by configuration field and neutral value.
LOGIT_CHANGES = {"final_logit_softcapping": None, "logit_scale": 1.0, "logits_scaling": 1.0, "lm_head_multiplier": 1.0}
# float32 noise of a summed log-probability is about 1e-5 nats; a wrong mask is off by 0.1 to 1.
SELF_CHECK_TOLERANCE = 2e-3
# The parameter of a reward model that is never rounded.
HEAD = frozenset({"score.weight"})


@dataclass(frozen=True)
class CodePath:
    """How log-probabilities are computed for one model, and why not in the fast way where that is so.

    `temperature` divides the logits: log-probabilities are of the policy that samples at this temperature.
    """

    packed: bool
    chunked: bool
    reason: str = ""
    temperature: float = 1.0


def recognise(model: Any, longest_row: int) -> CodePath:
    """Choose the code path of a causal language model from its configuration.

    `longest_row` is the longest packed row in tokens: a sliding window at least that wide never cuts anything.
    """
    return CodePath(
        packed=not (against_packing := _against_packing(model, longest_row)),
        chunked=not (against_chunks := _against_chunked_head(model)),
        reason="; ".join(filter(None, (against_packing, against_chunks))),
    )


def _against_packing(model: Any, longest_row: int) -> str:
    config = model.config.get_text_config(decoder=True)
    layer_types = set(getattr(config, "layer_types", None) or ())
    if getattr(model, "_is_stateful", False) or layer_types - {"full_attention", "sliding_attention"}:
        return "recurrent or state-space layers carry their state over a completion's end"
    window = getattr(config, "sliding_window", None)
    uses_window = "sliding_attention" in layer_types if layer_types else getattr(config, "use_sliding_window", True)
    if window and uses_window and longest_row > window:
        return f"rows of {longest_row} tokens are longer than the attention window of {window}"
    if not _takes_positions(decoder_of(model)):
        return "the architecture takes no position ids"
    if getattr(config, "_attn_implementation", None) != "sdpa":
        return "only scaled dot-product attention takes the mask of packed rows"
    return ""


def _against_chunked_head(model: Any) -> str:
    config = model.config.get_text_config(decoder=True)
    head = model.get_output_embeddings()
    if not isinstance(head, nn.Linear) or getattr(head, "bias", None) is not None:
        return "the output layer is not a plain matrix"
    changed = [name for name, neutral in LOGIT_CHANGES.items() if getattr(config, name, neutral) not in (neutral, None)]
    return f"the architecture changes its logits ({', '.join(changed)})" if changed else ""


def decoder_of(model: Any) -> nn.Module:
    """The part of a causal language model below its output layer."""
    return cast(nn.Module, model.get_decoder())


class _ChunkedLogProbs(torch.autograd.Function):
    """ln softmax(h W^T)[target] for each row of h, with never more than `chunk` rows of logits alive.

    Logits and logsumexp are float32 (float64 for float64 input) whatever the dtype of h. The backward pass computes
    the logits again: d ln p / dz = onehot(target) - softmax(z).
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, target: Tensor, chunk: int) -> Tensor:
        wide = torch.promote_types(hidden.dtype, torch.float32)
        narrow_weight = weight.to(hidden.dtype)
        log_prob = hidden.new_empty(len(target), dtype=wide)
        log_normaliser = torch.empty_like(log_prob)
        for start in range(0, len(target), chunk):
            part = slice(start, start + chunk)
            logits = (hidden[part] @ narrow_weight.t()).to(wide)
            log_normaliser[part] = logits.logsumexp(-1)
            log_prob[part] = logits.gather(1, target[part, None])[:, 0] - log_normaliser[part]
        ctx.save_for_backward(hidden, weight, target, log_normaliser)
        ctx.chunk = chunk
        return log_prob

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, target, log_normaliser = ctx.saved_tensors
        (gradient,) = gradients
        narrow_weight = weight.to(hidden.dtype)
        grad_hidden = torch.empty_like(hidden)
        grad_weight = torch.zeros_like(weight, dtype=log_normaliser.dtype) if ctx.needs_input_grad[1] else None
        for start in range(0, len(target), ctx.chunk):
            part = slice(start, start + ctx.chunk)
            logits = (hidden[part] @ narrow_weight.t()).to(log_normaliser.dtype)
            slope = (logits - log_normaliser[part, None]).exp_().neg_()
            slope.scatter_add_(1, target[part, None], torch.ones_like(slope[:, :1]))
            slope = slope.mul_(gradient[part, None]).to(hidden.dtype)
            grad_hidden[part] = slope @ narrow_weight
            if grad_weight is not None:
                grad_weight += (slope.t() @ hidden[part]).to(grad_weight.dtype)
        return grad_hidden, None if grad_weight is None else grad_weight.to(weight.dtype), None, None


def _takes_positions(module: Any) -> bool:
    """Whether a model's forward has position ids; adapters hide the signature behind *args."""
    base = module.get_base_model() if hasattr(module, "get_base_model") else module
    return "position_ids" in inspect.signature(base.forward).parameters


def _decode(decoder: nn.Module, rows: Rows) -> Tensor:
    """Last hidden states of every position, flattened to (N*S, width)."""
    arguments = {"input_ids": rows.input_ids, "attention_mask": rows.attention_mask(), "use_cache": False}
    if _takes_positions(decoder):
        arguments["position_ids"] = rows.position_ids
    return cast(Tensor, decoder(**arguments).last_hidden_state).flatten(0, 1)


def _sum_over_tokens(log_probs: Tensor, present: Tensor) -> Tensor:
    """Sum per completion, (B, K). Scatter into place and sum: index_add would not be deterministic on a GPU."""
    spread = torch.zeros(present.shape, dtype=log_probs.dtype, device=log_probs.device)
    return spread.masked_scatter(present, log_probs).sum(-1)


class CompletionLogProbs(nn.Module):
    """ln pi(y|x) in nats, SUMMED over the completion's tokens (EOS included where present): (B, K), float32 or wider.

    `temperature` takes the place of the path's.
    """

    def __init__(self, model: Any, path: CodePath) -> None:
        super().__init__()
        self.model = model
        self.path = path

    def generate(self, **settings: Any) -> Tensor:
        """The model's own generation. Called here, it finds its weights where they are divided among processes."""
        return cast(Tensor, self.model.generate(**settings))

    def forward(self, rows: Rows, temperature: float | None = None) -> Tensor:
        temperature = self.path.temperature if temperature is None else temperature
        present = rows.target != NO_TARGET
        source, target = rows.source[present], rows.target[present]
        if self.path.chunked:
            hidden = _decode(decoder_of(self.model), rows)[source]
            if temperature != 1:
                hidden = hidden / temperature  # the output layer is a plain matrix
            weight = self.model.get_output_embeddings().weight
            chunk = max(1, LOGITS_AT_ONCE // len(weight))
            log_probs: Tensor = _ChunkedLogProbs.apply(hidden, weight, target, chunk)  # type: ignore[no-untyped-call]
            return _sum_over_tokens(log_probs, present)
        arguments = {"input_ids": rows.input_ids, "attention_mask": rows.attention_mask(), "use_cache": False}
        if _takes_positions(self.model):
            arguments["position_ids"] = rows.position_ids
        logits = self.model(**arguments).logits.flatten(0, 1)[source]
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        if temperature != 1:
            logits = logits / temperature
        return _sum_over_tokens(logits.log_softmax(-1).gather(1, target[:, None])[:, 0], present)


class Tempered(nn.Module):
    """Log-probabilities at another temperature than the path's, for whoever calls a module with rows alone."""

    def __init__(self, log_probs: nn.Module, temperature: float) -> None:
        super().__init__()
        self.log_probs, self.temperature = log_probs, temperature

    def forward(self, rows: Rows) -> Tensor:
        return cast(Tensor, self.log_probs(rows, self.temperature))


class RewardModel(nn.Module):
    """A decoder and a linear head without bias, read at the true last token of each completion: (B, K) reward units.

    The position is known from the rows' lengths, never searched for by a pad id: pad may equal EOS.
    """

    def __init__(self, decoder: nn.Module, width: int) -> None:
        super().__init__()
        self.decoder = decoder
        self.score = nn.Linear(width, 1, bias=False)
        nn.init.normal_(self.score.weight, std=(width + 1) ** -0.5)

    def forward(self, rows: Rows) -> Tensor:
        hidden = _decode(self.decoder, rows)[rows.last.flatten()]
        # The head stays float32 whatever the decoder's precision: a reward in bfloat16 has three significant digits.
        return cast(Tensor, self.score(hidden.to(self.score.weight.dtype)))[:, 0].view(rows.last.shape)


def first_batch_check(
    module: CompletionLogProbs,
    rows: Sequence[TokenRow],
    pad: int,
    device: torch.device,
    tolerance: float = SELF_CHECK_TOLERANCE,
) -> float:
    """Compare a module's code path with plain rows and the model's own logits. Returns the largest difference in nats.

    Raises ModelError where they disagree: an architecture whose peculiarity the configuration does not reveal.
    """
    path = module.path
    if not path.packed and not path.chunked:
        return 0.0
    results = []
    try:
        for one in (path, replace(path, packed=False, chunked=False)):
            module.path = one
            with torch.no_grad():
                results.append(module(lay_out(rows, packed=one.packed, pad=pad).to(device)))
    finally:
        module.path = path
    difference = float((results[0] - results[1]).abs().max())
    scale = max(1.0, results[1].abs().max().item() / 100)
    if not difference <= tolerance * scale:
        raise ModelError(
            f"the log-probabilities of packed and of separate rows differ by {difference:.3g} nats for "
            f"{type(module.model).__name__}: its architecture has something that copg_core.logprobs.recognise does not know"
        )
    return difference
