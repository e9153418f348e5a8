"""What goes wrong outside of us: the database, its disk, its network.

Owns the one translation of the database's own errors (style: translate foreign exceptions once, at
the port). Refuses to know what the work was about.
"""

from sqlalchemy.exc import DBAPIError, SQLAlchemyError


class StoreTrouble(Exception):
    """The database could not do it; the text is fit for an operator.

    Raised from `Store.write` it means: not acknowledged. Almost always nothing was written; only
    when the connection broke during the COMMIT itself may the work have become durable all the
    same.
    """


def translated(error: Exception) -> Exception:
    """Give `StoreTrouble` for an error of the database, anything else as it is."""
    if not isinstance(error, SQLAlchemyError):
        return error
    cause = error.orig if isinstance(error, DBAPIError) else error
    trouble = StoreTrouble(f"the store failed: {str(cause).strip() or type(cause).__name__}")
    trouble.__cause__ = error
    return trouble


def is_lost(error: Exception) -> bool:
    """Tell whether the error says that the connection is gone."""
    return isinstance(error, DBAPIError) and error.connection_invalidated
