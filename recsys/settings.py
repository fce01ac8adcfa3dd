"""The settings, read once: a flag takes precedence over environment, file and default.

The file is the one RECSYS_CONFIG names, else `recsys/config.toml` in the user's configuration
folder. Only code that reads settings imports this module, and pydantic with it.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from platformdirs import user_config_path, user_data_path
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from recsys.addresses import host_and_port
from recsys.errors import SettingsRefused
from storage.identity_keys import IdentityKeys
from storage.records import SharingRules

APP = "recsys"
PREFIX = "RECSYS_"
CONFIG_VARIABLE = "RECSYS_CONFIG"
MIB = 2**20


class Settings(BaseSettings):
    """Every setting with its default; each is also RECSYS_<NAME> and a key of the file."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    database_url: str = Field(
        default_factory=lambda: f"sqlite:///{data_folder() / 'recsys.db'}",
        description="the database: sqlite:///PATH or postgresql://USER:PASSWORD@HOST/NAME",
    )
    blob_url: str = Field(
        default_factory=lambda: f"file://{data_folder() / 'blobs'}",
        description="where image files are stored: any fsspec URL",
    )
    index_folder: str = Field(
        default_factory=lambda: str(data_folder() / "index"),
        description="folder of snapshots of the signature index; it can be rebuilt at any time",
    )
    identity_key: SecretStr | None = Field(
        None,
        description="secret keys, separated by commas, that tell who was erased and whom a"
        " checkpoint learned from: the current one first, then older ones; none: the key in"
        " identity.key beside the default database",
    )
    checkpoint: str = Field(
        "tiny", description="the scorer's checkpoint: a folder, or the name of a shipped one"
    )
    audiences: str | None = Field(
        None,
        description="adaptations of the checkpoint that a server scores by, too, as"
        " NAME=CHECKPOINT, separated by commas; none: the checkpoint alone",
    )
    base: str | None = Field(
        None,
        description="folder or hub id of the base model of a checkpoint that does not carry it;"
        " none: where the checkpoint says",
    )
    verify_base: bool = Field(
        False,
        description="compare all of such a base with what was trained on, and not a sample",
    )
    cold_start: bool = Field(
        True,
        description="for users with few choices, blend in what `recsys coldstart fit` has learned",
    )
    share_min_users: int = Field(
        3,
        ge=1,
        description="users who must have seen an image that is marked as shareable before others"
        " are shown it",
    )
    share_prompts: bool = Field(
        False,
        description="show prompts of first questions, and words of clusters' prompts, to others",
    )
    device: str = Field("cpu", description="device that the model runs on: cpu, cuda or cuda:N")
    dtype: Literal["float32", "float16", "bfloat16"] | None = Field(
        None, description="type that the base model computes in; none: as the checkpoint says"
    )
    address: str = Field(
        "127.0.0.1:50051", description="HOST:PORT that the server listens on and clients call"
    )
    metrics_address: str | None = Field(
        None, description="HOST:PORT of the Prometheus metrics; none: they are not served"
    )
    num_threads: int | None = Field(
        None, ge=1, description="CPU threads of the model; none: one for each core"
    )
    max_candidates: int = Field(256, ge=1, description="most candidates in one request")
    max_image_bytes: int = Field(10 * MIB, ge=1, description="largest encoded image, in bytes")
    max_image_pixels: int = Field(
        25_000_000, ge=1, description="largest image, width times height in pixels"
    )
    max_request_bytes: int = Field(64 * MIB, ge=1, description="largest gRPC message, in bytes")
    max_queue: int = Field(64, ge=1, description="most requests that wait for the model")
    max_requests: int = Field(
        64, ge=1, description="most requests that are served at the same time"
    )
    prefix_cache_bytes: int | None = Field(
        None,
        ge=0,
        description="memory for the prefixes of recent users, in bytes; none: by what is free on"
        " the device once the model is loaded",
    )
    image_tokens_bytes: int = Field(
        256 * MIB, ge=0, description="memory for the tokens of recent images, in bytes"
    )
    image_tokens_folder: str | None = Field(
        None, description="folder that keeps image tokens on disk, too; none: memory alone"
    )
    image_tokens_disk_bytes: int = Field(
        10 * 1024 * MIB, ge=1, description="what image_tokens_folder may take, in bytes"
    )
    retention_days: int | None = Field(
        None, ge=1, description="age from which `recsys prune` removes choices, in days; none: any"
    )
    retention_choices: int | None = Field(
        None, ge=1, description="how many choices of each user `recsys prune` keeps; none: all"
    )
    timeout_s: float = Field(
        30.0, gt=0, description="how long a client waits for an answer, in seconds"
    )
    drain_timeout_s: float = Field(
        20.0,
        ge=0,
        description="how long a stopping server may take to finish its requests, in seconds",
    )

    @property
    def audience_checkpoints(self) -> dict[str, str]:
        """The checkpoint of each audience, by name."""
        return _audiences_of(self.audiences)

    @property
    def served_checkpoints(self) -> list[str]:
        """The checkpoint, and those of audiences."""
        return [self.checkpoint, *self.audience_checkpoints.values()]

    @property
    def sharing_rules(self) -> SharingRules:
        """What other users may be shown."""
        return SharingRules(self.share_min_users, self.share_prompts)

    @field_validator("database_url")
    @classmethod
    def _is_known_database(cls, url: str) -> str:
        if not re.match(r"(sqlite|postgresql(\+psycopg)?)://", url):
            raise ValueError("must start with sqlite:/// or postgresql://")
        return url

    @field_validator("audiences")
    @classmethod
    def _names_audiences(cls, audiences: str | None) -> str | None:
        _audiences_of(audiences)
        return audiences

    @field_validator("identity_key")
    @classmethod
    def _has_long_keys(cls, keys: SecretStr | None) -> SecretStr | None:
        if keys is not None:
            IdentityKeys.of(keys.get_secret_value().split(","))
        return keys

    @field_validator("address", "metrics_address")
    @classmethod
    def _has_port(cls, address: str | None) -> str | None:
        if address is not None:
            host_and_port(address)
        return address

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags, environment, file; the first that has a value decides."""
        return init_settings, env_settings, _file_source(settings_cls)


@dataclass(frozen=True, slots=True)
class LoadedSettings:
    """Settings, and where each value came from.

    Attributes:
        settings: the values.
        origins: by name: "flag", "environment RECSYS_...", "file PATH" or "default".
        unknown: variables that begin with RECSYS_ and are no setting, e.g. misspelt ones.
    """

    settings: Settings
    origins: Mapping[str, str]
    unknown: tuple[str, ...]

    def shown(self) -> list[tuple[str, str, str]]:
        """Return name, value with secrets masked, and origin of each setting."""
        return [
            (name, "none" if value is None else masked(str(value)), self.origins[name])
            for name, value in self.settings
        ]


def load_settings(flags: Mapping[str, Any] | None = None) -> LoadedSettings:
    """Read all settings.

    Args:
        flags: by name; None stands for a flag that is not given.

    Raises:
        SettingsRefused: if a name is unknown, a value is invalid or the file cannot be read.
    """
    given = {name: value for name, value in (flags or {}).items() if value is not None}
    origins = _origins(given)
    try:
        settings = Settings(**given)
    except ValidationError as error:
        raise SettingsRefused(_explain(error, origins)) from error
    unknown = {name.upper() for name in os.environ if name.upper().startswith(PREFIX)}
    unknown -= {CONFIG_VARIABLE, *(_variable(name) for name in Settings.model_fields)}
    return LoadedSettings(settings, origins, tuple(sorted(unknown)))


def data_folder() -> Path:
    """Return the default folder of this user's data; not created."""
    return user_data_path(APP, appauthor=False)


