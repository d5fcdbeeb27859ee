-- ingestion_location owns raw_taxis and decides who reads it.
grant connect on database warehouse to ingestion_location;

-- The most connections that its code server and its runs may have together; docs/connections.md counts them.
alter role ingestion_location connection limit 10;

create schema if not exists raw_taxis authorization ingestion_location;

-- The tables come and go with every load, so the right to read them is a default, not a grant per table.
grant usage on schema raw_taxis to dbt_location;
grant select on all tables in schema raw_taxis to dbt_location;
alter default privileges for role ingestion_location in schema raw_taxis grant select on tables to dbt_location;
