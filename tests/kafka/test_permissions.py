"""What a user must be allowed on a cluster with ACLs is what README says, and no more."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from kafka.admin import ACL, ACLOperation, ACLPermissionType, ACLResourcePatternType, ResourcePattern, ResourceType

from streams.log import provision
from streams.provisioning import Choices
from streams.settings import Settings
from tests.e2e.parts import parts
from tests.e2e.test_lifecycle import rescind
from tests.e2e.world import Cast, all_acknowledged
from tests.kafka.broker import Broker, Security
from tests.kafka.certificates import issued
from tests.kafka.distribution import Distribution

README = Path(__file__).parents[2] / "README.md"
_ROW = re.compile(r"\| (topic|group|transactional-id) \| `(.+)` \| (.+) \|")
_KINDS = {"topic": ResourceType.TOPIC, "group": ResourceType.GROUP, "transactional-id": ResourceType.TRANSACTIONAL_ID}


def allowed(kind: str, prefix: str, operations: str) -> list[ACL]:
    pattern = ResourcePattern(_KINDS[kind], prefix, ACLResourcePatternType.PREFIXED)
    return [
        ACL("User:rescind", "*", ACLOperation[operation.upper()], ACLPermissionType.ALLOW, pattern)
        for operation in operations.split(", ")
    ]


@pytest.fixture
def guarded(kafka_distribution: Distribution, tmp_path: Path) -> Iterator[Broker]:
    """A broker where only who speaks in plain text may do everything."""
    security = Security(issued(tmp_path), user="rescind", password="correct-horse")
    settings = {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
    }
    with Broker(kafka_distribution, tmp_path / "broker", security=security, settings=settings) as broker:
        broker.start()
        yield broker


async def test_readme_says_what_a_user_must_be_allowed(guarded: Broker, tmp_path: Path) -> None:
    security = guarded.security
    assert security is not None
    rows = _ROW.findall(README.read_text())
    assert {kind for kind, _, _ in rows} == set(_KINDS)
    with guarded.admin() as admin:
        admin.create_acls([acl for kind, *row in rows if kind != "transactional-id" for acl in allowed(kind, *row)])
    provision(Settings(log=f"kafka://{guarded.address}"), Choices(), change=True)
    login = {
        "RESCIND_LOG": f"kafka://{guarded.addresses['SASL_SSL']}",
        "RESCIND_SEALING_KEY": Fernet.generate_key().decode(),
        "RESCIND_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "RESCIND_KAFKA_SSL_CAFILE": str(security.certificates.authority),
        "RESCIND_KAFKA_SASL_USERNAME": security.user,
        "RESCIND_KAFKA_SASL_PASSWORD": security.password,
    }
    refused = rescind("worker", "--data", str(tmp_path / "refused"), **login)
    assert refused.returncode == 2
    assert "we may not use the transactional id rescind:" in refused.stderr.splitlines()[-1]
    with guarded.admin() as admin:
        admin.create_acls([acl for kind, *row in rows if kind == "transactional-id" for acl in allowed(kind, *row)])
    async with parts(tmp_path / "data", login) as here:
        await here.start_parts("worker", "ledger", "gateway")
        await here.register({"p": Cast(("ai",))})
        with here.platform() as client:
            toggle = {"subject": "user:1", "purpose": "ai", "choice": "opt_out"}
            client.post_toggles([toggle | {"occurred_at": "2026-01-01T00:00:00Z"}])
        await here.until(all_acknowledged(Counter(p=1)))
