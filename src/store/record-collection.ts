import { type Expression, expressionBuilder, type SqlBool, sql } from 'kysely';
import { WartaError } from '../base/errors.ts';
import type { Collection, Condition, ListQuery } from '../control/store.ts';
import type { Session } from './session.ts';
import { type Cell, type Column, type Database, encodeCell, findColumn, type Row, type Table } from './table.ts';

type Where<R> = ListQuery<R>['where'];

/** Composes what is asked before any query is begun: a question that makes no sense is no failure of the database. */
const BUILDER = expressionBuilder<Database, string>();

/** Records of one table. Every table has this one implementation; what differs is its `Table`. */
export class RecordCollection<R extends { id: string }> implements Collection<R> {
  readonly #session: Session;
  readonly #table: Table<R>;
  readonly #id: Column;

  constructor(session: Session, table: Table<R>) {
    this.#session = session;
    this.#table = table;
    this.#id = this.#column('id');
  }

  async get(id: string): Promise<R | undefined> {
    const key = encodeCell(this.#id, id);
    const row = await this.#session.run((db) =>
      db.selectFrom(this.#table.name).selectAll().where('id', '=', key).executeTakeFirst(),
    );
    return row && this.#table.decode(row);
  }

  async insert(record: R): Promise<void> {
    const row: Row = {};
    for (const column of this.#table.columns) {
      row[column.name] = encodeCell(column, record[column.key as keyof R]);
    }
    // "Do nothing" and looking what was done, because a refused insert would end a transaction of PostgreSQL.
    const inserted = await this.#session.run((db) =>
      db
        .insertInto(this.#table.name)
        .values(row)
        .onConflict((conflict) => conflict.doNothing())
        .returning('id')
        .executeTakeFirst(),
    );
    if (inserted === undefined) {
      throw new WartaError('conflict', `${this.#table.name} has a record with the id or a unique key of ${record.id}`);
    }
  }

  async update(id: string, changes: Partial<Omit<R, 'id' | 'version'>>, expectedVersion?: number): Promise<R> {
    const key = encodeCell(this.#id, id);
    const { isVersioned, name } = this.#table;
    const values = this.#encodeChanges(changes);
    const row = await this.#session.run((db) => {
      const next = isVersioned ? { ...values, version: sql<number>`version + 1` } : values;
      if (Object.keys(next).length === 0)
        return db.selectFrom(name).selectAll().where('id', '=', key).executeTakeFirst();
      let query = db.updateTable(name).set(next).where('id', '=', key);
      if (isVersioned && expectedVersion !== undefined) query = query.where('version', '=', expectedVersion);
      return query.returningAll().executeTakeFirst();
    });
    if (row !== undefined) return this.#table.decode(row);
    if ((await this.get(id)) === undefined) throw new WartaError('not-found', `${name} has no ${id}`);
    throw new WartaError('version-mismatch', `someone else changed ${id} in the meantime: read it again`);
  }

