"""Statements of the hot path: compiled once for each database, and run on the driver's own cursor.

Rule: nothing but the price differs from `conn.execute(statement)`: the same transaction, the same types, the same
errors. SQLAlchemy's own way costs 25 us and more for each execution, this one little above the driver's.

A `Prepared` is made once, at module level, and may be used from several threads.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final, NoReturn, TypeAlias, cast

from sqlalchemy import Boolean, Connection, LargeBinary
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import DBAPIError, MultipleResultsFound, NoResultFound
from sqlalchemy.sql.compiler import SQLCompiler

Row: TypeAlias = Any
"""A tuple whose values have names too: the keys of the statement's columns."""
_Processor: TypeAlias = Callable[[Any], Any]
_Binder: TypeAlias = Callable[[Mapping[str, Any]], Any]

MAX_PADDED: Final = 4096
"""Lists for IN are padded to powers of two up to here, so that a few texts serve all lengths."""


class Prepared:
    """A Core statement, or a function that builds it for a dialect's name ("sqlite" or "postgresql").

    Parameters are given by name. A parameter of an `INSERT` or `UPDATE` that is no `bindparam` is a column's value, as
    in `conn.execute`; constants in the statement are read when it is first run. A list for an expanding `IN` may be
    empty, and may not hold more than the database allows parameters.
    """

    __slots__ = ("_make", "_plans", "_shape")

    def __init__(self, statement: Any) -> None:
        self._make: Callable[[str], Any] = (
            statement if not hasattr(statement, "compile") and callable(statement) else lambda _dialect: statement
        )
        self._plans: dict[tuple[Any, ...], _Plan] = {}
        self._shape: _Shape | None = None

    def rows(self, conn: Connection, /, **params: Any) -> list[Row]:
        """All rows."""
        plan = self._plan(conn, params, is_many=False)
        cursor = plan.execute(conn, params)
        found = _fetch(conn, plan, cursor)
        if not found:
            return found
        shape = self._shape
        if shape is None or shape.dialect != conn.dialect.name:
            shape = self._shape = _Shape(conn.dialect, self._make(conn.dialect.name), cursor.description)
        return shape.rows(found)

    def one(self, conn: Connection, /, **params: Any) -> Row:
        """The only row.

        Raises:
            NoResultFound, MultipleResultsFound: there is none, or another.
        """
        row = self.one_or_none(conn, **params)
        if row is None:
            raise NoResultFound("No row was found when one was required")
        return row

    def one_or_none(self, conn: Connection, /, **params: Any) -> Row | None:
        """The only row, or None.

        Raises:
            MultipleResultsFound: there is another.
        """
        found = self.rows(conn, **params)
        if len(found) > 1:
            raise MultipleResultsFound("Multiple rows were found when one or none was required")
        return found[0] if found else None

    def scalar(self, conn: Connection, /, **params: Any) -> Any:
        """The first value of the first row, or None where there is no row."""
        found = self.rows(conn, **params)
        return found[0][0] if found else None

    def scalars(self, conn: Connection, /, **params: Any) -> list[Any]:
        """The first value of each row."""
        return [row[0] for row in self.rows(conn, **params)]

    def run(self, conn: Connection, /, **params: Any) -> int:
        """Execute what returns no rows; how many rows it changed."""
        cursor = self._plan(conn, params, is_many=True).execute(conn, params)
        return cast("int", cursor.rowcount)

    def many(self, conn: Connection, rows: Sequence[Mapping[str, Any]], /) -> None:
        """Execute once for each row, all of the same keys; nothing for no rows."""
        if not rows:
            return
        plan = self._plan(conn, rows[0], is_many=True)
        if len(rows) == 1:
            plan.execute(conn, rows[0])
        else:
            plan.execute_many(conn, rows)

    def _plan(self, conn: Connection, params: Mapping[str, Any], *, is_many: bool) -> _Plan:
        key = (conn.dialect.name, is_many, *params)
        plan = self._plans.get(key)
        if plan is None:
            plan = self._plans[key] = _Plan(conn.dialect, self._make(conn.dialect.name), tuple(params), is_many=is_many)
        return plan


