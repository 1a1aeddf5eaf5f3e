from databases import Database

from airflow_provider_customerly.transfers.sql_source import SqlSource


def test_smoke(database: Database) -> None:
    database.execute("create table contacts (email varchar(200), seats integer)")
    database.insert("contacts", [("ada@northwind.test", n) for n in range(25)])
    with SqlSource(database.conn_id, table="contacts", chunk_size=10).open() as rows:
        assert rows.columns == ("email", "seats")
        assert [len(c) for c in rows] == [10, 10, 5]
    assert database.query("select count(*) from contacts") == [(25,)]
