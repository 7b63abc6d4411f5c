"""Settings, from the environment (`RESCIND_...`) and the command line."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from streams.addresses import Network
from streams.escalations import Rule, rules
from streams.names import Purpose


def _networks(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return tuple(ip_network(part.strip()) for part in value.split(",") if part.strip())


def _listed(value: Any) -> Any:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


#: Days; younger things are looked at, and touched, too often.
LEAST_ARCHIVE_DAYS = 35


def _old_enough(days: int) -> int:
    if days < LEAST_ARCHIVE_DAYS:
        raise ValueError(f"at least {LEAST_ARCHIVE_DAYS} days: lag is told over 30, and some must be left to catch up")
    return days


class KafkaSettings(BaseSettings):
    """How to reach a Kafka cluster, in Kafka's own words (`RESCIND_KAFKA_SECURITY_PROTOCOL` and so on)."""

    model_config = SettingsConfigDict(env_prefix="RESCIND_KAFKA_", frozen=True, extra="ignore")

    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    sasl_username: str = ""
    sasl_password: str = Field(default="", repr=False)
    #: PEM files: who signed the brokers' certificates (empty: whom the system trusts), and a certificate of
    #: our own with its key, where brokers ask for one.
    ssl_cafile: Path | None = None
    ssl_certfile: Path | None = None
    ssl_keyfile: Path | None = None


class SmtpSettings(BaseSettings):
    """The server that takes mail for operators (`RESCIND_SMTP_HOST` and so on). `starttls` and `tls` verify its
    certificate; `none` is for a server on this very machine."""

    model_config = SettingsConfigDict(env_prefix="RESCIND_SMTP_", frozen=True, extra="ignore")

    host: str = ""
    port: Annotated[int, Field(ge=1, le=65535)] = 587
    security: Literal["starttls", "tls", "none"] = "starttls"
    username: str = ""
    password: str = Field(default="", repr=False)
    #: Whom mails are from.
    sender: Annotated[str, Field(pattern=r"^([!-?A-~]+@[A-Za-z0-9.-]+)?$")] = ""


class Settings(BaseSettings):
    """What an operator may choose. Durations are in seconds, sizes in bytes."""

    model_config = SettingsConfigDict(env_prefix="RESCIND_", frozen=True, extra="ignore")

    data_dir: Path = Path("data")
    kafka: KafkaSettings = Field(default_factory=KafkaSettings)
    #: `sqlite:///path` or `kafka://host:9092`; empty means the embedded log in the data directory.
    log: str = ""
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8321
    #: Partners on http:// and on private addresses: for development only.
    allow_private_partners: bool = False
    #: Networks beside the public ones that partners on https:// may be in, such as `10.1.0.0/16,fd00::/8`.
    allowed_networks: Annotated[tuple[Network, ...], NoDecode, BeforeValidator(_networks)] = ()
    #: Seals partners' secrets; empty means the file `secret.key` in the data directory.
    sealing_key: str = Field(default="", repr=False)
    #: Signs manifests of exports; empty means the file `signing.key` in the data directory.
    signing_key: str = Field(default="", repr=False)
    #: How the ledger's file says whom it is about. One that was made the other way is to be made anew.
    ledger_subjects: Literal["plain", "sealed"] = "plain"
    #: After how many days what is settled is folded into monthly archives; None means never. The longest window of lag
    #: (30 days), and what a service has not read yet, must be younger.
    ledger_archive_after_days: Annotated[int, Field(le=36_500), AfterValidator(_old_enough)] | None = None
    max_body_bytes: Annotated[int, Field(ge=1024)] = 4 * 1024 * 1024
    #: How far in the future a toggle's time may lie, for clocks that are off.
    max_clock_skew: Annotated[float, Field(ge=0)] = 300.0
    #: How long one delivery attempt may take in all.
    delivery_timeout: Annotated[float, Field(gt=0)] = 15.0
    retry_base: Annotated[float, Field(gt=0)] = 1.0
    retry_cap: Annotated[float, Field(gt=0)] = 3600.0
    #: Whom to tell of deadlines; the operator's own servers, so private addresses are none too many.
    escalations: Annotated[tuple[Rule, ...], NoDecode, BeforeValidator(rules)] = Field(default=(), repr=False)
    #: How often somebody is told the same of one partner at most.
    escalation_interval: Annotated[int, Field(ge=60)] = 3600
    #: How often deadlines are looked at.
    deadline_interval: Annotated[float, Field(gt=0)] = 30.0
    smtp: SmtpSettings = Field(default_factory=SmtpSettings)
    #: How long the log keeps what everybody has handled; None means for ever.
    retention_days: Annotated[float, Field(gt=0)] | None = None
    #: Who is asked to delete: every partner that is registered for the purpose, or who was given the subject; whoever
    #: was not is then only asked to stop.
    deletion_targets: Literal["registered", "disclosed"] = "registered"
    #: How much older than the log the consents may be that an export is gated by.
    gate_max_lag_seconds: Annotated[float, Field(gt=0)] = 60.0
    #: Purposes that need a yes: whoever has not opted in is out. For all others whoever has not opted out is in.
    opt_in_purposes: Annotated[tuple[Purpose, ...], NoDecode, BeforeValidator(_listed)] = ()

    @model_validator(mode="after")
    def _mail_has_a_way(self) -> Settings:
        if any(rule.mail for rule in self.escalations) and not (self.smtp.host and self.smtp.sender):
            raise ValueError("escalations by mail need RESCIND_SMTP_HOST and RESCIND_SMTP_SENDER")
        return self

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
    def disclosures_path(self) -> Path:
        """Whose writer is the ledger's."""
        return self.data_dir / "disclosures.sqlite"

    @property
    def worker_disclosures_path(self) -> Path:
        """The same, of a worker that is a process of its own, maybe on the same directory: each file has one writer."""
        return self.data_dir / "disclosures-worker.sqlite"

    @property
    def keys_path(self) -> Path:
        return self.data_dir / "keys.sqlite"

    @property
    def sealing_path(self) -> Path:
        return self.data_dir / "secret.key"

    @property
    def signing_path(self) -> Path:
        return self.data_dir / "signing.key"
