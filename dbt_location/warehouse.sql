-- dbt_location owns the schemas that it writes: analytics, and metrics.
-- temporary: dbt computes a window in a temporary table before it replaces it.
grant connect, temporary on database warehouse to dbt_location;

-- The most connections that its code server and its runs may have together; docs/connections.md counts them.
alter role dbt_location connection limit 10;

create schema if not exists analytics authorization dbt_location;
create schema if not exists metrics authorization dbt_location;

-- A row for each model that was built. Builds of one model take turns by a lock on its row (macros/window.sql), which
-- no other role can take, whatever it may read. An advisory lock could be taken by any role.
do $$
begin
    -- Not at every start: to change the owner is to wait for the builds that use the table.
    if to_regclass('analytics.model_locks') is null then
        create table analytics.model_locks (model text primary key);
        alter table analytics.model_locks owner to dbt_location;
    end if;
end
$$;