class _Plan:
    """A statement compiled for one dialect and one set of parameters."""

    __slots__ = ("_bind", "_compiled", "_expanded", "_expanding", "_sql")

    def __init__(self, dialect: Dialect, statement: Any, names: tuple[str, ...], *, is_many: bool) -> None:
        compiled: SQLCompiler = statement.compile(
            dialect=dialect, column_keys=list(names), for_executemany=is_many, compile_kwargs={}
        )
        if compiled.literal_execute_params - compiled.post_compile_params:
            raise TypeError("a prepared statement cannot hold values that are rendered at execution")
        self._expanding = [compiled.bind_names[bind] for bind in compiled.post_compile_params]
        # Kept only where it is needed again: it is ten times the size of the rest.
        self._compiled = compiled if self._expanding else None
        self._expanded: dict[tuple[int, ...], tuple[str, _Binder]] = {}
        self._sql = compiled.string
        self._bind: _Binder = _nothing
        if not self._expanding:
            order = compiled.positiontup if compiled.positional else list(compiled.binds)
            processors = {name: _bind_processor(compiled.binds[name].type, dialect) for name in order or ()}
            constants = _constants(compiled, names)
            self._bind = _binder(compiled, order or (), processors, constants)

    def execute(self, conn: Connection, params: Mapping[str, Any]) -> Any:
        if self._compiled is None:
            sql, values = self._sql, self._bind(params)
        else:
            sql, values = self._expand(conn, self._compiled, params)
        driver = _driver(conn, sql, values, is_many=False)
        try:
            return driver.execute(sql, values)
        except Exception as error:
            reraise(conn, error, sql)

    def execute_many(self, conn: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        if self._compiled is not None:
            raise TypeError("a statement with a list for IN is executed one by one")
        values = [self._bind(row) for row in rows]
        driver = _driver(conn, self._sql, values, is_many=True)
        try:
            driver.cursor().executemany(self._sql, values)
        except Exception as error:
            reraise(conn, error, self._sql)

    def _expand(self, conn: Connection, compiled: SQLCompiler, params: Mapping[str, Any]) -> tuple[str, Any]:
        """The text for lists of this length, and its values."""
        given = dict(params)
        for name in self._expanding:
            if name in given:
                given[name] = _padded(list(given[name]))
        lengths = tuple(len(given[name]) for name in self._expanding if name in given)
        found = self._expanded.get(lengths)
        if found is None:
            found = _expansion(compiled, conn.dialect, given)
            if max(lengths, default=0) <= MAX_PADDED:  # of longer ones each length would stay, with its long text
                self._expanded[lengths] = found
        sql, bind = found
        for name in self._expanding:
            for index, value in enumerate(_flat(given.pop(name, ()))):
                given[f"{name}\0{index}"] = value
        return sql, bind(given)


def _expansion(compiled: SQLCompiler, dialect: Dialect, given: Mapping[str, Any]) -> tuple[str, _Binder]:
    state = compiled.construct_expanded_state(given)
    # The names of a list's values as the text has them, and as `_expand` gives them.
    ours = {theirs: f"{name}\0{i}" for name, all_ in state.parameter_expansion.items() for i, theirs in enumerate(all_)}
    order = state.positiontup if state.positiontup is not None else list(state.parameters)
    plain = [name for name in order if name not in ours]
    processors: dict[str, _Processor | None] = {
        name: _bind_processor(compiled.binds[name].type, dialect) for name in plain
    }
    for theirs in ours:
        processors[theirs] = state.processors.get(theirs)
    constants = _constants(compiled, tuple(given))
    constants |= {
        name: value for name, value in state.parameters.items() if name in ours and not _is_given(ours[name], given)
    }
    return state.statement, _binder(compiled, order, processors, constants, ours)


def _is_given(name: str, given: Mapping[str, Any]) -> bool:
    return name.partition("\0")[0] in given


def _padded(values: list[Any]) -> list[Any]:
    count = len(values)
    if count < 2 or count > MAX_PADDED:
        return values
    return values + [values[-1]] * ((1 << (count - 1).bit_length()) - count)


def _flat(values: Iterable[Any]) -> Iterable[Any]:
    for value in values:
        if isinstance(value, tuple):
            yield from value
        else:
            yield value


def _constants(compiled: SQLCompiler, names: tuple[str, ...]) -> dict[str, Any]:
    """The values that stand in the statement itself."""
    return {
        name: bind.effective_value for name, bind in compiled.binds.items() if not bind.required and name not in names
    }


def _binder(
    compiled: SQLCompiler,
    order: Sequence[str],
    processors: Mapping[str, _Processor | None],
    constants: Mapping[str, Any],
    ours: Mapping[str, str] | None = None,
) -> _Binder:
    """How parameters become what the driver takes: a tuple for SQLite, a dict for PostgreSQL."""
    sources = [(name, ours.get(name, name) if ours else name) for name in order]
    active = {name: process for name in order if (process := processors[name]) is not None}
    fixed = {name: active[name](value) if name in active else value for name, value in constants.items()}
    if compiled.positional:
        if not fixed and not active:
            return _tuple_of([source for _, source in sources])
        steps = [(name in fixed, fixed.get(name), source, active.get(name)) for name, source in sources]
        return lambda params: tuple(
            [
                value if is_fixed else params[source] if process is None else process(params[source])
                for is_fixed, value, source, process in steps
            ]
        )
    escaped: Mapping[str, str] = compiled.escaped_bind_names or {}
    if not fixed and not active and not escaped and ours is None:
        return _as_it_is
    still = {escaped.get(name, name): value for name, value in fixed.items()}
    moving = [(escaped.get(name, name), source, active.get(name)) for name, source in sources if name not in fixed]
    return lambda params: (
        still
        | {name: params[source] if process is None else process(params[source]) for name, source, process in moving}
    )


def _tuple_of(names: Sequence[str]) -> _Binder:
    if not names:
        return lambda _params: ()
    if len(names) == 1:
        (name,) = names
        return lambda params: (params[name],)
    return itemgetter(*names)


def _as_it_is(params: Mapping[str, Any]) -> Any:
    return params


def _nothing(_params: Mapping[str, Any]) -> Any:
    return ()


def _bind_processor(kind: Any, dialect: Dialect) -> _Processor | None:
    # Both drivers take bytes and truth values as they are.
    return None if isinstance(kind, LargeBinary | Boolean) else kind.dialect_impl(dialect).bind_processor(dialect)


class _Shape:
    """How a driver's tuples become rows."""

    __slots__ = ("_make", "_processors", "dialect")

    def __init__(self, dialect: Dialect, statement: Any, description: Sequence[Sequence[Any]]) -> None:
        self.dialect = dialect.name
        columns = list(getattr(statement, "exported_columns", ()))
        names = [
            column.name if isinstance(getattr(column, "name", None), str) and "%(" not in column.name else told[0]
            for column, told in zip(columns, description, strict=False)
        ] or [told[0] for told in description]
        self._make: Callable[[Iterable[Any]], Row] = cast("Any", namedtuple("Row", names, rename=True))._make
        self._processors = [
            (index, process)
            for index, column in enumerate(columns)
            if not isinstance(column.type, LargeBinary)
            and (process := column.type.dialect_impl(dialect).result_processor(dialect, description[index][1]))
        ]

    def rows(self, found: Iterable[Sequence[Any]]) -> list[Row]:
        if not self._processors:
            return list(map(self._make, found))
        return [self._make(self._processed(row)) for row in found]

    def _processed(self, row: Sequence[Any]) -> list[Any]:
        values = list(row)
        for index, process in self._processors:
            values[index] = process(values[index])
        return values


def _driver(conn: Connection, sql: str, values: Any, *, is_many: bool) -> Any:
    """The driver's connection within the transaction, which begins now if it has not."""
    if not conn.in_transaction():
        conn.begin()
    if conn.dispatch.before_cursor_execute:
        for told in conn.dispatch.before_cursor_execute:
            told(conn, None, sql, values, None, is_many)
    return conn.connection.dbapi_connection


def execute_plain(conn: Connection, sql: str) -> None:
    """Execute a statement without parameters and without rows.

    Raises:
        DBAPIError: as SQLAlchemy would raise it.
    """
    driver = _driver(conn, sql, (), is_many=False)
    try:
        driver.execute(sql)
    except Exception as error:
        reraise(conn, error, sql)


def _fetch(conn: Connection, plan: _Plan, cursor: Any) -> list[Any]:
    try:
        return cast("list[Any]", cursor.fetchall())
    except Exception as error:
        reraise(conn, error, plan._sql)


def reraise(conn: Connection, error: Exception, sql: str) -> NoReturn:
    """Raise a driver's error as SQLAlchemy would, and let go of a connection that is broken.

    Raises:
        DBAPIError: the driver's error, without the values it was about.
        Exception: what is not the driver's, as it is.
    """
    dialect = conn.dialect
    base: type[Exception] = dialect.loaded_dbapi.Error
    if not isinstance(error, base):
        raise error
    is_gone = dialect.is_disconnect(cast("Any", error), cast("Any", conn.connection.dbapi_connection), None)
    if is_gone:
        conn.invalidate(error)
    raise DBAPIError.instance(
        sql, None, error, base, hide_parameters=True, connection_invalidated=is_gone, dialect=dialect
    ) from error
