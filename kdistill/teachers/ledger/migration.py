"""Ledgers of the first format, which had one account: brought up to date, or read as they are.

Where the file or the server cannot be written, or shall not be, temporary views under the tables' own names show the
old rows in today's columns: both engines look for a name among a connection's temporary objects first.
"""

import sqlalchemy as sa

from kdistill.teachers.ledger.database import accounts, questions
from kdistill.teachers.ledger.records import LEARNING

FORMAT = 2

_NEW_COLUMNS = ("account", "payer", "price")


def views_of_old(schema: str) -> list[str]:
    """Returns the statements that make the temporary views over the old tables in `schema` (quoted already)."""
    learning = f"CAST('{LEARNING}' AS TEXT)"
    return [
        f"CREATE TEMPORARY VIEW accounts AS SELECT {learning} AS name, spent, "
        f"(SELECT COALESCE(SUM(cost), 0.0) FROM {schema}.questions) AS cost FROM {schema}.source",
        f"CREATE TEMPORARY VIEW questions AS SELECT old.*, {learning} AS account, {learning} AS payer, "
        f"0.0 AS price FROM {schema}.questions AS old",
        "CREATE TEMPORARY VIEW source AS SELECT id, CASE format WHEN 1 THEN "
        f"{FORMAT} ELSE format END AS format, teacher, view, dimension, spent, created_at FROM {schema}.source",
    ]


def is_old(connection: sa.Connection) -> bool:
    """Says whether the tables are those of the first format."""
    return "account" not in {column["name"] for column in sa.inspect(connection).get_columns("questions")}


def migrate(connection: sa.Connection) -> None:
    """Brings the tables up to date inside a writing transaction of the caller; all that was asked was learning.

    Does nothing where another process was first, or where the format is one that nobody knows.
    """
    formats = connection.execute(sa.text("SELECT format FROM source")).scalars().all()
    if not is_old(connection) or formats not in ([], [1]):
        return
    for name in _NEW_COLUMNS:
        column = sa.schema.CreateColumn(questions.c[name]).compile(dialect=connection.dialect)
        connection.execute(sa.DDL(f"ALTER TABLE questions ADD COLUMN {column}".replace("%", "%%")))
    connection.execute(sa.text("UPDATE questions SET price = cost / asked WHERE asked > 0"))
    accounts.create(connection)
    spent = (
        f"INSERT INTO accounts (name, spent, cost) SELECT '{LEARNING}', spent, "
        "(SELECT COALESCE(SUM(cost), 0.0) FROM questions) FROM source"
    )
    connection.execute(sa.text(spent))
    connection.execute(sa.text("UPDATE source SET format = :format"), {"format": FORMAT})
