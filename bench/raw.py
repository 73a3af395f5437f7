"""Flow-log text of version 2, read by plain DuckDB: for the floor, and for questions that are asked of text."""

from __future__ import annotations

FIELDS = 14


def lines(files: str) -> str:
    """A query of the lines of gzip text files, split and typed; `files` is SQL for a list of paths or a pattern.

    As flowlake reads them: whole lines, each of which stays. One row per line that is no header.
    """
    return f"""
    select
        filename as source_uri,
        case
            when len(f) <> {FIELDS} then 'field_count'
            when not regexp_full_match(
                concat_ws(' ', f[6], f[7], f[8], f[9], f[10], f[11], f[12]), '((-|[0-9]{{1,15}})( |$)){{7}}'
            ) then 'bad_field'
        end as malformed_reason,
        case when malformed_reason is not null then line end as raw_line,
        nullif(f[2], '-') as account_id,
        nullif(f[3], '-') as interface_id,
        nullif(f[4], '-') as srcaddr,
        nullif(f[5], '-') as dstaddr,
        try_cast(f[6] as integer) as srcport,
        try_cast(f[7] as integer) as dstport,
        try_cast(f[8] as integer) as protocol,
        try_cast(f[9] as bigint) as packets,
        try_cast(f[10] as bigint) as bytes,
        make_timestamp(try_cast(f[11] as bigint) * 1000000) as start_at,
        make_timestamp(try_cast(f[12] as bigint) * 1000000) as end_at,
        nullif(f[13], '-') as action,
        f[14] as log_status,
        date_trunc('hour', start_at) as event_hour
    from (
        select filename, line, string_split(line, ' ') as f
        from read_csv(
            {files}, columns = {{'line': 'varchar'}}, header = false, auto_detect = false, delim = '\u241e',
            quote = '', escape = '', comment = '', strict_mode = false, new_line = '\\n', max_line_size = 16777216,
            buffer_size = 33554432, compression = 'gzip', filename = true, hive_partitioning = false
        )
        where line is not null and not starts_with(line, 'version ')
    )
    """


SERVICE_PORT = "case when least(srcport, dstport) < 32768 then least(srcport, dstport) end"
SRC_ROLE = (
    "case when least(srcport, dstport) >= 32768 then 'peer' when dstport <= srcport then 'client' else 'server' end"
)
