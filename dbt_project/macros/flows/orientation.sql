{#-
  Which of the two ports is the service's, when no TCP flag tells: the one that is registered (seed service_ports) if
  only one is, else the lower one below 32768 (where Linux begins to hand out client ports). -1, 0 and 1 say: the
  source is the client, nobody knows, the source is the server.
-#}
{% macro role_by_port(srcport, dstport) -%}
    case
        when {{ srcport }} is null or {{ dstport }} is null then 0
        when {{ is_registered(dstport) }} and not {{ is_registered(srcport) }} then -1
        when {{ is_registered(srcport) }} and not {{ is_registered(dstport) }} then 1
        when {{ dstport }} < {{ srcport }} and {{ dstport }} between 1 and 32767 then -1
        when {{ srcport }} < {{ dstport }} and {{ srcport }} between 1 and 32767 then 1
        else 0
    end
{%- endmacro %}

{#- The service's port by the role of the source (-1, 0, 1 as above), of srcport, dstport and has_ports; 0 for none. -#}
{% macro service_port(role) -%}
    case
        when {{ role }} = -1
        then dstport
        when {{ role }} = 1
        then srcport
        -- Two that speak from the service's port to the service's port (NTP, IKE) are peers of that service.
        when srcport = dstport and dstport between 1 and 32767 and has_ports
        then dstport
        else 0
    end
{%- endmacro %}

{#- The role of the source as a word. -#}
{% macro role_name(role) -%} case {{ role }} when -1 then 'client' when 1 then 'server' else 'peer' end {%- endmacro %}

{#- Has the protocol ports? Where the format has no protocol, they still tell. -#}
{% macro has_ports(protocol) -%} ({{ protocol }} in (6, 17, 33, 132, 136) or {{ protocol }} is null) {%- endmacro %}

{% macro is_registered(port) -%}
    {%- set ports = registered_ports() -%}
    ({{ port }} in ({{ ports | join(", ") if ports else "-1" }}))
{%- endmacro %}

{% macro registered_ports() -%}
    {%- if not execute or flags.WHICH == "test" -%} {{ return([22, 53, 80, 443, 3306, 5432, 8080]) }} {%- endif -%}
    {{ return(asked_once("select cast(port as varchar) from " ~ ref("service_ports") ~ " order by port").columns[0].values()) }}
{%- endmacro %}

{#- An address as a device: itself, or with its network where the settings say that networks overlap. -#}
{% macro device_id(address, vpc_id) -%}
    {%- if var("overlapping_cidrs") -%}
    case
        when {{ vpc_id }} is not null and {{ in_networks(address, var("overlapping_cidrs")) }} then {{ vpc_id }} || '/' || {{ address }}
        else {{ address }}
    end
    {%- else -%} {{ address }}
    {%- endif -%}
{%- endmacro %}

{#- The plain address of a device: what is left of its id without the network. -#}
{% macro device_address(device_id) -%}
    {%- if var("overlapping_cidrs") -%}
    split_part({{ device_id }}, '/', case when strpos({{ device_id }}, '/') > 0 then 2 else 1 end)
    {%- else -%} {{ device_id }}
    {%- endif -%}
{%- endmacro %}
