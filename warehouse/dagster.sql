-- Database dagster: the instance. Only the role dagster may use it; the code servers and run containers of every
-- location write their runs' events through that role.
revoke all on database dagster from public;
alter database dagster owner to dagster;
