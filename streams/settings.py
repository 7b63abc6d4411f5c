"""Settings, from the environment (`RESCIND_...`) and the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from urllib.parse import quote

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """What an operator may choose. Durations are in seconds, sizes in bytes."""

    model_config = SettingsConfigDict(env_prefix="RESCIND_", frozen=True, extra="ignore")

    data_dir: Path = Path("data")
    #: `sqlite:///path` or `kafka://host:9092`; empty means the embedded log in the data directory.
    log: str = ""
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8321
    #: Partners on http:// and on private addresses: for development only.
    allow_private_partners: bool = False
    #: Seals partners' secrets; empty means the file `secret.key` in the data directory.
    sealing_key: str = Field(default="", repr=False)
    max_body_bytes: Annotated[int, Field(ge=1024)] = 4 * 1024 * 1024
    #: How far in the future a toggle's time may lie, for clocks that are off.
    max_clock_skew: Annotated[float, Field(ge=0)] = 300.0
    #: How long one delivery attempt may take in all.
    delivery_timeout: Annotated[float, Field(gt=0)] = 15.0
    retry_base: Annotated[float, Field(gt=0)] = 1.0
    retry_cap: Annotated[float, Field(gt=0)] = 3600.0
    #: How long the log keeps what everybody has handled; None means for ever.
    retention_days: Annotated[float, Field(gt=0)] | None = None

    @property
    def log_url(self) -> str:
        return self.log or f"sqlite://{quote(str(self.data_dir.absolute() / 'log.sqlite'))}"

    @property
    def retention(self) -> float | None:
        """In seconds."""
        return None if self.retention_days is None else self.retention_days * 86_400

    @property
    def ledger_path(self) -> Path:
        return self.data_dir / "ledger.sqlite"

    @property
    def keys_path(self) -> Path:
        return self.data_dir / "keys.sqlite"

    @property
    def sealing_path(self) -> Path:
        return self.data_dir / "secret.key"

    @property
    def lock_path(self) -> Path:
        return self.data_dir / "service.lock"
