-- Database dagster: the instance. Only the role dagster may use it. Code servers and runs of all locations log in as
-- this role to write their runs' events.
revoke all on database dagster from public;
alter database dagster owner to dagster;

-- The limit for webserver, daemon, code servers and runs together (docs/connections.md).
alter role dagster connection limit 60;
