"""`make query`: prints the rows of a query on the embedded warehouse as CSV.

usage: python -m demo.query "select …"
"""

import csv
import sys

import psycopg2

from demo.postgres import STATE, running


def query(statement: str) -> None:
    """Runs one statement, read only, and prints its rows with a header line.

    Raises:
        psycopg2.Error: the statement is wrong.
    """
    with running() as env:
        connection = psycopg2.connect(host=env["WAREHOUSE_HOST"], dbname="warehouse", user="postgres")
        try:
            connection.set_session(readonly=True)
            with connection.cursor() as cursor:
                cursor.execute(statement)
                writer = csv.writer(sys.stdout, lineterminator="\n")
                writer.writerow([column.name for column in cursor.description or ()])
                writer.writerows(cursor)
        finally:
            connection.close()


if __name__ == "__main__":
    if len(sys.argv) != 2 or not sys.argv[1].strip():
        sys.exit('Say what to ask: make query SQL="select * from analytics.daily_metrics limit 5"')
    if not (STATE / "postgres").exists():
        sys.exit("There is no embedded warehouse yet. Run make demo first.")
    try:
        query(sys.argv[1])
    except psycopg2.Error as error:
        sys.exit(str(error).strip())
