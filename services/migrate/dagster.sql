-- Database dagster: the instance. Only the role dagster may use it; the code servers and run containers of every
-- location write their runs' events through that role.
revoke all on database dagster from public;
alter database dagster owner to dagster;

-- The most connections that webserver, daemon, code servers and runs may have together, see docs/connections.md.
alter role dagster connection limit 60;
