"""Where a run's model and data come from: unions of frozen pydantic models, told apart by `kind`. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr
from pydantic.json_schema import SkipJsonSchema

from copg_core.places import (
    HUB_ID,
    REVISION,
    DataFile,
    HubDataId,
    HubModelId,
    ModelFolder,
    ModelFolderOrHub,
    RunOrFolder,
)


class Frozen(BaseModel):
    """Base of every part of a configuration: immutable, without unknown fields, NaN or infinities."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


Int32 = Annotated[int, Field(lt=2**31)]
"""A whole number that every database and every tensor of indices can hold."""


def unit(name: str) -> dict[str, Any]:
    """Extra JSON Schema that tells the form a field's unit."""
    return {"unit": name}


def expanded(path: str) -> Path:
    """A path that a person typed, `~` replaced by the home folder; as it is where `~somebody` is nobody here."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


# ---------------------------------------------------------------- models


class HubModel(Frozen):
    """A causal language model of the Hugging Face hub. Safetensors only, no remote code."""

    model_config = ConfigDict(title="Hub model")
    kind: Literal["hub"] = "hub"
    id: HubModelId = Field(
        pattern=HUB_ID,
        title="Hub id",
        description="Name on the hub, for example `meta-llama/Llama-2-7b-hf`.",
    )
    revision: str = Field(
        "main", pattern=REVISION, title="Revision", description="Branch, tag or commit of the hub repository."
    )


class FolderModel(Frozen):
    """A causal language model in a local folder, as `save_pretrained` writes it."""

    model_config = ConfigDict(title="Local folder")
    kind: Literal["folder"] = "folder"
    path: ModelFolder = Field(
        min_length=1, title="Folder", description="Folder with config.json, tokenizer and safetensors."
    )


class PresetModel(Frozen):
    """A small Llama with random weights, built on the spot."""

    model_config = ConfigDict(title="New small Llama")
    kind: Literal["preset"] = "preset"
    size: Literal["nano", "micro", "mini", "small"] = Field(
        "micro",
        title="Size",
        description="nano: 2 layers, width 64; micro: 3 layers, width 96; mini: 4 layers, width 256; "
        "small: 6 layers, width 384.",
    )
    tokenizer: ModelFolderOrHub | None = Field(
        None,
        title="Tokenizer",
        description="Hub id or local folder of the tokenizer. Empty: the built-in task's words, or bytes for other data.",
    )


class RunModel(Frozen):
    """The model that an earlier run trained."""

    model_config = ConfigDict(title="Output of a run")
    kind: Literal["run"] = "run"
    run: RunOrFolder = Field(min_length=1, title="Run", description="Id of a finished run, or the folder it wrote.")


ModelSource = Annotated[HubModel | FolderModel | PresetModel | RunModel, Field(discriminator="kind")]

# ---------------------------------------------------------------- data


class _RowsData(Frozen):
    # Columns that a reward cannot do without (reward_sources.with_context): no setting, and no part of the configuration.
    _needed: tuple[str, ...] = PrivateAttr(())
    columns: dict[str, str] = Field(
        default_factory=dict,
        title="Column names",
        description="Role -> your column, for names that are not recognised by themselves, for example "
        '`{"prompt": "question", "completion": "answer"}`.',
    )
    prompt_template: str = Field(
        "",
        title="Prompt template",
        description="Python format string over the row's columns that makes the prompt, for example "
        '`"SUBREDDIT: r/{subreddit}\\nPOST: {post}\\n\\nTL;DR:"`. Empty: the prompt column as it is; `{post}\\n\\nTL;DR:` '
        "for post/summary rows; the model's chat template, or `role: text` lines without one, for dialogues.",
    )
    context: list[str] = Field(
        default_factory=list,
        title="Columns for the reward",
        description="Further columns that are kept and handed to the reward, beside those that it names itself, for example "
        "`difficulty`.",
    )
    where: dict[str, list[str]] = Field(
        default_factory=dict,
        title="Training rows",
        description='Keep only rows whose column holds one of these values, for example `{"split": ["train"]}`.',
    )
    validation_where: dict[str, list[str]] = Field(
        default_factory=dict,
        title="Validation rows",
        description="The same for validation rows, where both stand in one file.",
    )
    validation_share: float = Field(
        0.05,
        ge=0,
        lt=1,
        title="Validation share",
        description="Share of prompts held out for validation where no validation rows are named.",
        json_schema_extra=unit("share of prompts"),
    )
    limit: Int32 | None = Field(
        None,
        ge=1,
        title="Row limit",
        description="Use at most this many training rows, taken from the start of the file.",
        json_schema_extra=unit("rows"),
    )

    @property
    def needed(self) -> tuple[str, ...]:
        """Columns without which a row cannot be scored: rows where one is null or an empty list are left out."""
        return self._needed

    def needing(self, columns: Iterable[str]) -> Self:
        """The same source for a reward that cannot do without these columns."""
        source = self.model_copy()
        source._needed = tuple(columns)
        return source


class TaskData(Frozen):
    """The built-in summarisation task, generated by our own code, with a gold reward."""

    model_config = ConfigDict(title="Built-in task")
    kind: Literal["task"] = "task"
    task: Literal["miniature"] = Field("miniature", title="Task", description="Name of the built-in task.")
    train_size: int = Field(
        8_000,
        ge=16,
        le=1_000_000,
        title="Training size",
        description="Training posts (SFT) or training pairs.",
        json_schema_extra=unit("rows"),
    )
    validation_size: int = Field(
        1_024,
        ge=8,
        le=100_000,
        title="Validation size",
        description="Validation posts or pairs, disjoint from training.",
        json_schema_extra=unit("rows"),
    )
    seed: int = Field(0, ge=0, lt=2**31, title="Task seed", description="Seed of the generated text.")


class FileData(_RowsData):
    """A file: .jsonl, .jsonl.gz, .json, .csv or .parquet."""

    model_config = ConfigDict(title="File")
    kind: Literal["file"] = "file"
    path: DataFile = Field(min_length=1, title="File", description="Training rows: jsonl, jsonl.gz, csv or parquet.")
    validation_path: DataFile | None = Field(
        None, title="Validation file", description="Validation rows, if in a file of their own."
    )


class StoredFile(Frozen):
    """A file that a studio keeps: the SHA-256 of its bytes and the name that it was given."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    name: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,119}$")


