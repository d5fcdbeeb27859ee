-- Database warehouse: the data. Each location's warehouse.sql says what it owns and who may read it.
revoke all on database warehouse from public;
revoke all on schema public from public;
