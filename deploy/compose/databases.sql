-- The two databases and their users: Airflow's metadata, and the lake's catalogue.
-- PostgreSQL's image runs it once, on an empty volume. Run again it changes nothing but the passwords, to those of the
-- environment (docs/compose.md).
\set ON_ERROR_STOP on
\getenv airflow_password AIRFLOW_DB_PASSWORD
\getenv lake_password LAKE_DB_PASSWORD

select 'create role airflow' where not exists (select from pg_roles where rolname = 'airflow') \gexec
select 'create role flowlake' where not exists (select from pg_roles where rolname = 'flowlake') \gexec
alter role airflow login password :'airflow_password';
alter role flowlake login password :'lake_password';

select 'create database airflow owner airflow' where not exists (select from pg_database where datname = 'airflow') \gexec
select 'create database lake owner flowlake' where not exists (select from pg_database where datname = 'lake') \gexec
revoke all on database airflow from public;
revoke all on database lake from public;