class UploadData(_RowsData):
    """A file that was uploaded to this studio. A run keeps the hash of its content, so that it can be run again."""

    model_config = ConfigDict(title="Uploaded file")
    kind: Literal["upload"] = "upload"
    id: str = Field(
        pattern=r"^[0-9a-f]{32}$", title="Data set", description="The uploaded data set with the training rows.",
        json_schema_extra={"choose": "dataset"},
    )  # fmt: skip
    validation_id: str | None = Field(
        None,
        pattern=r"^[0-9a-f]{32}$",
        title="Validation data set",
        description="The uploaded data set with the validation rows, if they are in a file of their own.",
        json_schema_extra={"choose": "dataset"},
    )
    # Filled in by the studio when a run is made: the id says what was chosen, these say what it was.
    file: SkipJsonSchema[StoredFile | None] = None
    validation_file: SkipJsonSchema[StoredFile | None] = None


class HubData(_RowsData):
    """A data set of the Hugging Face hub."""

    model_config = ConfigDict(title="Hub data set")
    kind: Literal["hub"] = "hub"
    id: HubDataId = Field(pattern=HUB_ID, title="Hub id", description="For example `trl-lib/tldr-preference`.")
    subset: str | None = Field(None, title="Subset", description="Configuration of the data set, where it has several.")
    revision: str = Field(
        "main", pattern=REVISION, title="Revision", description="Branch, tag or commit of the data set."
    )
    split: str = Field("train", title="Training split", description="Split with the training rows.")
    validation_split: str | None = Field(
        "validation", title="Validation split", description="Split with validation rows."
    )


DataSource = Annotated[TaskData | UploadData | FileData | HubData, Field(discriminator="kind")]
