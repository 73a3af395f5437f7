-- One row per interface and address family: its own address, as far as everything seen so far tells.
-- Candidates shrink by intersection, so the order in which windows come does not matter.
-- depends_on: {{ ref("int_hours__touched") }}
{{
    config(
        materialized="incremental",
        incremental_strategy="merge",
        unique_key=["interface_id", "ip_family"],
        on_schema_change="append_new_columns",
    )
}}

with

    known as (
        {% if is_incremental() -%}select * from {{ this }}
        {%- else -%}
            select
                cast(null as varchar) as interface_id,
                cast(null as integer) as ip_family,
                cast(null as varchar) as candidate_a,
                cast(null as varchar) as candidate_b,
                cast(null as varchar) as own_address,
                false as has_evidence,
                false as needs_restating
            where false
        {%- endif %}
    ),

    observed as (
        select interface_id, ip_family, one_candidate, other_candidate
        from {{ ref("int_interfaces__observed") }}
        {% if not is_learnt_again() %} where {{ in_arrival_window("arrival_hour") }} {% endif %}
    ),

    everyone as (
        select interface_id, ip_family
        from observed
        union
        select interface_id, ip_family
        from known
    ),

    -- An hour in which no address stands in all records says nothing and is left out; what is known already always
    -- counts, also when it is a contradiction (no candidate left), which no other hour can heal.
    evidence as {{ kept() }} (
        select interface_id, ip_family, one_candidate, other_candidate
        from observed
        where one_candidate is not null or other_candidate is not null
        {% if not is_learnt_again() or is_learnt_late() %}
            union all
            select interface_id, ip_family, candidate_a, candidate_b
            from known
            where coalesce(has_evidence, true)
        {% endif %}
    ),

    evidence_counts as (select interface_id, ip_family, count(*) as evidence_count from evidence group by 1, 2),

    mentions as (
        select interface_id, ip_family, one_candidate as address
        from evidence
        where one_candidate is not null
        union all
        select interface_id, ip_family, other_candidate
        from evidence
        where other_candidate is not null and other_candidate is distinct from one_candidate
    ),

    surviving as (
        select mentions.interface_id, mentions.ip_family, mentions.address
        from mentions
        inner join
            evidence_counts
            on mentions.interface_id = evidence_counts.interface_id
            and mentions.ip_family = evidence_counts.ip_family
        group by 1, 2, 3
        having count(*) = min(evidence_counts.evidence_count)
    ),

    merged as (
        select
            everyone.interface_id,
            everyone.ip_family,
            min(surviving.address) as candidate_a,
            case when count(surviving.address) = 2 then max(surviving.address) end as candidate_b,
            max(evidence_counts.evidence_count) is not null as has_evidence
        from everyone
        left join
            evidence_counts
            on everyone.interface_id = evidence_counts.interface_id
            and everyone.ip_family = evidence_counts.ip_family
        left join
            surviving on everyone.interface_id = surviving.interface_id and everyone.ip_family = surviving.ip_family
        group by 1, 2
    ),

    certain as (
        select distinct candidate_a as address from merged where candidate_a is not null and candidate_b is null
    ),

    -- An interface that only ever spoke to one peer has two candidates: the peer's if the peer's interface is
    -- certain, the internal one rather than the external one, else one each in the order of their ids.
    ranked as (
        select
            merged.*,
            certain_a.address is not null as a_is_taken,
            certain_b.address is not null as b_is_taken,
            {{ in_networks("merged.candidate_a", var("internal_cidrs")) }} as a_is_internal,
            {{ in_networks("merged.candidate_b", var("internal_cidrs")) }} as b_is_internal,
            row_number() over (
                partition by merged.candidate_a, merged.candidate_b order by merged.interface_id
            ) as pair_rank
        from merged
        left join certain as certain_a on merged.candidate_a = certain_a.address
        left join certain as certain_b on merged.candidate_b = certain_b.address
    ),

    resolved as (
        select
            interface_id,
            ip_family,
            candidate_a,
            candidate_b,
            has_evidence,
            case
                when candidate_b is null
                then candidate_a
                when a_is_taken and not b_is_taken
                then candidate_b
                when b_is_taken and not a_is_taken
                then candidate_a
                when a_is_internal and not b_is_internal
                then candidate_a
                when b_is_internal and not a_is_internal
                then candidate_b
                when pair_rank % 2 = 1
                then candidate_a
                else candidate_b
            end as own_address
        from ranked
    )

select
    resolved.interface_id,
    resolved.ip_family,
    resolved.candidate_a,
    resolved.candidate_b,
    resolved.own_address,
    resolved.has_evidence,
    coalesce(known.needs_restating, false) or resolved.own_address is distinct from known.own_address as needs_restating
from resolved
left join known on resolved.interface_id = known.interface_id and resolved.ip_family = known.ip_family
where
    known.interface_id is null
    or resolved.candidate_a is distinct from known.candidate_a
    or resolved.candidate_b is distinct from known.candidate_b
    or resolved.own_address is distinct from known.own_address
    or resolved.has_evidence <> coalesce(known.has_evidence, true)
