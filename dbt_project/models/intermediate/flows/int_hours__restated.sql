-- One row per event hour that this run restates: the hours that its window touches or ever touched; the hours of
-- interfaces and flow logs of which something was learnt that changes what their earlier records mean (of a gateway,
-- what anyone's records of its address mean); and the hours of other windows that were begun and are not validated,
-- so that whichever gate comes next looks at those too.
{{ config(materialized="replaced", replaces="everything") }}

with touched as (select arrival_hour, event_hour from {{ ref("int_hours__touched") }})

select event_hour
from touched
where {{ in_arrival_window("arrival_hour") }}

{%- if may_be_pending("interface") %}
    union

    select event_hour
    from {{ ref("int_coverage__partials") }}
    where {{ is_pending("interface_id", "interface") }}
{%- endif %}

{%- if may_be_pending("flow_log") %}
    union

    select event_hour
    from {{ ref("int_coverage__partials") }}
    where {{ is_pending("flow_log_id", "flow_log") }}
{%- endif %}

{%- if may_be_pending("gateway") %}
    union

    select event_hour
    from {{ ref("int_edges__partials") }}
    where {{ is_pending("src_device_id", "gateway") }} or {{ is_pending("dst_device_id", "gateway") }}
{%- endif %}

union

select touched.event_hour
from touched
inner join {{ source("ledger", "windows") }} as windows on touched.arrival_hour = windows.arrival_hour
where windows.state in ('building', 'failed')