  async remove(id: string): Promise<void> {
    const key = encodeCell(this.#id, id);
    await this.#session.run((db) => db.deleteFrom(this.#table.name).where('id', '=', key).execute());
  }

  async list({ where, orderBy, descending = false, after, limit }: ListQuery<R>): Promise<R[]> {
    const order = this.#column(orderBy ?? 'id');
    const conditions = this.#compileWhere(where);
    if (after !== undefined) conditions.push(this.#compileAfter(order, descending, after));
    const rows = await this.#session.run((db) => {
      let query = db.selectFrom(this.#table.name).selectAll().where(BUILDER.and(conditions)).limit(limit);
      for (const column of order === this.#id ? [order] : [order, this.#id]) {
        query = query.orderBy(column.name, (by) => orderColumn(by, column, descending));
      }
      return query.execute();
    });
    return rows.map((row) => this.#table.decode(row));
  }

  async count(where?: Where<R>): Promise<number> {
    const condition = BUILDER.and(this.#compileWhere(where));
    const records = BUILDER.fn.countAll().as('records');
    const row = await this.#session.run((db) =>
      db.selectFrom(this.#table.name).select(records).where(condition).executeTakeFirstOrThrow(),
    );
    return Number(row.records);
  }

  /** Leaves out what cannot be changed and what is undefined. */
  #encodeChanges(changes: Partial<Omit<R, 'id' | 'version'>>): Row {
    const values: Row = {};
    for (const [key, value] of Object.entries(changes)) {
      if (key === 'id' || key === 'version' || value === undefined) continue;
      const column = this.#column(key);
      values[column.name] = encodeCell(column, value);
    }
    return values;
  }

  #compileWhere(where: Where<R> = {}): Expression<SqlBool>[] {
    return Object.entries(where).flatMap(([key, condition]) =>
      compileCondition(this.#column(key), condition as Condition<unknown> | undefined),
    );
  }

  /** What comes after a record in the order of a list. Nulls come first; with `descending` everything is the other way round. */
  #compileAfter(order: Column, descending: boolean, after: R): Expression<SqlBool> {
    const beyond = descending ? '<' : '>';
    const id = encodeCell(this.#id, after.id);
    if (order === this.#id) return BUILDER('id', beyond, id);
    const value = encodeCell(order, after[order.key as keyof R]);
    if (!order.isNullable) {
      return BUILDER(BUILDER.refTuple(order.name, 'id'), beyond, BUILDER.tuple(value, id));
    }
    if (value === null) {
      const tie = BUILDER.and([BUILDER(order.name, 'is', null), BUILDER('id', beyond, id)]);
      return descending ? tie : BUILDER.or([BUILDER(order.name, 'is not', null), tie]);
    }
    const tie = BUILDER.and([BUILDER(order.name, '=', value), BUILDER('id', beyond, id)]);
    const later = [BUILDER(order.name, beyond, value), tie];
    return BUILDER.or(descending ? [...later, BUILDER(order.name, 'is', null)] : later);
  }

  #column(key: string): Column {
    return findColumn(this.#table, key);
  }
}

/** The engines disagree on where nulls belong; only a column that has some is told, so that the others use their index. */
function orderColumn<By extends { asc(): By; desc(): By; nullsFirst(): By; nullsLast(): By }>(
  by: By,
  { isNullable }: Column,
  descending: boolean,
): By {
  const ordered = descending ? by.desc() : by.asc();
  if (!isNullable) return ordered;
  return descending ? ordered.nullsLast() : ordered.nullsFirst();
}

/** Compiles the bounds on one column; all of them must hold. */
function compileCondition(column: Column, condition: Condition<unknown> | undefined): Expression<SqlBool>[] {
  // A bound that got lost on the way must not list everything.
  if (condition === undefined) throw new Error(`the condition on ${column.key} is undefined`);
  if (column.kind === 'json' || column.kind === 'bytes') throw new Error(`${column.key} cannot be compared`);
  if (condition === null) return [BUILDER(column.name, 'is', null)];
  if (typeof condition !== 'object') return [BUILDER(column.name, '=', encodeCell(column, condition))];
  if ('in' in condition) return [compileMembership(column, condition.in as readonly unknown[])];
  const { from, before } = condition as { from?: unknown; before?: unknown };
  const bounds: Expression<SqlBool>[] = [];
  if (from !== undefined) bounds.push(BUILDER(column.name, '>=', encodeCell(column, from)));
  if (before !== undefined) bounds.push(BUILDER(column.name, '<', encodeCell(column, before)));
  return bounds;
}

function compileMembership(column: Column, members: readonly unknown[]): Expression<SqlBool> {
  const cells: Cell[] = members.filter((member) => member !== null).map((member) => encodeCell(column, member));
  const choices: Expression<SqlBool>[] = [];
  if (cells.length > 0) choices.push(BUILDER(column.name, 'in', cells));
  if (cells.length < members.length) choices.push(BUILDER(column.name, 'is', null));
  return BUILDER.or(choices); // of nothing: false
}
