"""What both trainers get: one random Llama, one reference that differs from it, one tokenizer, one set of pairs.

Lengths are those of TL;DR: prompts of about 350 tokens (60 to 510), completions of about 38 (20 to 56) that end with EOS.
Random weights and tokens: what is measured is time and memory, which do not depend on what the words mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.utils.logging import disable_progress_bar

from copg_core.layout import TokenRow

disable_progress_bar()

# name -> width, inner width, layers, heads, key-value heads, vocabulary. "R" is layer-dominated as a 7B model is (the layers
# hold 93 % of its parameters), so its ratios of speed carry over; in "S" the output layer dominates.
SHAPES = {
    "R": (384, 1024, 6, 6, 6, 1024),
    "S": (256, 688, 4, 4, 4, 32_000),
    "1b": (2048, 8192, 16, 32, 8, 128_256),
    "tiny": (32, 64, 2, 2, 2, 256),
}
BETA = 0.1
LEARNING_RATE = 1e-6
PAD, BOS, EOS = 0, 1, 2
FIRST_WORD = 3
# Far enough that losses differ from ln 2 in the first digit, near enough that no logit is extreme.
REFERENCE_NOISE = 3e-3


@dataclass(frozen=True)
class Setting:
    """One comparison: the folder holds the reference's weights, tokenizer and configuration."""

    folder: Path
    shape: str
    pairs: list[TokenRow]
    device: str
    dtype: str

    def policy_weights(self) -> dict[str, torch.Tensor]:
        """Where training starts: the reference's weights with a little noise on each."""
        weights = reference_model(self.folder).state_dict()
        generator = torch.Generator().manual_seed(1)
        return {
            name: weight + REFERENCE_NOISE * torch.randn(weight.shape, generator=generator)
            for name, weight in weights.items()
        }


def make_setting(folder: Path, shape: str, pairs: int, device: str, dtype: str) -> Setting:
    """Write the reference to a folder and draw the pairs, always the same ones."""
    width, inner, layers, heads, key_value_heads, vocabulary = SHAPES[shape]
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary, hidden_size=width, intermediate_size=inner, num_hidden_layers=layers,
            num_attention_heads=heads, num_key_value_heads=key_value_heads, max_position_embeddings=2048,
            tie_word_embeddings=False, pad_token_id=PAD, bos_token_id=BOS, eos_token_id=EOS, dtype="float32",
        )
    )  # fmt: skip
    model.save_pretrained(folder)
    words = {"<pad>": PAD, "<s>": BOS, "</s>": EOS} | {word(i): i for i in range(FIRST_WORD, vocabulary)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    ).save_pretrained(folder)
    return Setting(folder, shape, draw_pairs(pairs, vocabulary), device, dtype)


def draw_pairs(count: int, vocabulary: int) -> list[TokenRow]:
    """Pairs of random words with TL;DR's lengths."""
    generator = np.random.default_rng(0)

    def draw(mean: float, spread: float, low: int, high: int) -> list[int]:
        length = int(np.clip(generator.normal(mean, spread), low, high))
        return [int(token) for token in generator.integers(FIRST_WORD, vocabulary, length)]

    return [
        TokenRow(draw(350, 90, 60, 510), ([*draw(37, 8, 19, 55), EOS], [*draw(37, 8, 19, 55), EOS]))
        for _ in range(count)
    ]


def word(token: int) -> str:
    """The text of a token: words are separated by spaces, so that text and token ids determine each other."""
    return f"w{token}"


def text(tokens: list[int]) -> str:
    """Words of a row, without the EOS at its end."""
    return " ".join(word(token) for token in tokens if token != EOS)


def reference_model(folder: Path) -> Any:
    """A fresh copy of the reference in float32."""
    return LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)


def tokenizer_of(folder: Path) -> Any:
    """The tokenizer that splits at spaces."""
    return PreTrainedTokenizerFast.from_pretrained(folder)
