"""A hub that is brought up to date keeps what was under way."""

from __future__ import annotations

import json

from alembic import command
from alembic.config import Config
from sqlalchemy import text

from hub.database import _MIGRATIONS, Database
from hub.ledger import grants
from hub.submissions import drafts
from hub.training import store
from hub.training.states import Prepared
from tests.hub.conftest import database_url  # noqa: F401  (a fixture)
from trust.digests import digest_bytes

SHOWN, NAMED = digest_bytes(b"shown"), digest_bytes(b"named")


def to(database: Database, revision: str) -> None:
    configuration = Config()
    configuration.set_main_option("script_location", str(_MIGRATIONS))
    with database.engine.connect() as connection:
        configuration.attributes["connection"] = connection
        command.upgrade(configuration, revision)


def test_what_open_submissions_have_shown_is_counted_on_and_of_accepted_ones_nothing(database_url: str) -> None:  # noqa: F811
    database = Database(database_url)
    to(database, "0008")
    with database.session(writing=True) as session:
        connection = session.connection()
        for draft, state in (("data-1", "open"), ("data-2", "accepted")):
            values = {"id": draft, "state": state, "at": "2026-01-01T00:00:00.000Z", "bytes": b"", "digest": SHOWN}
            row = "INSERT INTO submission_draft (id, member, envelope, opened_at, state) VALUES (:id, 'm', :bytes, :at, :state)"
            connection.execute(text(row), values)
            connection.execute(
                text("INSERT INTO submission_uploaded (submission, digest) VALUES (:id, :digest)"), values
            )
        connection.execute(
            text(
                "INSERT INTO blob_grant (digest, audience, source, withdrawn) VALUES (:digest, 'nodes', 'data-2', false)"
            ),
            {"digest": NAMED},
        )
    database.migrate()
    with database.session() as session:
        assert drafts.counted(session, "data-1") == {SHOWN: "2026-01-01T00:00:00.000Z"}
        assert drafts.counted(session, "data-2") == {}
        assert grants.named(session, NAMED)
        assert grants.held_for(session, "data-2") == [NAMED]
    database.close()


def test_what_an_attempt_prepared_as_one_file_is_a_shard(database_url: str) -> None:  # noqa: F811
    database = Database(database_url)
    to(database, "0015")
    file = {"digest": SHOWN, "size": 20}
    prepared = {
        "tokenizer": [],
        "tokens": {"path": "tokens", **file},
        "token_count": 10,
        "tokens_by_dataset": {"d": 10},
    }
    row = "INSERT INTO training_attempt (run, number, failures, phase, nodes, prepared) VALUES (:run, 1, 0, 'x', '[]', :made)"
    with database.session(writing=True) as session:
        for run, made in (("run-1", prepared), ("run-2", {})):
            session.connection().execute(text(row), {"run": run, "made": json.dumps(made)})
    database.migrate()
    with database.session() as session:
        first, second = (store.attempt(session, run) for run in ("run-1", "run-2"))
        assert first is not None
        assert second is not None
        assert [shard.path for shard in Prepared.read(first.prepared).tokens] == ["tokens"]
        assert second.prepared == {}
    database.close()