def config_path() -> Path:
    """Return the settings' file; it must exist only if RECSYS_CONFIG names it."""
    named = os.environ.get(CONFIG_VARIABLE)
    return Path(named) if named else user_config_path(APP, appauthor=False) / "config.toml"


def masked(value: str) -> str:
    """Mask the secrets of a URL: its password, and parameters named like a secret."""
    # Up to the last @, not the first: a password may hold one that is not escaped.
    value = re.sub(r"://([^:/@]*):.*@", r"://\1:***@", value)
    secret = r"([?&][^=&]*(?:password|secret|token|key|sig)[^=&]*=)[^&]*"
    return re.sub(secret, r"\1***", value, flags=re.IGNORECASE)


def _file_source(settings_cls: type[BaseSettings]) -> TomlConfigSettingsSource:
    """Read the file, if there is one."""
    path = config_path()
    if os.environ.get(CONFIG_VARIABLE) and not path.is_file():
        raise SettingsRefused(
            f"{CONFIG_VARIABLE} must name a file, and {path} does not exist or is none: unset it"
        )
    try:
        return TomlConfigSettingsSource(settings_cls, path)
    except (OSError, ValueError) as error:
        raise SettingsRefused(f"{path} must be a TOML file that can be read: {error}") from error


def _origins(given: Mapping[str, Any]) -> dict[str, str]:
    origins = dict.fromkeys(Settings.model_fields, "default")
    origins |= dict.fromkeys(_file_source(Settings).toml_data, f"file {config_path()}")
    variables = {name.upper() for name, value in os.environ.items() if value}
    origins |= {
        name: f"environment {_variable(name)}"
        for name in Settings.model_fields
        if _variable(name) in variables
    }
    return origins | dict.fromkeys(given, "flag")


def _audiences_of(text: str | None) -> dict[str, str]:
    """Checkpoints by name; ValueError where the text is no such list."""
    checkpoints: dict[str, str] = {}
    for part in text.split(",") if text else ():
        name, _, checkpoint = part.strip().partition("=")
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", name) or not checkpoint:
            raise ValueError(
                "must be NAME=CHECKPOINT, separated by commas, with names of 1 to 64 letters,"
                f" digits, '.', '_' and '-', got {part!r}"
            )
        if name in checkpoints:
            raise ValueError(f"must name each audience once, got {name} again")
        checkpoints[name] = checkpoint
    return checkpoints


def _variable(name: str) -> str:
    return f"{PREFIX}{name.upper()}"


def _explain(error: ValidationError, origins: Mapping[str, str]) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    name = str(first["loc"][0])
    origin = origins.get(name, "default")
    if first["type"] == "extra_forbidden":
        known = ", ".join(Settings.model_fields)
        return f"{name} ({origin}) is not a setting; the settings are {known}"
    rule = first["msg"].removeprefix("Value error, ")
    return f"{name} ({origin}) is invalid: {rule[0].lower()}{rule[1:]}"
