"""The shape of a model from its configuration alone, and the floating-point work that its shape implies. Torch-free.

Symbols: H width, I inner width, L layers, V vocabulary; one multiply-add is two FLOPs; a matrix of n parameters costs 2n
FLOPs a token forward and 4n backward (Kaplan et al. 2020, Section 2.1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from copg_core.errors import ModelError

# Models (encoders are those of classifiers) whose feed-forward part has two matrices; all others here have three (gate, up, down).
TWO_MATRICES = {
    "bert", "bloom", "camembert", "codegen", "deberta", "deberta-v2", "electra", "falcon", "gpt2", "gpt_bigcode", "gpt_neo",
    "gpt_neox", "gptj", "mpt", "opt", "phi", "roberta", "starcoder2", "xlm-roberta",
}  # fmt: skip
# Those that share input and output embeddings where their config.json does not say.
TIED_UNLESS_SAID = {"bloom", "falcon", "gemma", "gemma2", "gemma3_text", "gpt2", "gpt_bigcode", "gpt_neo", "mpt", "opt"}
# Those that normalise queries and keys, and activations that are composed of several operations.
NORMALISED_QUERIES = {"gemma3_text", "olmo2", "qwen3"}
COMPOSED_ACTIVATIONS = {"gelu_fast", "gelu_new", "quick_gelu"}
LEARNT_POSITIONS = {"bert", "camembert", "electra", "gpt2", "gpt_bigcode", "gpt_neo", "opt", "roberta", "xlm-roberta"}
NAMES = {
    "layers": ("num_hidden_layers", "n_layer", "num_layers"),
    "width": ("hidden_size", "n_embd", "d_model"),
    "heads": ("num_attention_heads", "n_head", "num_heads"),
    "vocabulary": ("vocab_size",),
}
POSITIONS = ("n_positions", "max_position_embeddings")
INNER = ("intermediate_size", "n_inner", "ffn_dim")


@dataclass(frozen=True)
class ModelShape:
    """A causal transformer decoder. Biases are left out: they are less than a thousandth of the parameters.

    layers, width (H), inner (I), heads, key_heads (fewer with grouped queries), head_width
    vocabulary (V); `tied` where input and output embeddings are one matrix; `gated` where the feed-forward part has three
    matrices; `positions` rows of a learnt position table
    inner_kept  activations of inner width that the feed-forward part keeps for its backward pass (measured); `query_norm`
    where queries and keys are normalised: what memory is estimated from
    """

    layers: int
    width: int
    inner: int
    heads: int
    key_heads: int
    head_width: int
    vocabulary: int
    tied: bool = False
    gated: bool = True
    positions: int = 0
    inner_kept: int = 4
    query_norm: bool = False

    @property
    def query_width(self) -> int:
        """Elements of all queries of one token."""
        return self.heads * self.head_width

    @property
    def key_width(self) -> int:
        """Elements of all keys of one token; values are as many."""
        return self.key_heads * self.head_width

    @property
    def layer_parameters(self) -> int:
        """Elements of the matrices of one layer."""
        attention = 2 * self.width * self.query_width + 2 * self.width * self.key_width
        return attention + (3 if self.gated else 2) * self.width * self.inner

    @property
    def embedding_parameters(self) -> int:
        """Elements of one embedding matrix, V x H; the output head is as large."""
        return self.vocabulary * self.width

    def parameters(self, *, head: bool = True) -> int:
        """All parameters: of a language model, or (head=False) of the decoder that a reward model is made of."""
        matrices = 2 if head and not self.tied else 1
        norms = (2 * self.layers + 1) * self.width
        tables = self.embedding_parameters * matrices + self.positions * self.width
        return self.layers * self.layer_parameters + tables + norms

    def adapter_parameters(self, rank: int) -> int:
        """Parameters of LoRA adapters of a rank on every linear layer but the output head: rank * (in + out) each."""
        h, q, k, i = self.width, self.query_width, self.key_width, self.inner
        attention = 2 * (h + q) + 2 * (h + k)
        return self.layers * rank * (attention + (3 if self.gated else 2) * (h + i))


# Layers, width, heads and inner width of the small Llamas that are built on the spot.
PRESETS = {"nano": (2, 64, 4, 172), "micro": (3, 96, 6, 256), "mini": (4, 256, 8, 688), "small": (6, 384, 12, 1024)}

LLAMA_2_7B = ModelShape(32, 4096, 11008, 32, 32, 128, 32_000)
# Well-known models by their name on the hub, for estimates where nothing of them is on this machine.
KNOWN_MODELS = {
    "meta-llama/Llama-2-7b-hf": LLAMA_2_7B,
    "meta-llama/Llama-2-7b-chat-hf": LLAMA_2_7B,
    "meta-llama/Llama-2-13b-hf": ModelShape(40, 5120, 13824, 40, 40, 128, 32_000),
    "meta-llama/Llama-3.1-8B": ModelShape(32, 4096, 14336, 32, 8, 128, 128_256),
    "meta-llama/Llama-3.2-1B": ModelShape(16, 2048, 8192, 32, 8, 64, 128_256, tied=True),
    "mistralai/Mistral-7B-v0.1": ModelShape(32, 4096, 14336, 32, 8, 128, 32_000),
    "Qwen/Qwen2.5-0.5B": ModelShape(24, 896, 4864, 14, 2, 64, 151_936, tied=True),
    "Qwen/Qwen2.5-1.5B": ModelShape(28, 1536, 8960, 12, 2, 128, 151_936, tied=True),
    "Qwen/Qwen2.5-7B": ModelShape(28, 3584, 18944, 28, 4, 128, 152_064),
    "EleutherAI/pythia-1.4b": ModelShape(24, 2048, 8192, 16, 16, 128, 50_304, gated=False, inner_kept=2),
    "EleutherAI/pythia-2.8b": ModelShape(32, 2560, 10240, 32, 32, 80, 50_304, gated=False, inner_kept=2),
    "openai-community/gpt2": ModelShape(
        12, 768, 3072, 12, 12, 64, 50_257, tied=True, gated=False, positions=1024, inner_kept=5
    ),
}


def shape_of(config: Mapping[str, Any], *, source: str = "config.json") -> ModelShape:
    """The shape that a model's config.json describes. Raises ModelError where it is none of a dense decoder.

    >>> shape_of({"model_type": "gpt2", "n_layer": 12, "n_embd": 768, "n_head": 12, "vocab_size": 50257}).inner
    3072
    """
    config = config.get("text_config") or config
    kind = str(config.get("model_type", ""))
    if any(config.get(name) for name in ("num_local_experts", "num_experts", "n_routed_experts")):
        raise ModelError(f"{source}: the shape of a mixture of experts is not known to the estimate")
    found = {name: _first(config, keys) for name, keys in NAMES.items()}
    if lacking := [name for name, value in found.items() if value is None]:
        raise ModelError(f"{source} does not say the model's {', '.join(lacking)}")
    layers, width, heads, vocabulary = (int(found[name]) for name in NAMES)
    inner = _first(config, INNER)
    gated = kind not in TWO_MATRICES
    composed = _first(config, ("activation_function", "hidden_act")) in COMPOSED_ACTIVATIONS or kind == "gpt2"
    return ModelShape(
        layers=layers,
        width=width,
        inner=int(inner) if inner is not None else 4 * width,
        heads=heads,
        key_heads=int(config.get("num_key_value_heads") or heads),
        head_width=int(config.get("head_dim") or width // heads),
        vocabulary=vocabulary,
        tied=bool(config.get("tie_word_embeddings", kind in TIED_UNLESS_SAID)),
        gated=gated,
        positions=int(_first(config, POSITIONS) or 0) if kind in LEARNT_POSITIONS else 0,
        inner_kept=(4 if gated else 2) + (3 if composed else 0),
        query_norm=kind in NORMALISED_QUERIES,
    )


def _first(config: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((config[name] for name in names if config.get(name) is not None), None)


def forward_flops(shape: ModelShape, tokens: int, completion_tokens: int, row_tokens: float = 0.0) -> float:
    """FLOPs of one pass without gradients over `tokens` positions, of which `completion_tokens` reach the output head.

    2 * L * (matrices of a layer) a token, 4 * L * (query width) * row_tokens a token for attention, which the masked
    kernels compute in full, and 2 * V * H a completion token.
    """
    attention = 4.0 * shape.layers * shape.query_width * row_tokens
    head = 2.0 * shape.embedding_parameters * completion_tokens
    return tokens * (2.0 * shape.layers * shape.layer_parameters + attention) + head


def train_flops(
    shape: ModelShape,
    tokens: int,
    completion_tokens: int,
    gradient_checkpointing: bool = False,
    row_tokens: float = 0.0,
) -> float:
    """FLOPs of forward and backward over `tokens` positions: three times the forward's, four times with gradient
    checkpointing, which computes each layer twice. Llama2-7B: 38.9 GFLOP a token, and 0.79 more a completion token.

    For model FLOP utilisation leave `gradient_checkpointing` False: work that is done twice counts once there.
    """
    return (4.0 if gradient_checkpointing else 3.0) * forward_flops(shape, tokens, completion_tokens, row_tokens)
